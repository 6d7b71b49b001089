"""What is timed: a crossing of eight agents with a map, and goals for all of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np
from torch import Tensor

from domains.trajectory.asking import Ask, asking, setting_of
from domains.trajectory.batch import Window, case
from domains.trajectory.costs.language import parse
from domains.trajectory.guiding import Guidance, Method
from domains.trajectory.model import ModelConfig, Predictor
from domains.trajectory.prepared import BoundDenoiser, Prepared, prepare
from domains.trajectory.scene import Scene
from domains.trajectory.sources import generated
from guided.energy import Energy
from guided.rng import Rng, initial_weights
from guided.sampler import Sampler
from guided.schedule import uniform
from guided.wrappers import Counted

AGENTS = 8
GOALS = asking(parse("all: goal 8 ahead, 1 left"))
STRENGTH = 0.4


def eight(window: Window, seed: int) -> Scene:
    """Return the first crossing of a seed with eight agents and as much map as is looked at.

    Raises:
        ValueError: for a seed without one among its first hundred.
    """
    for scene in generated("crossing", 100, seed, window):
        found = case(scene.history(), window)
        if len(found.agents) >= AGENTS and len(found.inputs[6]) == window.pieces:
            return scene.of(np.flatnonzero(scene.present)[:AGENTS])
    raise ValueError(f"no crossing of seed {seed} has {AGENTS} agents; choose another seed")


class Problem(NamedTuple):
    """A prepared scene with the noise and the times of a run.

    Args:
        prepared: one scene.
        noise: (S, A, k).
        times: of the run.
    """

    prepared: Prepared
    noise: Tensor
    times: Sequence[float]

    @classmethod
    def of(cls, config: ModelConfig, samples: int, steps: int, seed: int) -> "Problem":
        """Make a scene, and a predictor whose weights are random: its speed is that of any."""
        with initial_weights(seed):
            predictor = Predictor(config).eval().requires_grad_(False)
        prepared = prepare(predictor, [eight(config.window, seed)])
        return cls(prepared, prepared.noise(samples, seed), uniform(steps))

    def through(self, denoiser: BoundDenoiser) -> "Problem":
        """Return the same with another denoiser."""
        return self._replace(prepared=replace(self.prepared, denoiser=denoiser))

    def energy(self, ask: Ask = GOALS) -> Energy:
        """Return what is asked of the scene's futures."""
        one = self.prepared
        return ask(setting_of(one, one.scenes[0], one.cases[0]))

    def sampler(self, method: Method, ask: Ask = GOALS) -> Sampler:
        """Return a guided sampler of the scene."""
        return Guidance(method, STRENGTH).sampler(self.prepared, self.times, [self.energy(ask)])

    def run(self, sampler: Sampler) -> Tensor:
        """Return futures (S, A, F, 2) of one run."""
        return self.prepared.decode(sampler.sample(self.noise, self.times, rng=Rng(0)))

    def spent(self, method: Method, ask: Ask = GOALS) -> str:
        """Return what a run asks of the network, in words."""
        counted = Counted(self.prepared.denoiser)
        other = self.through(cast(BoundDenoiser, counted))
        other.run(other.sampler(method, ask))
        back = f", {counted.vjps} back" if counted.vjps else ""
        return f"{counted.calls} calls{back}"
