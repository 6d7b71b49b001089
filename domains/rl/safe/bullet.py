"""Bullet-Safety-Gym's tasks: made quietly, refused helpfully, and the same again for a seed.

The package registers ids such as ``SafetyBallRun-v0`` and tells the cost of a step, 0 or 1, in
``info["cost"]``. In the Run tasks a step costs 1 beyond |y| = 2 m or above a speed limit (Ball
2.5 m/s, the others 1.5 m/s); in the Circle tasks beyond |x| = 6 m.

Source: Gronauer, 2022, "Bullet-Safety-Gym", https://github.com/SvenGronauer/Bullet-Safety-Gym,
release 1.4.0; the tasks of the offline data sets of Liu et al., 2023, "Datasets and Benchmarks for
Offline Safe Reinforcement Learning", https://arxiv.org/abs/2306.09303.
"""

import contextlib
import ctypes
import os
import re
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

INSTALL = (
    "bullet-safety-gym; pip install 'guided[bullet]', then pip install --no-deps bullet-safety-gym"
)

_IDS = re.compile(r"Safety(Ball|Car|Drone|Ant)(Run|Circle|Reach|Push|Gather)-v0")
_ALOFT = 50.0  # metres
_MODULE = "bullet_safety_gym.envs.builder"


def register() -> bool:
    """Register the tasks where the package is there; return whether it is, with its simulator."""
    try:
        import bullet_safety_gym  # noqa: F401  (importing registers)
        import pybullet_utils  # noqa: F401  (pybullet itself announces its build on stderr)
    except ImportError:
        return False
    return True


def is_bullet(spec: Any) -> bool:
    """Return whether an id or a ``gymnasium.envs.registration.EnvSpec`` is one of these tasks."""
    if isinstance(spec, str):
        return _IDS.fullmatch(spec) is not None
    return str(spec.entry_point).startswith(_MODULE) or is_bullet(spec.id)


def make(spec: Any, **options: Any) -> gymnasium.Env:
    """Make a task, `Reproducible`; arguments as of ``gymnasium.make``.

    Raises:
        DependencyNotInstalled: where the package or its simulator is missing.
    """
    if not register():
        raise gymnasium.error.DependencyNotInstalled(INSTALL)
    with _quiet(), _legacy_seed(0):
        from bullet_safety_gym.envs import builder

        # Its own way fails where sys.stdout is no file, as in notebooks; Minari makes tasks, too.
        builder.RedirectStream = _redirected
        env = gymnasium.make(spec, **options)
    there = any(isinstance(layer, Reproducible) for layer in _layers(env))
    return env if there else Reproducible(env)


class Reproducible(gymnasium.Wrapper, gymnasium.utils.RecordConstructorArgs):
    """Makes an episode a function of its seed and actions, and every info tell the cost.

    Seeds are ignored inside: starts come from NumPy's global generator, which is put back here.
    Also, a first episode starts without what later ones inherit, and the motors keep their last
    commands over a reset. Exempt are the Reach tasks, whose boxes move with the wall clock.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        self._starts = np.random.default_rng()
        # The simulator's state at the first reset is what all later ones go back to.
        with _legacy_seed(0):
            env.reset()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode; the seed is of the starts to come, None goes on with the last."""
        if seed is not None:
            self._starts = np.random.default_rng(seed)
        task: Any = self.unwrapped
        task.agent.apply_action(np.zeros(task.agent.act_dim))
        # Off the ground and a step on, no forces or contacts of the last episode are left.
        task.agent.set_position(np.array([0.0, 0.0, _ALOFT]))
        task.bc.stepSimulation()
        with _legacy_seed(int(self._starts.integers(2**32))):
            observation, info = self.env.reset(options=options)
        return observation, {**info, "cost": float(task.task.calculate_cost().get("cost", 0.0))}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step; reward and cost are plain numbers."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        info = {**info, "cost": float(info.get("cost", 0.0))}
        return observation, float(reward), bool(terminated), bool(truncated), info


def _layers(env: gymnasium.Env) -> Iterator[gymnasium.Env]:
    while isinstance(env, gymnasium.Wrapper):
        yield env
        env = env.env


@contextlib.contextmanager
def _legacy_seed(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator for a while, and put back what it was."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the simulator's build date and connection, and casts of infinite bounds.

    The first two are printed from C, so descriptors are turned away, not only Python's streams.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    flush = ctypes.CDLL(None).fflush  # C holds back what it prints to a file
    flush(None)
    kept = {}
    try:
        with (
            os.fdopen(os.dup(nowhere), "w") as stream,
            contextlib.redirect_stdout(stream),
            contextlib.redirect_stderr(stream),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", "overflow encountered in cast", RuntimeWarning)
            for descriptor in (1, 2):
                kept[descriptor] = os.dup(descriptor)
                os.dup2(nowhere, descriptor)
            yield
    finally:
        flush(None)
        for descriptor, copy in kept.items():
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nowhere)


def _redirected(stream: Any) -> contextlib.AbstractContextManager[None]:
    return _quiet()
