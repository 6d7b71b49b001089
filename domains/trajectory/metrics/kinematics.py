"""Whether a vehicle could have driven so: speed, acceleration, jerk and curvature.

Conventions: K worlds, N agents, F steps, metres and seconds; all by finite differences, so that
jitter counts. Steps are those of the forecast: who wants the move from the present position to
count puts it in front of the steps.
"""

import numpy as np
from numpy.typing import ArrayLike

from domains.trajectory.metrics.inputs import Array, Mask, checked_worlds, require_positive

SPACING = 1.0
SHORTEST = 3.0


def speeds(worlds: ArrayLike, dt: float, spacing: float = SPACING) -> Array:
    """Return the speeds along chords of equal time from the first step on, (K, N, C) in m/s.

    Args:
        worlds: (K, N, F, 2) metres.
        dt: seconds between steps.
        spacing: seconds of a chord, a multiple of dt; steps after the last whole chord do not
            count.

    Raises:
        ValueError: for another shape, broken numbers, a spacing that is no multiple of dt, or a
            forecast shorter than one chord.
    """
    points = _spaced(checked_worlds(worlds), dt, spacing, 2)
    return np.linalg.norm(np.diff(points, axis=2), axis=-1) / spacing


def curvatures(
    worlds: ArrayLike, dt: float, spacing: float = SPACING, shortest: float = SHORTEST
) -> Array:
    """Return the curvature of the circle through each three points in a row, (K, N, C) in 1/m.

    4 area / (a b c) of the triangle with the sides a, b, c, which is 1 / radius.

    Args:
        worlds: (K, N, F, 2) metres.
        dt: seconds between steps.
        spacing: seconds between the points.
        shortest: metres; where a side is not longer the curvature is 0, as that of a vehicle that
            stands is noise. 0 measures everywhere.

    Raises:
        ValueError: as :func:`speeds`, and for a forecast of fewer than three points.
    """
    points = _spaced(checked_worlds(worlds), dt, spacing, 3)
    first, last = np.diff(points, axis=2)[:, :, :-1], np.diff(points, axis=2)[:, :, 1:]
    doubled = np.abs(first[..., 0] * last[..., 1] - first[..., 1] * last[..., 0])
    sides = np.stack([np.linalg.norm(side, axis=-1) for side in (first, last, first + last)])
    long = (sides > shortest).all(0)
    return np.where(long, 2 * doubled / np.where(long, sides.prod(0), 1.0), 0.0)


def feasible(
    worlds: ArrayLike,
    dt: float,
    *,
    acceleration: float,
    lateral: float,
    curvature: float,
    spacing: float = SPACING,
    shortest: float = SHORTEST,
) -> Mask:
    """Return who stays strictly below three limits all the way, (K, N).

    The share of worlds in which all agents do is ``feasible(...).all(1).mean()``.

    Args:
        worlds: (K, N, F, 2) metres.
        dt: seconds between steps.
        acceleration: limit of the change of speed, m/s^2.
        lateral: limit of speed^2 * curvature, m/s^2, with the speed before the bend.
        curvature: limit, 1/m.
        spacing: seconds between the points that are looked at, a multiple of dt.
        shortest: metres, see :func:`curvatures`.

    Raises:
        ValueError: as :func:`curvatures`, and for a limit that is not positive.

    Source:
        Wang et al., 2024, Optimizing Diffusion Models for Joint Trajectory Prediction and
        Controllable Generation; the kinematic feasible rate of its code.
    """
    limits = {"acceleration": acceleration, "lateral": lateral, "curvature": curvature}
    for name, limit in limits.items():
        require_positive(name, limit)
    bends = curvatures(worlds, dt, spacing, shortest)
    fast = speeds(worlds, dt, spacing)
    gains = np.abs(np.diff(fast, axis=2)) / spacing
    sideways = fast[:, :, :-1] ** 2 * bends
    found = zip((gains, sideways, bends), limits.values(), strict=True)
    return np.logical_and.reduce([(values < limit).all(2) for values, limit in found])


