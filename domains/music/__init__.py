"""Symbolic music that obeys rules: rolls, rules, a denoiser of piano rolls and a composer."""

from domains.music.compose import Composer, Settings
from domains.music.roll import Grid, Roll, Rolls
from domains.music.rules import RULES, make_rule, parse_rule, rule_sum

__all__ = [
    "RULES",
    "Composer",
    "Grid",
    "Roll",
    "Rolls",
    "Settings",
    "make_rule",
    "parse_rule",
    "rule_sum",
]
