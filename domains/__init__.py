"""Domains: music, driving, and others built on the guided core."""
