"""What every contrast method must keep, on every shape and prediction of a network."""

import pytest
import torch

from guided.guidance.names import METHODS
from guided.schedule import karras
from guided.wrappers import Counted
from tests.guided.contrast_kit import LABELS, SCHEDULES, STEPS, TIMES, kit, run, start
from tests.guided.contrasts import PAIRS, ROWS

pytestmark = pytest.mark.filterwarnings("ignore:APG projects")
pairs = pytest.mark.parametrize(("name", "shape"), PAIRS, ids=["-".join(p) for p in PAIRS])
predictions = pytest.mark.parametrize("prediction", SCHEDULES)


def close(found, expected, tolerance=1e-9):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_every_name_has_a_row():
    assert METHODS.keys() <= ROWS.keys()


@pairs
@predictions
def test_the_neutral_scale_is_the_base_bit_for_bit_at_its_cost(name, shape, prediction):
    row, (own, other) = ROWS[name], (kit(shape, prediction, wrap=Counted) for _ in range(2))
    found, base = run(row.neutral(own), start(shape)), run(row.plain(other), start(shape))
    assert torch.equal(found, base)
    assert (own.net.calls, own.net.rows) == (other.net.calls, other.net.rows)


@pairs
@predictions
def test_the_cost_is_as_declared_and_the_same_method_twice_is_the_same(name, shape, prediction):
    row, own = ROWS[name], kit(shape, prediction, wrap=Counted)
    sampler = row.make(own, row.scale)
    found = run(sampler, start(shape))
    spent = own.net.calls + own.parts.weak.calls, own.net.rows + own.parts.weak.rows
    calls, rows = row.cost(own.net.schedule.levels(TIMES)[:STEPS])
    assert spent == (calls, len(LABELS) * rows)
    assert torch.equal(run(sampler, start(shape)), found)


AGREE = [(name, shape) for name, shape in PAIRS if ROWS[name].agree]


@pytest.mark.parametrize(("name", "shape"), AGREE, ids=["-".join(p) for p in AGREE])
@predictions
def test_branches_that_agree_guide_nowhere(name, shape, prediction):
    row, own = ROWS[name], kit(shape, prediction)
    # One label for all, as a random condition is the same for all rows.
    x, cond = start(shape), torch.ones_like(LABELS)
    same = row.agree(own)
    close(run(row.make(same, row.scale), x, cond=cond), run(row.plain(same), x, cond=cond))


@pairs
@predictions
def test_a_sample_is_what_it_is_alone_and_in_any_place(name, shape, prediction):
    row, own = ROWS[name], kit(shape, prediction)
    sampler = row.make(own, row.scale)
    found = run(sampler, start(shape))
    for rows in ([2, 0, 3, 1], [1]):
        close(run(sampler, start(shape, rows=rows), rows), found[rows])


@pairs
@predictions
def test_single_precision_and_device_stay_and_both_ends_are_finite(name, shape, prediction, device):
    row, own = ROWS[name], kit(shape, prediction, torch.float32, device=device)
    times = karras(own.net.schedule, STEPS, 0.002, 500.0)
    sampler = row.make(own, row.scale)
    for grid in (TIMES, times) if name != "linear-ag" else (TIMES,):
        found = run(sampler, start(shape, torch.float32).to(device), times=grid)
        assert (found.dtype, found.device.type) == (torch.float32, device.type)
        assert found.isfinite().all()


SLOPED = [(name, shape) for name, shape in PAIRS if ROWS[name].grad is not None]


@pytest.mark.parametrize(("name", "shape"), SLOPED, ids=["-".join(p) for p in SLOPED])
@predictions
def test_the_gradient_of_a_run_is_that_of_its_values(name, shape, prediction):
    row, own = ROWS[name], kit(shape, prediction)
    sampler, x = row.make(own, row.scale), start(shape)

    weights, along = (start(shape, rows=range(n, n + 4)) for n in (4, 8))

    def value(x):
        return (run(sampler, x, grad=True) * weights).sum()

    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(value(leaf), leaf)
    assert slope.isfinite().all() and slope.flatten(1).abs().amax(1).min() > 0
    if row.grad:
        up, down = value(x + 1e-6 * along), value(x - 1e-6 * along)
        bound = 1e-4 * (slope.norm() * along.norm()).item()
        assert ((up - down) / 2e-6).item() == pytest.approx((slope * along).sum().item(), abs=bound)


FLAT = [pair for pair in SLOPED if pair in AGREE]


@pytest.mark.parametrize(("name", "shape"), FLAT, ids=["-".join(p) for p in FLAT])
def test_the_gradient_is_finite_where_branches_agree(name, shape):
    row, own = ROWS[name], ROWS[name].agree(kit(shape, "v"))
    leaf = start(shape).requires_grad_()
    (slope,) = torch.autograd.grad(run(row.make(own, row.scale), leaf, grad=True).sum(), leaf)
    assert slope.isfinite().all()


ASKED = [(name, shape) for name, shape in PAIRS if ROWS[name].requests]


@pytest.mark.parametrize(("name", "shape"), ASKED, ids=["-".join(p) for p in ASKED])
@predictions
def test_a_scale_per_request_is_a_loop_over_requests(name, shape, prediction):
    """Two requests of two samples each."""
    row, own = ROWS[name], kit(shape, prediction)
    scales = torch.tensor([row.scale, row.scale / 4], dtype=torch.float64)
    found = run(row.make(own, scales), start(shape))
    for rows, scale in (([0, 1], scales[0]), ([2, 3], scales[1])):
        alone = run(row.make(own, scale.item()), start(shape, rows=rows), rows)
        close(found[rows], alone)
