"""How agents track a plan: divergences, perfect starts, and the limits of a bicycle."""

import math

import numpy as np
import pytest
import torch

from domains.trajectory.risk import (
    Path,
    PointMass,
    ReachDensity,
    Unicycle,
    bicycle,
)
from guided.liouville import divergence
from tests.trajectory.risk_cases import (
    DT,
    TRACKERS,
    TURN,
    random_states,
)

every_tracker = pytest.mark.parametrize("name", TRACKERS)


@every_tracker
def test_the_divergence_is_the_one_of_autograd(name):
    dynamics, _ = TRACKERS[name]
    path = Path(TURN[None], DT, [0, 0], [4, 0.3])
    found = dynamics.divergence(random_states(50)[None], path.at(0.7))[0]
    by_autograd = divergence(
        lambda x, t: dynamics.velocity(x[None], path.at(t))[0], random_states(50), 0.7
    )
    torch.testing.assert_close(found, by_autograd, atol=1e-12, rtol=0)


@every_tracker
def test_a_perfect_start_stays_on_the_plan(name):
    """Feedback with nothing to correct: the feed-forward alone follows the spline."""
    dynamics, _ = TRACKERS[name]
    start = {"point": [0.0, 0.0, 4.0, 0.0]}.get(name, [0.0, 0.0, 0.0, 4.0])
    slow = {} if name == "point" else {"slow": 1e-3, "max_curvature": math.inf}
    exact = type(dynamics)(0.8, 1.2, **slow)
    certain = ReachDensity(exact, start, 1e-12 * np.eye(4), samples=2, substeps=20)
    states = certain.reach(TURN[None], DT).states
    np.testing.assert_allclose(states[0, 0, :, :2], TURN, atol=1e-4)


def test_a_bicycle_turns_no_tighter_than_its_steering_lets_it():
    limit = math.tan(0.5) / 2.8
    car, far = bicycle(2.8, 0.5), Path([[[0, 50]] * 3], DT, [0, 0], [4, 0])
    states = random_states(200)
    change = car.velocity(states[None], far.at(0.5))[0]
    assert (change[:, 2] / states[:, 3]).abs().max() <= limit * (1 + 1e-9)
    assert (change[:, 2] / states[:, 3]).abs().max() > 0.99 * limit
    free = Unicycle(1.0, 2.0).velocity(states[None], far.at(0.5))[0]
    assert (free[:, 2] / states[:, 3]).abs().max() > 2 * limit


def test_bad_dynamics_are_refused():
    with pytest.raises(ValueError, match="gains of a tracker are at least 0, got -1 and 2"):
        PointMass(-1, 2)
    with pytest.raises(ValueError, match="gains of a tracker are at least 0"):
        Unicycle(1, -2)
    with pytest.raises(ValueError, match=r"max_curvature and slow above 0, got 0 and 0\.5"):
        Unicycle(max_curvature=0)
    with pytest.raises(ValueError, match=r"steering in \(0, pi / 2\), got 2.8 and 2"):
        bicycle(steering=2)
