"""Exact posteriors of black boxes, against closed forms and against brute force."""

import math

import pytest
import torch

from guided import Rng
from guided.exact import FeaturePosterior, Mixture


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    return Rng(seed).normal(shape, torch.float64)


def prior(dim: int, kind: str = "isotropic") -> Mixture:
    """Four components that overlap in places."""
    weights = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    means = 1.5 * double(4, dim, seed=3)
    if kind == "isotropic":
        return Mixture(weights, means, torch.tensor([0.3, 0.5, 0.4, 0.6]).double())
    factors = double(4, dim, dim, seed=5) / math.sqrt(dim)
    return Mixture(weights, means, factors @ factors.mT + 0.1 * torch.eye(dim).double())


@pytest.mark.parametrize("kind", ["isotropic", "full"])
@pytest.mark.parametrize("r", [1, 2, 3])
@pytest.mark.parametrize("noise", [0.5, 0.05])
def test_a_linear_map_has_the_closed_form(kind: str, r: int, noise: float) -> None:
    law, B, C = prior(6, kind), double(r, 6, seed=1), double(2, r, seed=2)
    y = torch.tensor([0.3, -0.2], dtype=torch.float64)
    exact, log_z = law.measured(C @ B, y, noise)
    found = FeaturePosterior(law, B, lambda z: z @ C.mT, y, noise)
    assert abs(found.log_z - float(log_z)) < 0.01
    torch.testing.assert_close(found.mean(), exact.mean(), rtol=0, atol=0.01)
    torch.testing.assert_close(found.component_weights(), exact.weights, rtol=0, atol=0.005)
    x = found.sample(20_000, Rng(0))
    torch.testing.assert_close(x.mean(0), exact.mean(), rtol=0, atol=0.04)
    torch.testing.assert_close(torch.cov(x.mT), exact.cov(), rtol=0, atol=0.05)


@pytest.mark.parametrize("noise", [0.3, 0.03])
def test_a_rough_map_agrees_with_brute_force(noise: float) -> None:
    law, B = prior(5), double(2, 5, seed=1)

    def g(z: torch.Tensor) -> torch.Tensor:
        return torch.stack([(z[:, 0].abs() / 0.5).floor(), (2 * z[:, 1]).round()], -1)

    y = torch.tensor([1.1, 0.9], dtype=torch.float64)
    found = FeaturePosterior(law, B, g, y, noise)
    x = law.sample(400_000, Rng(0))
    weights = found.log_likelihood(x).exp()
    share = weights / weights.sum()
    error = float(weights.std() / weights.mean() / math.sqrt(len(x)))
    assert abs(found.log_z - float(weights.mean().log())) < 4 * error + 0.003
    torch.testing.assert_close(found.mean(), share @ x, rtol=0, atol=0.02)
    drawn = found.sample(20_000, Rng(1))
    torch.testing.assert_close(drawn.mean(0), found.mean(), rtol=0, atol=0.03)
    inside = found.log_likelihood(drawn).exp().mean()
    torch.testing.assert_close(inside, share @ weights, rtol=0.03, atol=0)


def test_samples_of_any_shape_and_many_dimensions() -> None:
    weights, means = torch.ones(3), Rng(2).normal((3, 10, 10, 10))
    law = Mixture(weights.double(), means.double(), 0.2)
    B = double(2, 10, 10, 10) / math.sqrt(1000)
    y = torch.tensor([0.9], dtype=torch.float64)
    found = FeaturePosterior(law, B, lambda z: torch.tanh(z.sum(-1, keepdim=True)), y, 0.01)
    x = found.sample(2000, Rng(0))
    assert x.shape == (2000, 10, 10, 10)
    torch.testing.assert_close(found.operator(x).mean(), y[0], rtol=0, atol=0.005)
    assert (x.mean(0) - found.mean()).square().mean().sqrt() < 0.03


def test_what_is_out_of_range_has_little_evidence() -> None:
    law, B = prior(4), double(1, 4)
    near, far = (
        FeaturePosterior(law, B, torch.tanh, torch.tensor([v]).double(), 0.1) for v in (0.5, 3.0)
    )
    assert far.log_z < near.log_z - 100


def test_bad_input_is_refused() -> None:
    law, y = prior(4), torch.zeros(1, dtype=torch.float64)
    with pytest.raises(ValueError, match="r = 1 to 3"):
        FeaturePosterior(law, double(4, 4), torch.tanh, y, 0.1)
    with pytest.raises(ValueError, match="depend on each other"):
        FeaturePosterior(law, torch.ones(2, 4).double(), torch.tanh, y, 0.1)
    with pytest.raises(ValueError, match="noise above 0"):
        FeaturePosterior(law, double(1, 4), torch.tanh, y, 0.0)


def test_a_cell_that_only_promises_does_not_hide_a_rare_mode() -> None:
    """Where g jumps across y, no cell is ruled out early, though none there has any mass."""
    prior = Mixture(
        torch.tensor([1.0, 1e-14]).double(), torch.tensor([[0.0], [20.0]]).double(), 1.0
    )
    y = torch.tensor([5.0]).double()

    def jumping(z: torch.Tensor) -> torch.Tensor:
        return torch.where(z > 10, 5.0, 100 * z.sign())

    exact = FeaturePosterior(prior, torch.eye(1).double(), jumping, y, 0.1)
    expected = math.log(1e-14) - math.log(0.1 * math.sqrt(2 * math.pi))
    assert exact.log_z == pytest.approx(expected, abs=1e-4)
    torch.testing.assert_close(exact.mean(), torch.tensor([20.0]).double(), rtol=0, atol=1e-3)
