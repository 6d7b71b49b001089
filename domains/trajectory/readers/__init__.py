"""Scenes from files of public formats."""
