"""Symbolic music: piano rolls, data, rules and models."""
