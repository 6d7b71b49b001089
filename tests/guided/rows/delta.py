"""Contrast methods whose push is changed: projections, bands, regions, rescaling."""

from tests.guided.toy import Row

ROWS: dict[str, Row] = {}
