"""Data sets of Bullet-Safety-Gym: drivers from careful to reckless, spread over cost and return.

DSRL's data come from safe agents trained for many cost limits; here hand-made drivers take their
place, from those that keep well inside the limits to those that ignore them. Some leave the safe
region and come back: a learner needs to see what leads out of it.

Source: the form of the data is that of Liu et al., 2023, "Datasets and Benchmarks for Offline Safe
Reinforcement Learning", https://arxiv.org/abs/2306.09303.
Differs: own behaviours, so scores must not be put beside those on DSRL's files.
"""

from dataclasses import replace

from domains.rl.collect.behaviour import Uniform
from domains.rl.collect.driver import Driver
from domains.rl.collect.preset import Preset, Quality
from domains.rl.collect.spread import Spread

_RANDOM = Quality("random", Uniform(), 0.3)


def bullet_presets() -> dict[str, Preset]:
    """Return the presets, by name; ``best`` is in each the fastest driver without cost."""
    return {
        "ballrun/mixed": Preset(
            "SafetyBallRun-v0",
            _run(limit=2.5, top=10.0, weave=(1.7, 4.0)),
            Driver(speed=(2.56, 2.56), noise=(0.03, 0.03)),
            200_000,
            spread=Spread(10, return_bins=100),
        ),
        "ballcircle/mixed": Preset(
            "SafetyBallCircle-v0",
            _circle(careful=(1.0, 7.0), top=10.0, inside=(4.0, 5.9)),
            Driver(speed=(7.5, 7.5), lane=(5.8, 5.8), noise=(0.03, 0.03)),
            240_000,
            spread=Spread(10, return_bins=100),
        ),
        "carrun/mixed": Preset(
            "SafetyCarRun-v0",
            _run(limit=1.5, top=4.0, weave=(0.75, 1.65)),
            Driver(speed=(1.43, 1.43), noise=(0.03, 0.03)),
            240_000,
            spread=Spread(10, return_bins=100),
        ),
        "carcircle/mixed": Preset(
            "SafetyCarCircle-v0",
            _circle(careful=(0.5, 3.0), top=4.0, inside=(3.0, 5.0)),
            Driver(speed=(3.7, 3.7), lane=(4.7, 4.7), noise=(0.03, 0.03)),
            240_000,
            spread=Spread(10, return_bins=100),
        ),
    }


def _run(limit: float, top: float, weave: tuple[float, float]) -> tuple[Quality, ...]:
    """Return the mixture of a Run task.

    Args:
        limit: of the speed.
        top: a speed at full power.
        weave: range of speeds at which an episode is long enough to leave the track and return.
    """
    mild, rough = (0.05, 0.25), (0.05, 0.5)
    return (
        Quality("calm", Driver((0.1 * limit, 0.7 * limit), (0.0, 1.0), noise=rough), 1.5),
        Quality("near", Driver((0.7 * limit, limit), (0.0, 1.5), noise=mild), 2.0),
        Quality("over", Driver((0.95 * limit, 1.5 * limit), (0.0, 2.5), noise=rough)),
        Quality("fast", Driver((1.5 * limit, top), noise=rough, random=(0.0, 0.3)), 1.5),
        Quality(
            "weave",
            Driver(weave, sway=(3.0, 9.0), period=(60.0, 200.0), noise=mild),
            2.0,
        ),
        Quality(
            "surge",
            Driver((0.4 * limit, limit), (0.0, 1.0), (0.2 * limit, limit), noise=mild),
            1.5,
        ),
        Quality(
            "rough",
            Driver(
                (0.2 * limit, 2.0 * limit),
                sway=(0.0, 5.0),
                noise=(0.2, 0.6),
                persistence=(0.8, 0.95),
                random=(0.0, 0.3),
            ),
        ),
        _RANDOM,
    )


def _circle(
    careful: tuple[float, float], top: float, inside: tuple[float, float]
) -> tuple[Quality, ...]:
    """Return the mixture of a Circle task: ranges of careful speeds and lanes, and a top speed."""
    mild, rough = (0.05, 0.25), (0.05, 0.5)
    ring = (6.0, 7.2)
    near = Driver(careful, inside, noise=mild, ring=ring)
    across = replace(near, lane=(5.0, 6.5), sway=(0.5, 2.0))
    return (
        Quality("calm", replace(near, noise=rough, ring=(3.0, 6.0)), 1.0),
        Quality("near", near, 2.0),
        Quality("over", replace(near, lane=(inside[1], 7.0), noise=rough), 1.5),
        Quality("fast", replace(near, speed=(careful[1], top), lane=(inside[0], 8.0)), 1.5),
        Quality("weave", across, 2.0),
        Quality(
            "rough",
            replace(across, noise=(0.2, 0.6), persistence=(0.8, 0.95), random=(0.0, 0.3)),
        ),
        _RANDOM,
    )
