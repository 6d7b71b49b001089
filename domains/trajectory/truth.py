"""What happened after now, and who is scored by it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.scene import Scene, whole_steps


def happened(
    scene: Scene, agents: Sequence[int] | NDArray[np.integer], dt: float, steps: int
) -> NDArray[np.float64]:
    """Return where agents were after now, (N, F, 2), NaN where nobody was seen.

    Args:
        scene: with its future, as far as it is known.
        agents: indices (N,) into the scene's agents.
        dt: seconds between the steps.
        steps: F.

    Raises:
        ValueError: where dt is no multiple of the scene's, to 2 %.
    """
    stride = whole_steps(scene, dt)
    if not stride:
        raise ValueError(
            f"the forecast steps {dt} s, which is no multiple of the scene's {scene.dt} s; "
            f"resample one of them"
        )
    at = scene.now + stride * (1 + np.arange(steps))
    inside = at < scene.valid.shape[1]
    found = np.full((len(agents), steps, 2), np.nan)
    seen = scene.valid[agents][:, at[inside]]
    found[:, inside] = np.where(seen[..., None], scene.positions[agents][:, at[inside]], np.nan)
    return found


def scored_places(
    scene: Scene, agents: NDArray[np.int64], truth: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return who is scored, as places among agents: whose future is known whole.

    Args:
        scene: says who is scored; everybody where it does not.
        agents: indices (N,) into the scene's agents.
        truth: (N, F, 2), of :func:`happened`.

    Raises:
        ValueError: where nobody is.
    """
    counts = np.isfinite(truth).all((1, 2))
    if scene.scored is not None:
        counts &= scene.scored[agents]
    if not counts.any():
        raise ValueError(f"{scene.name}: nobody who is scored has a whole future; leave it out")
    return np.flatnonzero(counts)
