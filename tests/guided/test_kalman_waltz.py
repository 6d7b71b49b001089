"""Waltz with an ensemble Kalman drift: exact for maps of any kind, and quicker than without."""

import pytest
import torch

from guided import DDIM, DPMpp2M, Operator, Rng, VPLinear
from guided.exact import FeaturePosterior, Mixture, gaussian
from guided.guidance import KalmanWaltz, Waltz
from guided.operator import Likelihood

PRIOR = Mixture(
    torch.tensor([0.3, 0.7]).double(),
    torch.tensor([[-1.0, 0.5], [1.0, -0.5]]).double(),
    torch.tensor([0.2, 0.4]).double(),
)
Y = torch.tensor([[1.1, 0.4]]).double()
NOISE = torch.tensor([0.3, 0.5]).double()
SCHEDULE = VPLinear()


def bent(z: torch.Tensor) -> torch.Tensor:
    """A radius, and steps whose slope is 0 almost everywhere."""
    return torch.stack([z.norm(dim=1), (4 * z[:, 1]).round() / 4], dim=1)


def sampler(prior: Mixture = PRIOR) -> DPMpp2M:
    return DPMpp2M(prior.denoiser(SCHEDULE), eta=1.0)


def test_moves_lead_from_the_prior_to_the_posterior_of_a_bent_map() -> None:
    exact = FeaturePosterior(PRIOR, torch.eye(2).double(), bent, Y[0], NOISE).sample(50_000, Rng(9))
    method = KalmanWaltz(sampler(), Operator(bent, Y, NOISE), steps=25)
    x = method.sample(PRIOR.sample(4000, Rng(0)), 40, rng=Rng(1))
    torch.testing.assert_close(x.mean(0), exact.mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(torch.cov(x.mT), torch.cov(exact.mT), rtol=0, atol=0.05)


@pytest.mark.parametrize("drift", [0.5, 3.0, 5.0])
def test_moves_keep_the_posterior_whatever_the_drift(drift: float) -> None:
    exact = FeaturePosterior(PRIOR, torch.eye(2).double(), bent, Y[0], NOISE)
    method = KalmanWaltz(sampler(), Operator(bent, Y, NOISE), steps=25, drift=drift)
    start = exact.sample(4000, Rng(0))
    *_, chain = method.iterate(start, 12, rng=Rng(1))
    assert 0.1 < chain.accepted.double().mean()
    torch.testing.assert_close(chain.x0.mean(0), start.mean(0), rtol=0, atol=0.06)
    torch.testing.assert_close(torch.cov(chain.x0.mT), torch.cov(start.mT), rtol=0, atol=0.06)


def test_the_drift_brings_many_dimensions_near_the_data_sooner() -> None:
    prior = gaussian(torch.zeros(200).double(), 1.0)
    A = torch.eye(200).double()[:50]
    y = 1.5 * torch.ones(1, 50).double()
    operator = Operator(lambda x: x @ A.mT, y, 0.3)
    start = prior.sample(200, Rng(0))
    energies = []
    for method in (
        Waltz(sampler(prior), Likelihood(operator), steps=10),
        KalmanWaltz(sampler(prior), operator, steps=10),
    ):
        *_, chain = method.iterate(start, 80, rng=Rng(1))
        energies.append(float(chain.energy.mean()))
    assert energies[1] < 0.7 * energies[0]


def test_failed_members_stay_where_they_are_and_teach_nothing() -> None:
    def failing(x: torch.Tensor) -> torch.Tensor:
        out = bent(x)
        out[x[:, 0] > 1.5] = torch.nan
        return out

    method = KalmanWaltz(sampler(), Operator(failing, Y, NOISE), steps=10)
    x = method.sample(PRIOR.sample(200, Rng(0)), 10, rng=Rng(1))
    assert x.isfinite().all()
    assert (x[:, 0] > 1.5).sum() < (PRIOR.sample(200, Rng(0))[:, 0] > 1.5).sum()


def test_it_needs_a_stochastic_sampler_one_problem_and_an_ensemble() -> None:
    operator = Operator(bent, Y, NOISE)
    with pytest.raises(ValueError, match="eta=1"):
        KalmanWaltz(DDIM(PRIOR.denoiser(SCHEDULE)), operator)
    with pytest.raises(ValueError, match="one problem"):
        KalmanWaltz(sampler(), Operator(bent, Y.repeat(2, 1), NOISE))
    with pytest.raises(ValueError, match="got 3 in all"):
        KalmanWaltz(sampler(), operator).start(PRIOR.sample(3, Rng(0)))
