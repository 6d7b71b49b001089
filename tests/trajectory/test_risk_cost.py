"""Contact as an energy, against SciPy's laws and finite differences."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import ncx2, norm

from domains.trajectory.risk import (
    Discs,
    RiskCost,
)
from guided import Rng, WeightedSum
from tests.trajectory.risk_cases import (
    D64,
    DT,
    STEPS,
    STRAIGHT,
    density,
)

SPREADS = np.stack([np.diag([0.1 + 0.1 * f, 0.2]) + 0.05 for f in range(STEPS)])


def futures(count=4, agents=3):
    return 2 * Rng(5).normal((count, agents, STEPS, 2), D64)


def test_the_energy_is_the_log_chance_to_be_clear_of_half_planes():
    cost, x = RiskCost(SPREADS, 1.2, ego=1), futures()
    expected = np.zeros(4)
    for r, f, j in np.ndindex(4, STEPS, 2):
        way = (x[r, 1, f] - x[r, (0, 2)[j], f]).numpy()
        unit = way / np.linalg.norm(way)
        law = norm(np.linalg.norm(way), math.sqrt(unit @ SPREADS[f] @ unit))
        expected[r] -= law.logsf(1.2)
    np.testing.assert_allclose(cost(x), expected, rtol=1e-9)
    np.testing.assert_allclose(-torch.log1p(-cost.probabilities(x)).sum((1, 2)), expected)


def test_the_bound_is_above_the_chance_and_near_it_for_a_large_disc():
    """Exact chances of an isotropic Gaussian by the noncentral chi-square law."""
    for radius, slack in ((1.0, 0.3), (20.0, 0.02)):
        gaps = radius + np.array([-0.5, 0.0, 0.5, 1.0])
        x = torch.zeros(4, 2, 1, 2, dtype=D64)
        x[:, 0, 0, 0] = torch.from_numpy(gaps)
        bound = RiskCost(0.25 * np.eye(2)[None], radius).probabilities(x)[:, 0, 0].numpy()
        exact = ncx2.cdf((radius / 0.5) ** 2, 2, (gaps / 0.5) ** 2)
        assert (bound >= exact).all() and (bound <= (1 + slack) * exact + slack / 10).all()


def test_the_gradient_is_the_finite_difference():
    cost, x = RiskCost(SPREADS, 1.2), futures()
    assert torch.autograd.gradcheck(cost, x.clone().requires_grad_())
    deep = torch.zeros(1, 2, STEPS, 2, dtype=D64)
    deep[:, 0, :, 0] = 1e-3
    push = deep.clone().requires_grad_()
    (slope,) = torch.autograd.grad(RiskCost(0.01 * SPREADS, 3.0)(push).sum(), push)
    assert (slope[0, 0, :, 0] < -10).all()


def test_the_energy_of_a_sample_does_not_depend_on_its_batch():
    cost, x = RiskCost(SPREADS, 1.2), futures()
    given = x.clone()
    torch.testing.assert_close(cost(x)[2:3], cost(x[2:3]), atol=1e-14, rtol=0)
    assert cost(x).shape == (4,) and torch.equal(x, given)
    assert cost(x.float()).dtype == torch.float32
    assert (WeightedSum({"risk": cost}, {"risk": 3.0})(x) == 3 * cost(x)).all()
    chosen = RiskCost(SPREADS, 1.2, others=[2])(x)
    torch.testing.assert_close(chosen, cost(x[:, [0, 2]]))
    last = RiskCost(SPREADS, 1.2, ego=-1)(x)
    torch.testing.assert_close(last, RiskCost(SPREADS, 1.2, ego=2)(x))


def test_two_agents_at_one_place_have_a_finite_energy():
    x = torch.zeros(1, 2, STEPS, 2, dtype=D64, requires_grad=True)
    energy = RiskCost(SPREADS, 1.2)(x)
    (slope,) = torch.autograd.grad(energy.sum(), x)
    assert energy.isfinite().all() and energy > 0 and slope.isfinite().all()


def test_descent_leads_away_from_contact():
    """The energy with the covariances of the reachable states: less energy is less risk."""
    reach = density(samples=2000)
    covariances = reach.reach(STRAIGHT[None], DT).covariances()[0]
    other = np.full_like(STRAIGHT, 0.3) + np.array([6.1, 0.0])
    x = torch.tensor(np.stack([STRAIGHT, other])[None])
    cost = RiskCost(covariances, 1.0)
    for _ in range(60):
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(cost(x).sum(), x)
        x = x - 0.05 * slope * torch.tensor([1.0, 0.0])[:, None, None]
    plans = np.stack([STRAIGHT, x[0, 0].detach().numpy()])
    before, after = reach.risk(plans, DT, Discs(other[None, None], np.ones(1), 1.0)).any
    assert before > 0.5 and after < 0.2 * before


def test_a_bad_cost_is_refused():
    with pytest.raises(ValueError, match=r"covariances need shape \(F, 2, 2\), got \(2, 2\)"):
        RiskCost(np.eye(2), 1.0)
    with pytest.raises(ValueError, match="symmetric and positive definite"):
        RiskCost(np.zeros((1, 2, 2)), 1.0)
    with pytest.raises(ValueError, match="a positive distance in metres, got -1"):
        RiskCost(SPREADS, -1)
    with pytest.raises(ValueError, match="agent 1 cannot keep clear of itself"):
        RiskCost(SPREADS, 1.0, ego=1, others=[0, 1])
    with pytest.raises(ValueError, match=r"futures need shape \(R, A, 6, 2\)"):
        RiskCost(SPREADS, 1.0)(torch.zeros(1, 2, 5, 2))
