"""Risk along a plan, against linear systems in closed form and brute-force Monte Carlo."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.stats import multivariate_normal, ncx2, norm, qmc

from domains.trajectory.forecast import Forecast
from domains.trajectory.risk import (
    Discs,
    Path,
    PointMass,
    ReachDensity,
    keep_safe,
)
from domains.trajectory.scene import Scene
from guided import Rng
from tests.trajectory.risk_cases import (
    COV,
    D64,
    DT,
    STEPS,
    STRAIGHT,
    TIMES,
    TRACKERS,
    TURN,
    WALKER,
    beside,
    density,
    disc,
    random_states,
)

every_tracker = pytest.mark.parametrize("name", TRACKERS)


def closed_loop():
    """The error to the plan of a point mass: d error / dt = A error."""
    zero, one = np.zeros((2, 2)), np.eye(2)
    return np.block([[zero, one], [-0.8 * one, -1.2 * one]])


def test_a_point_masss_density_is_the_gaussian_of_the_matrix_exponential():
    """log rho shifts by -tr(A) t; mean and covariance by expm, from an independent mean."""
    reach = density(samples=400, substeps=8)
    found = reach.reach(TURN[None], DT)
    start = np.array(WALKER)
    path = Path(TURN[None], DT, start[:2], start[2:])
    for f, t in enumerate(TIMES):
        flow = expm(t * closed_loop())
        at = path.at(t)
        # The mean starts on the plan with its velocity, so the plan is the mean.
        mean = torch.cat([at.position, at.velocity], -1)[0, 0].numpy()
        law = multivariate_normal(mean, flow @ COV @ flow.T)
        states = found.states[0, :, f].numpy()
        np.testing.assert_allclose(found.log_density[0, :, f], law.logpdf(states), atol=1e-4)
        probe = law.rvs(20, random_state=f)
        by_return = reach.log_density(torch.from_numpy(probe), TURN, DT, f)
        np.testing.assert_allclose(by_return, law.logpdf(probe), atol=1e-3)
        shift = found.log_density[0, :, f] - found.log_density[0, :, 0]
        np.testing.assert_allclose(shift, 2 * 1.2 * (t - DT), atol=1e-9)


def test_the_covariances_are_those_of_the_matrix_exponential():
    found = density(samples=40_000, wider=1.3).reach(TURN[None], DT).covariances()
    for f, t in enumerate(TIMES):
        flow = expm(t * closed_loop())
        np.testing.assert_allclose(found[0, f], (flow @ COV @ flow.T)[:2, :2], rtol=0.05, atol=2e-3)


@pytest.mark.parametrize("name", ["unicycle", "bicycle"])
def test_mass_is_conserved(name):
    """Densities found by going back, summed over points that another law spreads evenly."""
    reach = density(name, samples=2000, cov=0.15 * COV)
    last = STEPS - 1
    sample = reach.reach(TURN[None], DT).states[0, :, last].numpy()
    around = multivariate_normal(sample.mean(0), 2 * np.cov(sample.T))
    points = norm.ppf(qmc.Sobol(4, seed=1).random_base2(14))
    draws = around.mean + points @ np.linalg.cholesky(around.cov).T
    log_rho = reach.log_density(torch.from_numpy(draws), TURN, DT, last).numpy()
    weights = np.exp(log_rho - around.logpdf(draws))
    assert weights.mean() == pytest.approx(1, abs=1e-3)
    # The same mean as that of states that moved forwards.
    error = 4 * sample.std(0) / math.sqrt(len(sample))
    assert (np.abs((weights[:, None] * draws).mean(0) - sample.mean(0)) < error).all()


def test_states_and_densities_agree_forwards_and_backwards():
    reach = density("unicycle", samples=100, substeps=16)
    found = reach.reach(TURN[None], DT)
    back = reach.log_density(found.states[0, :, 3], TURN, DT, 3)
    torch.testing.assert_close(back, found.log_density[0, :, 3], atol=1e-4, rtol=0)


def brute_force(dynamics, mean, plans, obstacles, count=100_000):
    """Another way: draws of numpy, SciPy's integrator, a loop over plans."""
    rng = np.random.default_rng(11)
    start = rng.multivariate_normal(mean, COV, count)
    first = dynamics.motion(torch.tensor(mean).double()).numpy()
    steps, some = [], []
    for plan in plans:
        path = Path(plan[None], DT, mean[:2], first)

        def moved(t, x, path=path):
            state = torch.from_numpy(x.reshape(1, count, 4))
            return dynamics.velocity(state, path.at(t)).numpy().reshape(-1)

        found = solve_ivp(
            moved, (0, TIMES[-1]), start.reshape(-1), t_eval=TIMES, rtol=1e-4, max_step=DT
        ).y.reshape(count, 4, -1)
        gaps = found[:, :2].transpose(0, 2, 1)[:, None, None] - obstacles.worlds
        near = (np.linalg.norm(gaps, axis=-1) < obstacles.radius).any(2)
        steps.append(np.einsum("k,nkf->f", obstacles.probabilities, near) / count)
        some.append(obstacles.probabilities @ near.any(-1).mean(0))
    return np.array(steps), np.array(some)


