"""What every sampler and every guidance method must keep, whatever it does."""

import pytest
import torch

from guided import Counted, RectifiedFlow, Rng, VPLinear
from guided.schedule import Schedule, uniform
from tests.guided.registry import METHODS
from tests.guided.toy import Row, Toy

TIMES = uniform(6, start=0.99)
rows = pytest.mark.parametrize("row", METHODS.values(), ids=METHODS.keys())


def run(
    method, shape, seeds, dtype=torch.float64, x=None, cond=None, schedule: Schedule | None = None
) -> torch.Tensor:
    """One run with a stream per sample; x_T from the same streams unless given."""
    rng = Rng(seeds)
    if x is None:
        x = rng.normal(shape, dtype)
    if cond is None:
        cond = torch.linspace(0.2, 0.9, 64, dtype=dtype)[torch.tensor(seeds) % 64]
    return method.sample(x, TIMES, cond, rng=rng)


@rows
def test_same_seed_same_bits(row: Row) -> None:
    first, again, other = (
        run(row.make(Toy(VPLinear())), (5, 4), range(s, s + 5)) for s in (0, 0, 100)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@rows
def test_sample_does_not_depend_on_its_batch(row: Row) -> None:
    if row.coupled:
        pytest.skip("declared coupled")
    method = row.make(Toy(VPLinear()))
    batch = run(method, (7, 4), range(7))
    for i in range(7):
        torch.testing.assert_close(run(method, (1, 4), [i])[0], batch[i], rtol=1e-12, atol=1e-12)


@rows
@pytest.mark.parametrize("shape", [(3, 5), (1, 2, 3), (2, 3, 2, 2)])
def test_any_rank(row: Row, shape: tuple[int, ...]) -> None:
    """The result is the flat run reshaped: no axis but the first is interpreted."""
    method = row.make(Toy(VPLinear()))
    x = Rng(1).normal(shape, torch.float64)
    seeds = range(shape[0])
    shaped = run(method, shape, seeds, x=x)
    flat = run(method, shape, seeds, x=x.flatten(1))
    assert shaped.shape == shape
    torch.testing.assert_close(shaped.flatten(1), flat)


@rows
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(row: Row, dtype: torch.dtype) -> None:
    assert run(row.make(Toy(VPLinear())), (2, 3), range(2), dtype).dtype == dtype


@rows
def test_inputs_are_untouched(row: Row) -> None:
    x, cond = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), torch.ones(3)
    x_before, cond_before = x.clone(), cond.clone()
    run(row.make(Toy(VPLinear())), (3, 4), range(3), x=x, cond=cond)
    assert torch.equal(x, x_before)
    assert torch.equal(cond, cond_before)


@rows
def test_neutral_parameter_is_the_unguided_run_bit_for_bit(row: Row) -> None:
    if row.neutral is None:
        pytest.skip("a plain sampler")
    neutral, plain = Counted(Toy(VPLinear())), Counted(Toy(VPLinear()))
    a = run(row.neutral(neutral), (5, 4), range(5))
    b = run(row.base(plain), (5, 4), range(5))
    assert torch.equal(a, b)
    assert (neutral.calls, neutral.rows, neutral.vjps) == (plain.calls, plain.rows, plain.vjps)


@rows
def test_declared_cost(row: Row) -> None:
    counted = Counted(Toy(VPLinear()))
    run(row.make(counted), (5, 4), range(5))
    steps = len(TIMES) - 1
    assert counted.calls == row.calls(steps)
    assert counted.rows == 5 * row.rows(steps)
    assert counted.vjps == row.vjps(steps)


@rows
def test_no_gradient_leaks(row: Row) -> None:
    x = torch.zeros(2, 3, requires_grad=True)
    before = torch.is_grad_enabled()
    assert not run(row.make(Toy(VPLinear())), (2, 3), range(2), x=x).requires_grad
    assert torch.is_grad_enabled() == before


@rows
def test_runs_on_a_schedule_that_ends_in_pure_noise(row: Row) -> None:
    method = row.make(Toy(RectifiedFlow()))
    x = method.sample(Rng(0).normal((4, 3)), TIMES, torch.full((4,), 0.5), rng=Rng(0))
    assert x.isfinite().all()
