"""Operators and simulators: likelihoods, problems side by side, and all that a simulator can do."""

import logging
import math

import numpy as np
import pytest
import torch

from guided import DDPM, SCG, BestOfN, Likelihood, Operator, Rng, Simulator, VPLinear
from guided.guidance import SIR, SMC, TDS, ClassifierGuidance, Waltz
from guided.schedule import uniform
from tests.guided.toy import Toy


def test_the_likelihood_is_the_gaussian_density() -> None:
    A = Rng(0).normal((3, 4), torch.float64)
    y, noise = torch.tensor([[0.1, -0.4, 1.0]]).double(), torch.tensor([0.5, 1.0, 2.0]).double()
    operator = Operator(lambda x: x @ A.mT, y, noise)
    x = Rng(1).normal((5, 4), torch.float64)
    exact = torch.distributions.Normal(x @ A.mT, noise).log_prob(y).sum(1)
    torch.testing.assert_close(operator.log_likelihood(operator(x)), exact)
    torch.testing.assert_close(Likelihood(operator)(x), -exact)
    assert Likelihood(operator).differentiable


def test_an_operator_stands_for_its_likelihood() -> None:
    """In every method that takes an energy: bit for bit what its likelihood gives."""
    operator = Operator(lambda x: x[:, :2].square(), torch.tensor([[1.0, 0.3]]).double(), 0.4)
    x, sampler = Rng(0).normal((8, 3), torch.float64), DDPM(Toy(VPLinear()))
    times = uniform(6, start=0.99)
    runs = {
        "SCG": lambda e: SCG(sampler, e, candidates=3).sample(x, times, rng=Rng(1)),
        "BestOfN": lambda e: BestOfN(sampler, e, candidates=3).sample(x, times, rng=Rng(1)),
        "SMC": lambda e: SMC(sampler, e, 4).sample(x, times, rng=Rng(1)),
        "TDS": lambda e: TDS(sampler, e, 4).sample(x, times, rng=Rng(1)),
        "SIR": lambda e: SIR(sampler, e, 4).sample(x, times, rng=Rng(1)).x0,
        "Waltz": lambda e: Waltz(sampler, e, steps=3).sample(x, 2, rng=Rng(1)),
    }
    for name, sampled in runs.items():
        assert torch.equal(sampled(operator), sampled(Likelihood(operator))), name
    outputs = operator.forward(x)
    noise = 0.5 * ((outputs - operator.y) / 0.4).square().sum(1)
    energy = Likelihood(operator)
    torch.testing.assert_close(energy(x) - energy.least, noise)


def test_outputs_of_any_shape_and_problems_side_by_side() -> None:
    y = Rng(0).normal((2, 3, 3))
    operator = Operator(lambda x: x[:, :3, :3], y, 0.5)
    x = Rng(1).normal((8, 4, 4))
    together = operator.log_likelihood(operator(x))
    for problem in range(2):
        alone = Operator(operator.forward, y[problem : problem + 1], 0.5)
        rows = slice(4 * problem, 4 * problem + 4)
        torch.testing.assert_close(together[rows], alone.log_likelihood(alone(x[rows])))
    with pytest.raises(ValueError, match="7 rows cannot be shared by 2 problems"):
        operator.measured(7)


def test_a_likelihood_of_its_own() -> None:
    y = torch.tensor([[2.0]])
    poisson = Operator(torch.exp, y, 1.0, lambda out, y: (y * out.log() - out).sum(1))
    x = torch.tensor([[0.0], [1.0]])
    torch.testing.assert_close(Likelihood(poisson)(x), torch.tensor([1.0, math.e - 2]))


@pytest.mark.parametrize(
    ("y", "noise", "message"),
    [
        (torch.zeros(3), 1.0, r"one row a problem, got \(3,\)"),
        (torch.zeros(1, 3), 0.0, "above 0, got 0.0"),
        (torch.zeros(1, 3), -1.0, "above 0, got -1.0"),
    ],
)
def test_bad_measurements_are_refused(y: torch.Tensor, noise: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Operator(lambda x: x, y, noise)


def test_outputs_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"returned \(2, 4\) for 2 samples and y has 3 entries"):
        Operator(lambda x: x, torch.zeros(1, 3), 1.0)(torch.zeros(2, 4))