@every_tracker
def test_the_risk_is_the_one_of_brute_force(name):
    dynamics, mean = TRACKERS[name]
    ahead = beside(1.8, STRAIGHT) + np.array([1.2, 0.0])
    worlds = np.stack([ahead, beside(-0.6, STRAIGHT[::-1])])[:, None]
    worlds = np.concatenate([worlds, np.full_like(worlds, 40.0)], 1)
    obstacles = Discs(worlds, np.array([0.7, 0.3]), 1.0)
    plans = np.stack([STRAIGHT, TURN])
    step, some = brute_force(dynamics, mean, plans, obstacles)
    assert (some > 0.01).all() and (some < 0.99).all()
    for wider in (1.0, 1.5):
        found = density(name, samples=10_000, wider=wider).risk(plans, DT, obstacles)
        assert within(found.step, found.step_error, step)
        assert within(found.any, found.any_error, some)
        assert (found.any >= found.step.max(1) - 1e-12).all()


def within(found, error, true, count=100_000):
    """Tell whether two estimates differ by at most 3 standard errors of the difference."""
    both = np.hypot(error, np.sqrt(true * (1 - true) / count))
    return (np.abs(found - true) <= 3 * both + 1e-6).all()


def still():
    """An agent that stays, with positions that nothing corrects, so N(0, 0.25 I) at all times."""
    cov = np.diag([0.25, 0.25, 1e-12, 1e-12])
    return {"dynamics": PointMass(0.0, 0.0), "mean": [0.0, 0.0, 0.0, 0.0], "cov": cov}


def test_a_rare_contact_is_found_with_few_samples_of_a_wider_law():
    """Against the noncentral chi-square law, and with less spread than plain Monte Carlo."""
    stay, obstacle = np.zeros((1, STEPS, 2)), disc(2.5, 0.0, radius=0.6)
    true = ncx2.cdf((0.6 / 0.5) ** 2, 2, (2.5 / 0.5) ** 2)
    assert 1e-5 < true < 1e-3
    found = {}
    for wider in (1.0, 2.0):
        runs = [
            ReachDensity(**still(), samples=1000, wider=wider, substeps=1, seed=seed).risk(
                stay, DT, obstacle
            )
            for seed in range(60)
        ]
        found[wider] = np.array([r.any[0] for r in runs])
        spread = found[wider].std() / math.sqrt(60)
        assert abs(found[wider].mean() - true) < 3 * spread
        # The errors that are reported are those of the runs.
        reported = math.sqrt(np.mean([r.any_error[0] ** 2 for r in runs]))
        assert reported == pytest.approx(found[wider].std(), rel=0.35)
    assert found[1.0].std() > 3 * found[2.0].std()


def test_a_farther_obstacle_has_less_risk():
    gaps = np.linspace(0.0, 4.0, 9)
    found = [
        density("unicycle", samples=500).risk(STRAIGHT[None], DT, disc(6.0, gap)).any[0]
        for gap in gaps
    ]
    assert (np.diff(found) <= 0).all() and found[0] > 0.5 and found[-1] < 0.01


def test_a_plan_has_the_same_risk_alone_and_among_others():
    plans = np.stack([STRAIGHT, TURN, 0.5 * TURN])
    given = plans.copy()
    every = density("bicycle", samples=300).risk(plans, DT, disc(6.0, 1.5))
    alone = density("bicycle", samples=300).risk(plans[1:2], DT, disc(6.0, 1.5))
    np.testing.assert_allclose(every.step[1:2], alone.step)
    assert every.any[1] == alone.any[0] and (plans == given).all()


def test_no_obstacle_is_no_risk():
    empty = Discs(np.zeros((2, 0, STEPS, 2)), np.array([0.5, 0.5]), 1.0)
    found = density(samples=50).risk(TURN[None], DT, empty)
    assert not found.any.any() and not found.step.any()


def scene():
    positions = np.zeros((3, 2, 2)) + np.arange(3)[:, None, None]
    none, seen = np.zeros((3, 2)), np.ones((3, 2), bool)
    return Scene("s", ("a", "b", "c"), ("vehicle",) * 3, positions, none, seen, 1, DT)


def test_obstacles_of_a_forecast_are_the_other_agents():
    worlds = Rng(0).normal((2, 3, STEPS, 2), D64).numpy()
    forecast = Forecast(scene(), np.array([2, 0, 1]), worlds, DT, np.array([0.4, 0.6]))
    obstacles = Discs.of(forecast, 0, 2.0)
    np.testing.assert_array_equal(obstacles.worlds, worlds[:, [0, 2]])
    np.testing.assert_array_equal(obstacles.probabilities, [0.4, 0.6])
    with pytest.raises(ValueError, match=r"no agent 7; it has \[2, 0, 1\]"):
        Discs.of(forecast, 7, 2.0)