def target_speed_errors(
    worlds: ArrayLike, dt: float, targets: ArrayLike, spacing: float = SPACING
) -> Array:
    """Return by how much the speed of the last chord misses a target, (K, N) in m/s.

    Args:
        worlds: (K, N, F, 2) metres.
        dt: seconds between steps.
        targets: m/s, one of all agents or (N,).
        spacing: seconds of the chord, a multiple of dt.

    Raises:
        ValueError: as :func:`speeds`, and for targets of another shape.

    Source:
        Wang et al., 2024, Optimizing Diffusion Models for Joint Trajectory Prediction and
        Controllable Generation; the target velocity error of its code.

    Differs:
        The chord ends at the last step; theirs ends at the last whole second after the first.
    """
    worlds = checked_worlds(worlds)
    targets = np.asarray(targets, dtype=np.float64)
    agents = worlds.shape[1]
    if targets.shape not in {(), (agents,)} or not np.isfinite(targets).all():
        raise ValueError(
            f"{agents} agents need one finite target speed, or ({agents},) of them, got shape "
            f"{targets.shape}; leave out agents without one"
        )
    backwards = speeds(worlds[:, :, ::-1], dt, spacing)
    return np.abs(backwards[:, :, 0] - targets)


def accelerations(worlds: ArrayLike, dt: float) -> Array:
    """Return lengths of the second differences by dt^2, (K, N, F - 2) in m/s^2.

    Raises:
        ValueError: for another shape, broken numbers, fewer than three steps, or dt that is not
            positive.
    """
    return _differences(worlds, dt, 2)


def jerks(worlds: ArrayLike, dt: float) -> Array:
    """Return lengths of the third differences by dt^3, (K, N, F - 3) in m/s^3.

    Raises:
        ValueError: for another shape, broken numbers, fewer than four steps, or dt that is not
            positive.
    """
    return _differences(worlds, dt, 3)


def motion_statistics(worlds: ArrayLike, dt: float) -> dict[str, float]:
    """Return mean, 95th percentile and maximum of acceleration and jerk over everything.

    Args:
        worlds: (K, N, F, 2) metres with at least four steps.
        dt: seconds between steps.

    Raises:
        ValueError: as :func:`jerks`.
    """
    found = {}
    for name, values in (("acceleration", accelerations(worlds, dt)), ("jerk", jerks(worlds, dt))):
        found[f"{name}_mean"] = float(values.mean())
        found[f"{name}_p95"] = float(np.quantile(values, 0.95))
        found[f"{name}_max"] = float(values.max())
    return found


def _spaced(worlds: Array, dt: float, spacing: float, least: int) -> Array:
    """Return every so many-th step, at least ``least`` of them."""
    require_positive("dt", dt)
    require_positive("spacing", spacing)
    stride = round(spacing / dt)
    if stride < 1 or abs(stride * dt - spacing) > 1e-6:
        raise ValueError(
            f"a spacing of {spacing:g} s is no multiple of dt = {dt:g} s; choose "
            f"{max(stride, 1) * dt:g} s"
        )
    points = worlds[:, :, ::stride]
    if points.shape[2] < least:
        raise ValueError(
            f"a forecast of {worlds.shape[2]} steps has {points.shape[2]} points {spacing:g} s "
            f"apart, and {least} are needed; predict longer, or choose a shorter spacing"
        )
    return points


def _differences(worlds: ArrayLike, dt: float, order: int) -> Array:
    worlds = checked_worlds(worlds)
    require_positive("dt", dt)
    if worlds.shape[2] <= order:
        raise ValueError(
            f"differences of order {order} need {order + 1} steps, got {worlds.shape[2]}; predict "
            f"longer"
        )
    return np.linalg.norm(np.diff(worlds, order, axis=2), axis=-1) / dt**order
