"""Contrast methods whose weak branch is another network, or something done inside it."""

from tests.guided.toy import Row

ROWS: dict[str, Row] = {}