def test_radii_may_differ():
    worlds = np.tile(np.array([[0.0, 0.0], [5.0, 0.0]])[None, :, None], (1, 1, 1, 1))
    obstacles = Discs(worlds, np.ones(1), np.array([1.0, 3.0]))
    points = torch.tensor([[[0.9, 0.0]], [[1.1, 0.0]], [[2.1, 0.0]]], dtype=D64)
    assert obstacles.touched(points)[0, :, 0].tolist() == [True, False, True]


def test_the_filter_keeps_the_plans_below_the_limit():
    plans = np.stack([beside(side, STRAIGHT) for side in (4.0, 0.0, 1.0, -4.0)])
    reach, obstacle = density("unicycle", samples=1000), disc(6.0, 0.0)
    found = keep_safe(plans, DT, reach, obstacle, 0.05)
    expected = reach.risk(plans, DT, obstacle)
    assert found.within and found.index.tolist() == [0, 3]
    np.testing.assert_array_equal(found.risk.any, expected.any)
    assert str(found) == "2 of 4 plans have a risk of at most 0.05"
    assert keep_safe(plans, DT, reach, obstacle, 1.0).index.tolist() == [0, 1, 2, 3]


def test_where_no_plan_passes_the_least_risky_is_named():
    plans = np.stack([STRAIGHT, beside(0.4, STRAIGHT), beside(-0.1, STRAIGHT)])
    found = keep_safe(plans, DT, density(samples=1000), disc(6.0, -0.5), 0.01)
    assert not found.within and found.index.tolist() == [1]
    assert "none of 3 plans has a risk of at most 0.01; the least risky, plan 1, has" in str(found)


def test_a_margin_keeps_fewer_plans():
    plans = np.stack([beside(1.8, STRAIGHT), beside(9.0, STRAIGHT)])
    reach, obstacle = density(samples=200), disc(6.0, 0.0)
    limit = float(reach.risk(plans, DT, obstacle).any[0])
    assert 0 < limit < 0.5
    assert keep_safe(plans, DT, reach, obstacle, limit).index.tolist() == [0, 1]
    assert keep_safe(plans, DT, reach, obstacle, limit, margin=2.0).index.tolist() == [1]


def test_bad_plans_are_refused():
    for shape in ((0, STEPS, 2), (1, 0, 2), (STEPS, 2)):
        with pytest.raises(ValueError, match=r"at least one plan and one step, got \("):
            density().reach(np.zeros(shape), DT)
    with pytest.raises(ValueError, match="position that is no number"):
        density().reach(np.full((1, STEPS, 2), np.nan), DT)
    with pytest.raises(ValueError, match="dt is a positive time in seconds, got 0"):
        density().reach(TURN[None], 0)
    with pytest.raises(ValueError, match="the obstacles have 6 steps and the plans 3"):
        density().risk(TURN[None, :3], DT, disc(0, 0))
    with pytest.raises(ValueError, match="the plan has the steps 0 to 5, got 6"):
        density().log_density(random_states(2), TURN, DT, 6)


def test_bad_obstacles_are_refused():
    worlds, one = np.zeros((1, 2, STEPS, 2)), np.ones(1)
    for radius in (-1.0, 0.0, np.ones(3), np.array([1.0, -1.0])):
        with pytest.raises(ValueError, match="a radius is positive, one number or one for each"):
            Discs(worlds, one, radius)
    for chances in (np.array([0.5]), np.array([0.5, 0.5]), np.array([-1.0])):
        with pytest.raises(ValueError, match="none below 0 and the sum 1"):
            Discs(worlds, chances, 1.0)
    for bad in (worlds[0], np.full_like(worlds, np.inf)):
        with pytest.raises(ValueError, match="finite positions of shape"):
            Discs(bad, one, 1.0)


def test_a_bad_first_state_is_refused():
    with pytest.raises(ValueError, match=r"a mean \(4,\) and a covariance \(4, 4\), got \(3,\)"):
        ReachDensity(PointMass(), [0, 0, 0], COV)
    for cov in (np.diag([1.0, 1.0, 1.0, 0.0]), np.triu(np.ones((4, 4)))):
        with pytest.raises(ValueError, match="not symmetric and positive definite"):
            ReachDensity(PointMass(), WALKER, cov)
    for more in ({"samples": 1}, {"wider": 0.5}, {"substeps": 0}):
        with pytest.raises(ValueError, match="samples >= 2, wider >= 1 and substeps >= 1"):
            density(**more)


def test_bad_limits_are_refused():
    for limit, margin in ((-0.1, 0.0), (1.5, 0.0), (0.5, -1.0)):
        with pytest.raises(ValueError, match="a limit from 0 to 1 and a margin of at least 0"):
            keep_safe(TURN[None], DT, density(), disc(0, 0), limit, margin)
