"""Contrast methods that act on a step, because they remember or correct."""

from tests.guided.toy import Row

ROWS: dict[str, Row] = {}
