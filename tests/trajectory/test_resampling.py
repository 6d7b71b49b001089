"""Forecasts at other steps, against closed forms."""

import numpy as np
import pytest

from domains.trajectory.forecast import Forecast
from domains.trajectory.resampling import resampled
from domains.trajectory.scene import Scene


def scene(agents: int = 2) -> Scene:
    """Agents that are seen at two steps, now at the origin; the last one is not seen now."""
    valid = np.ones((agents + 1, 2), bool)
    valid[-1, 1] = False
    return Scene(
        name="s",
        ids=tuple(f"a{i}" for i in range(agents + 1)),
        kinds=("vehicle",) * (agents + 1),
        positions=np.zeros((agents + 1, 2, 2)),
        headings=np.zeros((agents + 1, 2)),
        valid=valid,
        now=1,
        dt=0.4,
    )


def cubic(seconds: np.ndarray) -> np.ndarray:
    """Return two worlds (2, 2, T, 2) of two agents on cubic paths from the origin."""
    t = seconds[:, None]
    rows = [np.concatenate([v * t - t**3, v * t**2 + t], axis=-1) for v in (1.0, 2.0, 3.0, -4.0)]
    return np.array(rows).reshape(2, 2, len(seconds), 2)


def forecast(dt: float = 0.4, steps: int = 15) -> Forecast:
    worlds = cubic(dt * np.arange(1, steps + 1))
    return Forecast(scene(), np.array([0, 1]), worlds, dt, np.array([0.7, 0.3]))


def test_cubic_paths_are_kept_exactly() -> None:
    found = resampled(forecast(), 0.1, 60)
    assert found.dt == 0.1
    assert np.allclose(found.worlds, cubic(0.1 * np.arange(1, 61)), atol=1e-9)


def test_the_steps_of_before_are_among_the_new_ones() -> None:
    told = Forecast(
        scene(),
        np.array([0, 1]),
        np.random.default_rng(0).normal(size=(2, 2, 6, 2)),
        0.4,
        np.array([0.5, 0.5]),
    )
    found = resampled(told, 0.1, 24)
    assert np.allclose(found.worlds[:, :, 3::4], told.worlds, atol=1e-12)


def test_one_step_becomes_a_straight_line_from_now() -> None:
    found = resampled(forecast(dt=0.4, steps=1), 0.1, 4)
    shares = np.arange(1, 5)[:, None] / 4
    assert np.allclose(found.worlds, shares * forecast(steps=1).worlds[:, :, -1:], atol=1e-12)


def test_steps_that_are_there_are_cut_and_keep_their_bits() -> None:
    told = forecast(dt=0.1, steps=80)
    found = resampled(told, 0.1, 60)
    assert np.array_equal(found.worlds, told.worlds[:, :, :60])
    assert told.worlds.shape[2] == 80


def test_coarser_steps_are_a_part_of_the_finer_ones() -> None:
    told = forecast(dt=0.1, steps=80)
    assert np.allclose(resampled(told, 0.4, 20).worlds, told.worlds[:, :, 3::4], atol=1e-9)


def test_what_cannot_be_resampled_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ends 2\.4 s after now, before the 6 s"):
        resampled(forecast(steps=6), 0.1, 60)
    for dt, steps in ((0.0, 3), (0.1, 0), (float("nan"), 3)):
        with pytest.raises(ValueError, match="needs dt > 0 and steps >= 1"):
            resampled(forecast(), dt, steps)
