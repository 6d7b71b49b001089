"""The bench: its arithmetic, and that the command runs; no figure is asserted."""

import json

import pytest

from guided.bench.cli import main
from guided.bench.loops import Loop
from guided.bench.speed import row
from guided.bench.timing import interleaved


def test_overhead_is_time_over_calls_times_network() -> None:
    seconds = {"heun": 3.0, "network 8": 1.0}  # 10 calls of the network take 1 s
    found = row("heun", Loop(lambda: None, calls=19, rows=8), 10, seconds)
    assert found.overhead == pytest.approx(3.0 / 1.9)
    assert found.beyond_us == pytest.approx(1e6 * (3.0 - 1.9) / 10)
    assert found.network_ms == pytest.approx(100.0)


def test_functions_take_turns_after_a_warm_up() -> None:
    seen: list[str] = []
    interleaved({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, 2)
    assert seen == ["a", "b", "a", "b", "a", "b"]


def test_the_command_writes_all_figures(tmp_path, capsys) -> None:
    path = tmp_path / "speed.json"
    main(["speed", "--quick", "--json", str(path)])
    figures = json.loads(path.read_text())
    for rows in figures["cases"].values():
        assert {"bare loop", "DDIM", "SCG 16"} <= {r["loop"] for r in rows}
        assert all(r["network_ms"] > 0 for r in rows)
    assert "DDIM beyond the network" in capsys.readouterr().out


def test_mistakes_are_one_sentence() -> None:
    with pytest.raises(SystemExit, match="at least 1"):
        main(["speed", "--steps", "0"])
