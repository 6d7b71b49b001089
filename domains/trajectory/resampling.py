"""Forecasts at other steps in time."""

from dataclasses import replace

import numpy as np
from scipy.interpolate import CubicSpline

from domains.trajectory.forecast import Forecast

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
