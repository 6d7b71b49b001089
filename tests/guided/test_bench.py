"""The bench: its arithmetic, and that the command runs; no figure is asserted."""

import json

import pytest

from guided.bench.cli import main


def test_the_command_writes_all_figures(tmp_path, capsys) -> None:
    path = tmp_path / "speed.json"
    main(["speed", "--quick", "--json", str(path)])
    figures = json.loads(path.read_text())
    assert figures["versions"]["torch"]
    for case in figures["cases"]:
        rows = {row["loop"]: row["median"] for row in case["loops"]}
        assert {"bare loop", "DDIM, eta 0", "SCG 16"} <= rows.keys()
        for name in ("bare loop", "DDIM, eta 0"):
            # overhead = time of the run / (calls x time of a call), so the parts must add up
            found = rows[name]
            network = found["call_us"]
            assert found["overhead"] == pytest.approx(1 + found["beyond_us"] / network, rel=0.02)
    assert "overhead" in capsys.readouterr().out
