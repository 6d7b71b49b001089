"""Black boxes: right energies in the right order, and no evaluation ends a run."""

import logging
import os
import re
import sys
import time

import joblib
import numpy as np
import pytest
import torch

from guided.blackbox import BlackBox

INF = float("inf")
ROWS = torch.tensor([[3.0, 1.0], [0.0, 5.0], [2.0, 2.0], [7.0, -1.0], [4.0, 0.5]])
TOTALS = [4.0, 5.0, 4.0, 6.0, 4.5]


def total(row):
    return row.sum()


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("batched", [False, True])
def test_energies_are_the_function_of_each_row_in_order(workers, batched):
    def slow_first(a):
        time.sleep(0.2 if workers > 1 and np.ravel(a)[0] == 3 else 0)
        return a.sum(axis=-1)

    box = BlackBox(slow_first, workers=workers, batched=batched)
    assert box(ROWS).tolist() == TOTALS
    assert box(ROWS[:1]).tolist() == TOTALS[:1]
    assert box(ROWS[:0]).shape == (0,)
    assert not box.failures
    assert not box.differentiable


def test_the_pool_is_other_processes_and_stays():
    box = BlackBox(lambda row: os.getpid(), workers=2)
    with torch.no_grad():
        pids = {int(pid) for _ in range(3) for pid in box(ROWS.double())}
    assert os.getpid() not in pids
    assert len(pids) <= 2


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float64, torch.float64),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.uint8, torch.float32),
    ],
)
def test_dtype_of_the_energy(dtype, expected):
    energy = BlackBox(total)(torch.tensor([[1.0, 2.0]], dtype=dtype))
    assert energy.dtype is expected
    assert energy.tolist() == [3.0]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("batched", [False, True])
def test_a_function_that_writes_harms_nobody(workers, batched):
    def vandal(a):
        value = a.sum(axis=-1).copy()
        a[...] = np.nan
        return value

    x = ROWS.clone().requires_grad_()
    box = BlackBox(vandal, workers=workers, batched=batched)
    assert box(x).tolist() == box(x).tolist() == TOTALS
    assert torch.equal(x, ROWS)


