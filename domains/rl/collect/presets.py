"""The data sets that ``guided-rl collect`` makes: a task, and a mixture of behaviours in it."""

from dataclasses import dataclass, replace

from domains.rl.collect.behaviour import Uniform
from domains.rl.collect.bullet import bullet_presets
from domains.rl.collect.point_robot import Driver, Extremes, Late
from domains.rl.collect.preset import Preset, Quality
from domains.rl.collect.sac import Learned, SacTraining
from domains.rl.collect.spread import Spread
from domains.rl.collect.swingup import SwingUp
from domains.rl.collect.waypoint import Waypoint

GOOD = Waypoint(gain=(4.0, 8.0), damping=(1.0, 1.0), noise=(0.2, 0.5))
# Slow, pushed about by a noise that lasts, and at about every second cell off the path.
WEAK = Waypoint(
    gain=(0.5, 2.0), damping=(1.0, 1.0), noise=(0.3, 1.0), persistence=0.9, wander=(0.3, 0.7)
)
# The same, pushed into walls and corners as well: guidance cuts corners, and where it ends in one
# the log must tell what leads out.
ROUGH = replace(WEAK, noise=(0.5, 4.0), persistence=0.97)


@dataclass(frozen=True)
class _Maze:
    """A maze, its limit of an episode, and the mixture in it.

    Weak episodes are long: in the larger mazes a clone of as many of both would hardly arrive.
    """

    name: str
    limit: int
    steps: int
    weak: Waypoint
    good_for_each_weak: float


_MAZES = (
    _Maze("UMaze", 300, 60_000, WEAK, 1.0),
    _Maze("Medium", 600, 400_000, ROUGH, 8.0),
    _Maze("Large", 800, 800_000, ROUGH, 8.0),
)


def _mazes() -> dict[str, Preset]:
    found = {}
    for maze in _MAZES:
        # Episodic: an episode ends at the goal. With the default, continuing_task=True, the goal
        # never moves and the ball parks on it.
        options = {"continuing_task": False, "max_episode_steps": maze.limit}
        good, weak = Quality("good", GOOD), Quality("weak", maze.weak)
        mixed = replace(good, share=maze.good_for_each_weak), weak
        mixtures = {"mixed": mixed, "good": (good,), "weak": (weak,)}
        for name, qualities in mixtures.items():
            found[f"pointmaze/{maze.name.lower()}-{name}"] = Preset(
                f"PointMaze_{maze.name}-v3", qualities, GOOD, maze.steps, options
            )
    return found


def _pendulums() -> dict[str, Preset]:
    task, best = "Pendulum-v1", SwingUp(pump=(0.5, 1.0), noise=(0.0, 0.1))
    random = Quality("random", Uniform())
    mixed = (
        Quality("good", SwingUp(pump=(0.5, 1.0), noise=(0.1, 0.5))),
        Quality("weak", SwingUp(pump=(0.02, 0.2), noise=(1.0, 2.0))),
        random,
    )
    learned = (Quality("sac", Learned()), random)
    training = SacTraining(5_000, width=64, learning_rate=1e-3)
    return {
        "pendulum/random": Preset(task, (random,), best, 20_000),
        "pendulum/mixed": Preset(task, mixed, best, 20_000),
        "pendulum/sac": Preset(task, learned, Learned(), 20_000, training=training),
    }


def _runners() -> dict[str, Preset]:
    found = {}
    for task, steps in (("HalfCheetah", 250_000), ("Hopper", 200_000)):
        medium, random = Quality("medium", Learned()), Quality("random", Uniform())
        mixtures = {"mixed": (medium, random), "medium": (medium,)}
        for name, qualities in mixtures.items():
            found[f"{task.lower()}/{name}"] = Preset(
                f"{task}-v5", qualities, Learned(), 200_000, training=SacTraining(steps)
            )
    return found


def _point_robots() -> dict[str, Preset]:
    extremes = Quality("extremes", Extremes(), 3.0)
    late = Quality("late", Late(), 3.0)
    drivers = (
        Quality("aggressive", Driver((0.0, 0.4), speed=(1.0, 2.2))),
        Quality("thin", Driver((1.0, 2.0), gap=(0.0, 0.1))),
        Quality("cautious", Driver((2.0, 4.0), gap=(0.2, 0.6), speed=(0.4, 1.2))),
        Quality("noisy", Driver((0.5, 3.0), noise=(0.5, 1.5))),
    )
    task, best = "guided/PointRobot-v0", Driver((2.0, 2.0), (0.2, 0.2), (1.5, 1.5), (0.0, 0.0))
    return {
        "pointrobot/mixed": Preset(task, (*drivers, late, extremes), best, 250_000),
        "pointrobot/drivers": Preset(task, drivers, best, 100_000, spread=Spread(10)),
    }


PRESETS: dict[str, Preset] = {
    **_point_robots(),
    **_mazes(),
    **_pendulums(),
    **_runners(),
    **bullet_presets(),
}
