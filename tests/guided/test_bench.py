"""The bench: its arithmetic, its loops, and that the command runs; no time is asserted."""

import gc
import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from guided import Rng
from guided.bench import loops, report
from guided.bench.cli import main
from guided.bench.ensemble import Priced, guided_run, looped
from guided.bench.methods import METHODS, SCHEDULE, Clock, Task, TimedOperator
from guided.bench.pool import PLAIN, Figures, turns, verdict
from guided.bench.problems import problem
from guided.bench.speed import CASES, DIFFUSERS, described, row, targets
from guided.bench.timing import Stopwatch, interleave
from guided.nets import MLP


class Fake:
    """Stands still unless work moves it on."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


class Net(nn.Module):
    """Takes 10 ns of a clock and notes how many rows each call has."""

    def __init__(self, clock: Fake) -> None:
        super().__init__()
        self.clock = clock
        self.rows: list[int] = []

    def forward(self, x, time, cond=None):
        self.clock.now += 10
        self.rows.append(len(x))
        return x


def test_laps_split_a_run_into_network_and_beyond() -> None:
    clock = Fake()
    watch = Stopwatch(Net(clock), clock)

    def run() -> None:
        for work in (1, 2):
            clock.now += work
            watch(torch.zeros(3), torch.zeros(3))
        clock.now += 4

    assert watch.laps(run) == [1, 10, 2, 10, 4]
    assert watch.laps(run) == [1, 10, 2, 10, 4]  # a run forgets the one before


def test_overhead_is_time_over_calls_times_network() -> None:
    # Calls of 10 and 20 us with 1 + 2 + 3 us around them; each round but the first is disturbed.
    laps = 1000 * np.array([[1, 10, 2, 20, 3], [1, 990, 2, 20, 3], [1, 10, 2, 18, 77]])
    found = row("DDIM", laps, steps=2)
    assert found.calls == 2
    assert found.median == pytest.approx((15.0, 3.0, 36 / 30))
    assert found.least == pytest.approx((14.0, 3.0, 34 / 28))


def test_runs_take_turns_after_a_warm_up_without_the_garbage_collector() -> None:
    seen: list[tuple[str, bool]] = []
    runs = {name: lambda name=name: seen.append((name, gc.isenabled())) for name in "ab"}
    laps = interleave(Stopwatch(nn.Identity()), runs, rounds=2)
    assert [name for name, _ in seen] == ["a", "b"] * 3
    assert not any(enabled for _, enabled in seen[2:])
    assert gc.isenabled()
    assert {name: lap.shape for name, lap in laps.items()} == {"a": (2, 1), "b": (2, 1)}


def test_every_call_sees_the_same_rows() -> None:
    net, x = Net(Fake()), Rng(0).normal((32, 4))
    runs = loops.samplers(net, x, 3) | loops.denoisers(net, x, 3)
    runs |= {"bare": loops.bare(net, x, 3), "alone": loops.alone(net, x, 3)}
    for name, run in runs.items():
        net.rows.clear()
        run()
        first, *rest = net.rows
        assert set(rest) == {32}, name
        assert first == (2 if name == "SCG 16" else 32), name
        assert len(net.rows) == (5 if name == "Heun" else 3), name


def test_the_bare_loop_is_ddim() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = MLP(4, 4, (8,), time_features=4)
    x = Rng(0).normal((16, 4))
    found, expected = loops.samplers(net, x, 7)["DDIM, eta 0"](), loops.bare(net, x, 7)()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (found - x).abs().max() > 1


def test_targets_judge_ours_only_and_name_the_worst() -> None:
    beyond = {"DDIM, eta 0": 90_000, "Heun": 95_000, DIFFUSERS: 99_000}
    rows = [row(name, np.array([[0, 100_000, ns]]), steps=1) for name, ns in beyond.items()]
    fast, slow = CASES
    assert [t["found"] for t in targets(fast, rows)] == [pytest.approx(90.0)]
    assert [t["found"] for t in targets(slow, rows)] == [pytest.approx(1.95)]
    assert "(Heun)" in targets(slow, rows)[0]["what"]
    text = report.table(described(slow, rows[:2], judged=True))
    assert "MISSED" in text
    assert "not measured" in text  # diffusers, which has no row here


def test_the_command_writes_all_figures(tmp_path) -> None:
    path = tmp_path / "speed.json"
    command = "from guided.bench.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "speed", "--quick", "--seed", "3", "--json", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(path.read_text())
    assert figures["options"] == {"threads": 1, "seed": 3, "quick": True}
    assert {"command", "units", "versions", "seconds"} <= set(figures)
    assert len(figures["cases"]) == len(CASES)
    for case in figures["cases"]:
        assert (case["steps"], case["rounds"], case["targets"]) == (3, 2, [])
        rows = {r["loop"]: r for r in case["loops"]}
        assert {"network alone", "bare loop", "DDIM, eta 0", "SCG 16", "NetDenoiser v"} <= set(rows)
        assert (DIFFUSERS in rows) == (find_spec("diffusers") is not None)
        for name, found in rows.items():
            assert name in done.stdout
            for kind in ("median", "least"):
                call, beyond, overhead = found[kind].values()
                network = call * found["calls"] / case["steps"]
                assert overhead == pytest.approx(1 + beyond / network)


def test_mistakes_are_one_sentence() -> None:
    with pytest.raises(SystemExit, match="at least 1, got 0"):
        main(["speed", "--threads", "0"])
    with pytest.raises(SystemExit, match="2 workers or more"):
        main(["pool", "--workers", "1"])
    with pytest.raises(SystemExit, match="unknown method 'magic'"):
        main(["ensemble", "--methods", "magic"])
    with pytest.raises(SystemExit, match="at least 16 particles"):
        main(["ensemble", "--particles", "4"])


def test_pool_prints_a_line_a_runner_and_keeps_all_figures(tmp_path, capsys) -> None:
    path = tmp_path / "pool.json"
    main(["pool", "--quick", "--workers", "2", "--json", str(path)])
    printed = capsys.readouterr().out
    figures = json.loads(path.read_text())
    assert figures["tasks"] == 16
    assert figures["options"] == {"workers": 2, "rounds": 1, "quick": True}
    for runner in figures["rows"]:
        assert runner["runner"] in printed
        (found,) = runner["rounds"]
        area = 2 * found["wall_ms"]
        assert found["efficiency"] == pytest.approx(16 * figures["alone_ms"][0] / area)
        assert 0 < found["busy"] < 1
    assert figures["rows"][0]["runner"] == PLAIN
    assert figures["rows"][0]["rounds"][0]["of_joblib"] == 1
    assert "kept" not in printed and "MISSED" not in printed


def test_pool_is_judged_by_its_median() -> None:
    rows = [Figures(efficiency, 0.9, 1.0, 1.0) for efficiency in (0.2, 0.95, 0.97)]
    assert verdict(rows) == "kept   efficiency of the pool: 0.95, above 0.9"
    assert "MISSED" in verdict(rows[:2])
    assert turns(0.02) == pytest.approx(2 * turns(0.01), rel=0.7)


def test_posterior_prints_a_line_a_method_and_keeps_all_figures(tmp_path, capsys) -> None:
    threads = torch.get_num_threads()
    path = tmp_path / "new" / "posterior.json"
    main(["posterior", "--quick", "--json", str(path)])
    torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    figures = json.loads(path.read_text())
    found = {figure["method"]: figure for figure in figures["rows"]}
    assert list(found) == list(METHODS)
    for method, figure in found.items():
        assert method in printed
        assert figure["sw1"] > 0 and 0 <= figure["modes"] <= 1
    assert found["SIR"]["forward"] == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "magic"], "unknown method 'magic'"),
        (["--problems", "cubic"], "unknown problem 'cubic'"),
        (["--particles", "4"], "at least 16 particles"),
    ],
)
def test_posterior_refuses_bad_input(arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        main(["posterior", *arguments])


@pytest.mark.parametrize("method", METHODS)
def test_single_precision_stays_where_measurements_are_double(method: str) -> None:
    """What networks are given is what they are trained in, whatever the forward map returns."""
    given = problem("linear-16", 0)
    net = MLP(16, 16, (8,))  # refuses double precision
    clock = Clock(Priced(given.prior.denoiser(SCHEDULE), net))
    task = Task(given, clock, TimedOperator(given.operator), 16, 16, Rng(0))
    assert METHODS[method](task).x.dtype == torch.float32


def test_the_cost_of_a_network_changes_no_answer_and_a_loop_ends_where_the_batch_does() -> None:
    given = problem("linear-16", 0)
    exact, net = given.prior.denoiser(SCHEDULE), Net(Fake())
    found = [guided_run(given, d, given.operator, 16, 0) for d in (exact, Priced(exact, net))]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    assert net.rows and set(net.rows) == {16}
    gap = looped(given, Priced(exact, net), 16, 1, 0)["gap"]
    assert net.rows[-1] == 1
    assert gap < 1e-3


def test_ensemble_prints_a_line_a_method_and_keeps_all_figures(tmp_path, capsys) -> None:
    threads = torch.get_num_threads()
    path = tmp_path / "new" / "ensemble.json"
    main(["ensemble", "--quick", "--json", str(path)])
    torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    figures = json.loads(path.read_text())
    assert [row["call"] for row in figures["loops"]] == ["exact", "network"]
    found = {row["method"]: row for row in figures["overheads"]}
    assert list(found) == list(METHODS)
    for method, figure in found.items():
        assert method in printed
        assert (figure["overhead"] is None) == (figure["calls"] == 0)
        assert figure["overhead"] is None or figure["overhead"] > 1
    assert "kept" not in printed and "MISSED" not in printed


def test_cep_prints_three_tables_and_keeps_all_figures(tmp_path, capsys) -> None:
    threads = torch.get_num_threads()
    path = tmp_path / "new" / "cep.json"
    command = ["cep", "--quick", "--steps", "4", "--targets", "raw", "mse", "--json", str(path)]
    main(command)
    torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    figures = json.loads(path.read_text())
    exact, *fits = figures["contrast"]
    assert [(fit["K"], fit["contrast"]) for fit in fits] == [
        (K, contrast) for K in (2, 4, 16, 64) for contrast in ("self", "raw")
    ]
    off = {(fit["contrast"], fit["K"]): fit["slope"] - exact["slope"] for fit in fits}
    # The slope is -0.19; the contrast of the source is biased at so few samples.
    assert abs(off["raw", 2]) < 0.06 < abs(off["self", 2])
    assert all(f"{fit['intercept']:.4f}" in printed for fit in fits)
    assert {(r["tilt"], r["steps"], r["grid"]) for r in figures["samples"]} == {
        (tilt, steps, grid)
        for tilt in ("1-D Gaussian", "1-D mixture")
        for steps in (15, 30)
        for grid in ("uniform", "log-SNR")
    }
    assert [r.get("target", r.get("closed_form")) for r in figures["field"]] == 2 * [
        *("raw", "mse"),
        *("mean", "point"),
    ]
    assert all(len(row["errors"]) == 6 for row in figures["field"])
    assert figures["options"]["targets"] == ["raw", "mse"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--candidates", "1"], "at least 2 candidates, got 1"),
        (["--points", "10"], "at least 1024 points"),
        (["--fits", "1"], "2 fits"),
    ],
)
def test_cep_refuses_bad_input(arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        main(["cep", *arguments])
