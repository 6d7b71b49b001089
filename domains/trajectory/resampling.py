"""Forecasts and scenes at other steps in time."""

from dataclasses import replace

import numpy as np
from scipy.interpolate import CubicSpline

from domains.trajectory.forecast import Forecast
from domains.trajectory.scene import MOST_STEPS, Scene

ROUNDING = 1e-6  # seconds


def resampled(forecast: Forecast, dt: float, steps: int) -> Forecast:
    """Return a forecast at other steps: a cubic spline through now and each step that there is.

    A forecast that has these steps already is cut and keeps its numbers. What is asked for may end
    before the forecast does, and never after: nothing is extrapolated.

    Args:
        forecast: at any steps.
        dt: seconds between the new steps; step f is (f + 1) * dt after now.
        steps: how many.

    Raises:
        ValueError: for no steps, or steps after the forecast's end.
    """
    known = forecast.worlds.shape[2]
    if not dt > 0 or steps < 1:
        raise ValueError(f"resampling needs dt > 0 and steps >= 1, got {dt} and {steps}")
    if steps * dt > known * forecast.dt + ROUNDING:
        raise ValueError(
            f"the forecast ends {known * forecast.dt:g} s after now, before the {steps * dt:g} s "
            f"that are asked for; forecast longer, or ask for fewer steps"
        )
    if abs(dt - forecast.dt) * steps < ROUNDING:
        return replace(forecast, worlds=forecast.worlds[:, :, :steps])
    now = forecast.scene.positions[forecast.agents, forecast.scene.now]
    begin = np.broadcast_to(now[None, :, None], (*forecast.worlds.shape[:2], 1, 2))
    knots = forecast.dt * np.arange(known + 1)
    path = CubicSpline(knots, np.concatenate([begin, forecast.worlds], axis=2), axis=2)
    at = np.minimum(dt * np.arange(1, steps + 1), knots[-1])
    return replace(forecast, worlds=path(at), dt=dt)


def stepped(scene: Scene, dt: float) -> Scene:
    """Return a scene at other steps, one of which is now: straight lines between its own.

    An agent is seen at a new step where it was seen at the steps on both sides of it; headings turn
    the shorter way. History and future are resampled apart, so that nothing before now depends on
    what comes after it. A scene that has these steps already stays as it is.

    Args:
        scene: to be resampled.
        dt: seconds between the new steps.

    Raises:
        ValueError: for a time that is not positive and finite, or so short that the scene would
            have more than :data:`MOST_STEPS` steps.
    """
    if not 0 < dt < np.inf:
        raise ValueError(f"resampling needs a positive dt, got {dt}")
    if (scene.valid.shape[1] - 1) * scene.dt > MOST_STEPS * dt:
        raise ValueError(
            f"{scene.name} would have more than {MOST_STEPS} steps of {dt} s; take a longer dt"
        )
    if abs(dt - scene.dt) * scene.valid.shape[1] < ROUNDING:
        return scene
    before = int(scene.now * scene.dt / dt + ROUNDING)
    after = int(scene.horizon * scene.dt / dt + ROUNDING)
    at = scene.now + np.arange(-before, after + 1) * (dt / scene.dt)
    low = np.floor(at + ROUNDING).astype(int)
    share = np.clip(at - low, 0, None)
    share[share < ROUNDING] = 0.0
    high = np.where(share > 0, low + 1, low)
    turn = scene.headings[:, high] - scene.headings[:, low]
    shorter = np.arctan2(np.sin(turn), np.cos(turn))
    first, second = scene.positions[:, low], scene.positions[:, high]
    return replace(
        scene,
        positions=first + share[:, None] * (second - first),
        headings=scene.headings[:, low] + share * shorter,
        valid=scene.valid[:, low] & scene.valid[:, high],
        now=before,
        dt=dt,
    )
