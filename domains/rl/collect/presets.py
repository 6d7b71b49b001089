"""The data sets that ``guided-rl collect`` makes: a task, and a mixture of behaviours in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from domains.rl.collect.behaviour import Behaviour
from domains.rl.collect.waypoint import Waypoint


@dataclass(frozen=True)
class Quality:
    """One behaviour of a mixture, and its share of the episodes."""

    name: str
    behaviour: Behaviour
    share: float = 1.0


@dataclass(frozen=True)
class Preset:
    """A task and who acts in it.

    Args:
        environment: Gymnasium id.
        qualities: the mixture; shares need not sum to one.
        best: the behaviour whose mean return counts as 1 in the normalised score.
        steps: default size.
        options: what ``gymnasium.make`` takes besides the id.
    """

    environment: str
    qualities: tuple[Quality, ...]
    best: Behaviour
    steps: int
    options: Mapping[str, Any] = field(default_factory=dict)


GOOD = Waypoint(gain=(4.0, 8.0), damping=(1.0, 1.0), noise=(0.2, 0.5))
# Slow, pushed about by a noise that lasts, and at about every second cell off the path.
WEAK = Waypoint(
    gain=(0.5, 2.0), damping=(1.0, 1.0), noise=(0.3, 1.0), persistence=0.9, wander=(0.3, 0.7)
)

# Maze, limit of an episode, default steps of the mixture.
_MAZES = (("UMaze", 300, 60_000), ("Medium", 600, 200_000), ("Large", 800, 400_000))


def _mazes() -> dict[str, Preset]:
    found = {}
    for maze, limit, steps in _MAZES:
        # Episodic: an episode ends at the goal. With the default, continuing_task=True, the goal
        # never moves and the ball parks on it.
        options = {"continuing_task": False, "max_episode_steps": limit}
        good, weak = Quality("good", GOOD), Quality("weak", WEAK)
        mixtures = {"mixed": (good, weak), "good": (good,), "weak": (weak,)}
        for name, qualities in mixtures.items():
            found[f"pointmaze/{maze.lower()}-{name}"] = Preset(
                f"PointMaze_{maze}-v3", qualities, GOOD, steps, options
            )
    return found


PRESETS: dict[str, Preset] = {**_mazes()}