def test_a_simulator_is_refused_where_a_gradient_is_needed() -> None:
    operator = Operator(Simulator(lambda x: x, (2,)), torch.zeros(1, 2), 1.0)
    assert not operator.differentiable
    with pytest.raises(TypeError, match="needs a differentiable energy, got Likelihood"):
        ClassifierGuidance(Toy(VPLinear()), Likelihood(operator))


def squares(x: np.ndarray) -> np.ndarray:
    """A forward map (4,) -> (2,)."""
    return np.array([np.square(x).sum(), x[0]])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("batched", [False, True])
def test_a_simulator_returns_rows_in_order(workers: int, batched: bool) -> None:
    x = Rng(0).normal((11, 4))
    function = (lambda xs: np.stack([squares(x) for x in xs])) if batched else squares
    out = Simulator(function, (2,), workers=workers, batched=batched)(x)
    torch.testing.assert_close(out, torch.stack([x.square().sum(1), x[:, 0]], 1))
    assert out.dtype == torch.float32


@pytest.mark.parametrize("batched", [False, True])
def test_failed_rows_are_nan_counted_and_of_no_likelihood(batched: bool) -> None:
    def fragile(x: np.ndarray) -> np.ndarray:
        x = np.atleast_2d(x)
        if (x[:, 0] < -1).any():
            raise RuntimeError("the solver blew up")
        out = np.where(x[:, :1] > 1, np.inf, x[:, :2])
        return out if batched else out[0]

    simulator = Simulator(fragile, (2,), batched=batched)
    x = Rng(0).normal((30, 3))
    out = simulator(x)
    bad = (x[:, 0] < -1) | (x[:, 0] > 1)
    assert 0 < bad.sum() < 30
    assert torch.equal(out.isnan().any(1), bad)
    assert simulator.pool.failures["exception"] == int((x[:, 0] < -1).sum())
    assert simulator.pool.failures["nan"] == int((x[:, 0] > 1).sum())
    operator = Operator(simulator, torch.zeros(1, 2), 1.0)
    assert torch.equal(Likelihood(operator)(x) == math.inf, bad)


def test_outputs_of_changing_length_are_failures() -> None:
    simulator = Simulator(lambda x: np.zeros(2 + (x[0] > 0)), (2,))
    x = Rng(0).normal((20, 1))
    assert torch.equal(simulator(x).isnan().any(1), x[:, 0] > 0)
    assert "not real numbers of shape (2,)" in simulator.pool.messages["return"]


def test_what_fails_now_and_then_is_tried_again() -> None:
    tries: dict[float, int] = {}

    def moody(x: np.ndarray) -> np.ndarray:
        tries[float(x[0])] = tries.get(float(x[0]), 0) + 1
        if tries[float(x[0])] < 3:
            raise OSError("no licence left")
        return x

    x = Rng(0).normal((4, 1))
    assert Simulator(moody, (1,), retries=1)(x).isnan().all()
    tries.clear()
    simulator = Simulator(moody, (1,), retries=2)
    torch.testing.assert_close(simulator(x), x)
    assert not simulator.pool.failures


def test_a_simulator_that_is_not_deterministic_is_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = iter(range(100))
    with caplog.at_level(logging.WARNING):
        Simulator(lambda x: x + next(calls), (1,))(torch.zeros(3, 1))
    assert "not deterministic" in caplog.text
    caplog.clear()
    Simulator(lambda x: x, (1,))(torch.zeros(3, 1))
    assert not caplog.text


def test_memory_of_a_simulator() -> None:
    calls = []

    def counted(x: np.ndarray) -> np.ndarray:
        calls.append(x)
        return x

    simulator = Simulator(counted, (1,), memo=10)
    x = torch.tensor([[0.0], [1.0], [0.0]])
    for _ in range(3):
        torch.testing.assert_close(simulator(x), x)
    assert len(calls) == 3  # two inputs, one of them a second time to see whether it repeats
