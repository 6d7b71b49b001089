"""Baselines: one readable script for each method that a user would otherwise have used.

A baseline is read and run, not imported. It may use `guided` and `domains`; neither imports it.
"""
