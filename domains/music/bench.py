"""Runs for an evaluation: one clip at a time, each method from the same stream, on the clock."""

from dataclasses import replace
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from domains.music.compose import Composer, Method
from domains.music.roll import Rolls
from domains.music.rules import guiding
from domains.music.scores import Cost
from guided.denoiser import Prediction
from guided.energy import Energy, FunctionEnergy, WeightedSum
from guided.schedule import Level
from guided.wrappers import Counted


class Bench:
    """Makes clip after clip, and keeps account of what it takes.

    Args:
        composer: the model.
        seed: clip i has stream i of it.
        like: clips of the length to make.
        corpus: style asked of the model.
    """

    def __init__(self, composer: Composer, seed: int, like: Rolls, corpus: str | None) -> None:
        self.network = TimedDenoiser(composer.denoiser)
        self.composer = replace(composer, denoiser=self.network)
        self.seed = seed
        self.columns = like.velocity.shape[1]
        self.corpus = corpus
        self.clips = 0
        self.seconds = self.rule_seconds = 0.0

    def free(self, clip: int) -> Rolls:
        """Return a clip (1, T, 88) of the model alone."""
        return self._compose(clip, "none", 1, None)

    def scg(self, clip: int, candidates: int, energy: Energy) -> Rolls:
        """Return a clip (1, T, 88) guided by SCG."""
        timed = TimedEnergy(guiding(energy))
        made = self._compose(clip, "scg", candidates, timed)
        self.rule_seconds += timed.seconds
        return made

    def pool(self, clip: int, candidates: int) -> Rolls:
        """Return the complete samples (n, T, 88) of which best-of-n keeps one, whatever the rule.

        They are those that `BestOfN` shows to its energy.
        """
        seen: list[Rolls] = []

        def keep(rolls: Rolls) -> Tensor:
            seen.append(rolls)
            return torch.zeros(len(rolls.velocity))

        self._compose(clip, "best", candidates, FunctionEnergy(keep, differentiable=False))
        return seen[0]

    def _compose(self, clip: int, method: Method, n: int, energy: Energy | None) -> Rolls:
        settings = replace(self.composer.settings, method=method, candidates=n)
        rules = None if energy is None else WeightedSum({"rule": energy})
        began = perf_counter()
        made = replace(self.composer, settings=settings).compose(
            rules, count=1, first=clip, seed=self.seed, columns=self.columns, corpus=self.corpus
        )
        self.seconds += perf_counter() - began
        self.clips += 1
        return made

    def cost(self) -> Cost:
        """Return what all clips so far took."""
        net = self.network
        return Cost(self.clips, self.seconds, net.seconds, self.rule_seconds, net.calls, net.rows)


class TimedDenoiser(Counted):
    """Counts calls and rows, and the seconds they take."""

    def reset(self) -> None:
        """Set all counters to zero."""
        super().reset()
        self.seconds = 0.0

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Time the call and pass it on."""
        began = perf_counter()
        prediction = super().forward(x, level, cond)
        self.seconds += perf_counter() - began
        return prediction


class TimedEnergy(Energy):
    """Counts the seconds that an energy takes.

    Args:
        energy: the energy.
    """

    def __init__(self, energy: Energy) -> None:
        self.energy = energy
        self.differentiable = energy.differentiable
        self.seconds = 0.0

    def __call__(self, x0: Any, cond: Any = None) -> Tensor:
        """Time the energy and pass it on."""
        began = perf_counter()
        value = self.energy(x0, cond)
        self.seconds += perf_counter() - began
        return value