@pytest.mark.parametrize(
    ("bad", "kind", "says"),
    [
        (lambda row: 1 / 0, "exception", "ZeroDivisionError"),
        (lambda row: sys.exit(1), "exception", "SystemExit"),
        (lambda row: np.nan, "nan", "returned nan"),
        (lambda row: -np.inf, "nan", "returned -inf"),
        (lambda row: row, "return", r"shape \(2,\)"),
        (lambda row: None, "return", "object"),
        (lambda row: "12", "return", "U2"),
        (lambda row: 1j, "return", "complex"),
        (lambda row: [[1], [1, 2]], "exception", "ValueError"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_costs_one_candidate(bad, kind, says, workers, caplog):
    box = BlackBox(lambda row: bad(row) if row[0] == 7 else row.sum(), workers=workers)
    with caplog.at_level(logging.WARNING, logger="guided.blackbox"):
        for _ in range(2):
            assert box(ROWS).tolist() == [4.0, 5.0, 4.0, INF, 4.5]
    assert box.failures == {kind: 2}
    assert len(caplog.records) == 1
    assert re.search(says, box.messages[kind])


def test_infinite_energy_is_an_answer():
    box = BlackBox(lambda row: np.inf if row[0] == 7 else 0)
    assert box(ROWS).tolist() == [0, 0, 0, INF, 0]
    assert not box.failures


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stack_that_fails_is_taken_apart(workers):
    def strict(stack):
        if (stack[:, 0] == 7).any():
            raise ValueError("seven")
        return stack.sum(axis=1)

    box = BlackBox(strict, workers=workers, batched=True)
    assert box(ROWS).tolist() == [4.0, 5.0, 4.0, INF, 4.5]
    assert box.failures == {"exception": 1}
    wrong = BlackBox(lambda stack: stack.sum(), batched=True)
    assert wrong(ROWS).tolist() == [INF] * 5
    assert wrong.failures == {"return": 5}


def test_python_code_that_never_returns_is_interrupted():
    def endless(row):
        while row[0] == 7:
            try:
                time.sleep(60)
            except Exception:
                pass
        return row.sum()

    box = BlackBox(endless, workers=2, timeout=0.3)
    start = time.monotonic()
    assert box(ROWS).tolist() == [4.0, 5.0, 4.0, INF, 4.5]
    assert time.monotonic() - start < 30  # and not 60
    assert box.failures == {"timeout": 1}
    serial = BlackBox(endless, workers=1, timeout=0.3, batched=False)
    assert serial(ROWS).tolist() == [4.0, 5.0, 4.0, INF, 4.5]


def test_the_limit_of_a_stack_grows_with_it():
    def slow(stack):
        if len(stack) < len(ROWS):
            raise ValueError("the stack was taken apart: it had timed out")
        time.sleep(0.6)
        return stack.sum(axis=1)

    box = BlackBox(slow, workers=1, timeout=0.5, batched=True)
    assert box(ROWS).tolist() == TOTALS
    assert not box.failures


def test_compiled_code_that_never_returns_and_a_death_cost_their_candidates():
    def deadly(row):
        if row[0] == 0:
            os._exit(3)
        if row[0] == 7:  # a loop in C that holds the interpreter lock and sees no signal
            np.add.reduce(np.broadcast_to(np.ones(1), (10**14,)))
        return row.sum()

    box = BlackBox(deadly, workers=2, timeout=1)
    assert box(ROWS).tolist() == [4.0, INF, 4.0, INF, 4.5]
    assert box.failures == {"death": 1, "timeout": 1}
    assert "in deadly" in box.messages["timeout"]
    assert BlackBox(total, workers=2)(ROWS).tolist() == TOTALS  # and the pool is well


def test_memo_asks_once_for_each_array():
    asked = []

    def counted(row):
        asked.append(row.tolist())
        return np.nan if row[0] == 7 else row.sum()

    box = BlackBox(counted, memo=3)
    twice = torch.cat([ROWS, ROWS])
    expected = [4.0, 5.0, 4.0, INF, 4.5]
    assert box(twice).tolist() == expected * 2
    assert asked == ROWS.tolist()
    asked.clear()
    assert box(ROWS[[4, 3, 2]]).tolist() == [4.5, INF, 4.0]
    assert asked == [[7.0, -1.0]]  # a failure is asked again
    asked.clear()
    box(ROWS[[0]])  # the fourth one: forgotten
    assert asked == [[3.0, 1.0]]


def test_memo_tells_shapes_and_kinds_apart():
    box = BlackBox(lambda a: a.ndim + 10 * (a.dtype == np.float64), memo=10, convert=lambda x: x)
    zeros = [np.zeros(4, np.float32), np.zeros((2, 2), np.float32), np.zeros(2), np.zeros((2, 1))]
    assert box(zeros).tolist() == [1, 2, 11, 12]


def test_convert_maps_the_batch_once():
    def split(x):
        seen.append(x)
        return [(x["a"][i] > 2).numpy() for i in range(2)]

    seen = []
    box = BlackBox(np.count_nonzero, workers=2, convert=split)
    assert box({"a": torch.arange(6).reshape(2, 3)}).tolist() == [0, 3]
    assert len(seen) == 1


@pytest.mark.parametrize("backend", ["threading", "multiprocessing"])
def test_joblib_chooses_the_back_end(backend):
    with joblib.parallel_config(backend=backend):
        assert BlackBox(total, workers=2)(ROWS).tolist() == TOTALS
    with (
        joblib.parallel_config(backend="threading"),
        pytest.raises(RuntimeError, match="in threads"),
    ):
        BlackBox(total, workers=2, timeout=1)(ROWS)


@pytest.mark.parametrize(
    ("error", "settings"),
    [
        (ValueError, {"workers": -2}),
        (ValueError, {"memo": -1}),
        (ValueError, {"timeout": 0}),
        (ValueError, {"timeout": float("nan")}),
        (TypeError, {"function": 3}),
    ],
)
def test_refuses_at_construction(error, settings):
    with pytest.raises(error, match="BlackBox needs"):
        BlackBox(**{"function": total, **settings})
