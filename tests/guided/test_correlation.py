"""Covariances of small ensembles, less what chance adds to them."""

import torch

from guided import Operator, Rng
from guided.exact import gaussian
from guided.guidance import EKI
from guided.guidance.sample.correlation import Covariances

F64 = torch.float64


def plain(x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    return (x - x.mean(0)).mT @ (out - out.mean(0)) / (len(x) - 1)


def test_what_is_independent_has_no_covariance() -> None:
    x, out = Rng(0).normal((40, 200), F64), Rng(1).normal((40, 50), F64)
    found = Covariances(x, out)
    # With z normal, E[max(0, 1 - 1 / z^2)^2 z^2]^(1/2) = 0.58 is left, all of it where |z| > 1.
    assert 0.54 < found.cross.norm() / plain(x, out).norm() < 0.64
    assert ((found.cross == 0).double().mean() - 0.68).abs() < 0.03


def test_many_members_or_a_perfect_correlation_need_no_correction() -> None:
    x = Rng(0).normal((20_000, 3), F64)
    out = x @ torch.tensor([[1.0, 0.5], [0.0, 1.0], [2.0, -1.0]], dtype=F64)
    found = Covariances(x, out)
    torch.testing.assert_close(found.cross, plain(x, out), rtol=0, atol=0.03)
    few = Covariances(x[:5, :1], 3 * x[:5, :1])
    torch.testing.assert_close(few.cross, plain(x[:5, :1], 3 * x[:5, :1]))


def test_the_gain_is_that_of_the_covariances_and_constants_have_none() -> None:
    x = Rng(0).normal((5000, 2), F64)
    x = torch.cat([x, torch.ones(5000, 1, dtype=F64)], 1)
    found = Covariances(x, x[:, :2])
    innovation = Rng(1).normal((7, 2), F64)
    cross, outer = plain(x, x[:, :2]), plain(x[:, :2], x[:, :2])
    exact = innovation @ torch.linalg.inv(outer + torch.eye(2, dtype=F64) / 0.5) @ cross.mT
    torch.testing.assert_close(found.gain(innovation, 0.5), exact, rtol=0, atol=0.05)
    assert (found.gain(innovation, 0.5)[:, 2] == 0).all()


def test_a_small_ensemble_learns_more_and_keeps_more_of_its_spread() -> None:
    """Of 100 numbers, 60 are measured; 30 members know 29 directions."""
    prior = gaussian(torch.zeros(100, dtype=F64), 1.0)
    A = torch.eye(100, dtype=F64)[:60]
    truth = prior.sample(1, Rng(5))
    operator = Operator(lambda x: x @ A.mT, truth @ A.mT, 0.5)
    start = prior.sample(30, Rng(0))
    errors, spreads = [], []
    for corrected in (False, True):
        x = EKI(operator, corrected=corrected).sample(start, rng=Rng(1))[:, :60]
        exact = truth[:, :60] / (1 + 0.25)  # noise of the measurement is 0 here
        errors.append(float((x.mean(0) - exact).square().mean().sqrt()))
        spreads.append(float(x.var(0).mean().sqrt()))
    assert errors[1] < 0.6 * errors[0]
    assert 1.2 * spreads[0] < spreads[1] < 0.447  # the exact one; both are too narrow
