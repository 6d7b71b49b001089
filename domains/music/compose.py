"""Generating music: model, rules and sampler put together.

from domains.music import Composer, rule_sum
composer = Composer.load()
rules = rule_sum(["chord_progression=I-V-vi-IV", "note_density=vertical:3"], [], columns=128)
rolls = composer.compose(rules, count=4, seed=0)
rolls.rolls()[0].to_midi("song.mid")
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor

from domains.music.codec import Codec
from domains.music.model import CORPORA, SHIPPED, label, load_models, null_label
from domains.music.roll import Rolls
from domains.music.rules import guiding
from guided.denoiser import Denoiser
from guided.energy import Decoded, WeightedSum
from guided.guidance import SCG, BestOfN, Replace
from guided.guidance.registry import Named, Parts
from guided.rng import Rng
from guided.sampler import Sampler, State, StepWrapper
from guided.samplers import DDIM
from guided.schedule import Level, Schedule, karras
from guided.wrappers import Autocast, Chunked

Method = Literal["scg", "best", "none"]
OnStep = Callable[[State], None]


@dataclass(frozen=True)
class Settings:
    """How to sample; the defaults are those of the demo and of ``evaluate``."""

    method: Method = "scg"
    """scg guides every step, best keeps the best of complete samples, none ignores the rules."""
    candidates: int = 16
    """Candidates of scg and best."""
    steps: int = 72
    """Denoising steps."""
    temperature: float = 0.0
    """Of the choice between candidates; 0 takes the best."""
    eta: float = 1.0
    """Noise of a step: 1 is ancestral sampling, 0 deterministic (scg needs more than 0)."""
    named: Annotated[Named, tyro.conf.arg(name="")] = field(default_factory=Named)
    """Guidance of the model itself, with which the rules combine."""
    sigma_min: float = 0.4
    """Smallest noise of the time grid."""
    sigma_max: float = 20.0
    """Largest noise of the time grid."""
    rho: float = 7.0
    """Curve of the time grid (EDM)."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the network; bf16 is about twice as fast where the processor has it. The same seed then
    gives other, equally good clips."""

    def times(self, schedule: Schedule) -> list[float]:
        """Return the time grid."""
        return karras(schedule, self.steps, self.sigma_min, self.sigma_max, self.rho)


@dataclass(frozen=True)
class Kept:
    """The part of a clip that stays as it is.

    Args:
        rolls: one clip (1, T, 88).
        columns: (T,) bool, true where it stays.
    """

    rolls: Rolls
    columns: Tensor


@dataclass(frozen=True)
class Composer:
    """A denoiser of piano rolls and all it takes to sample from it.

    Args:
        denoiser: the model, of x0 (B, T, 176); its cond is a tensor of labels (B,).
        codec: maps x0 to rolls.
        settings: how to sample.
        rows: rows of one network call at most, for memory and cache.
        weak: its early snapshot, for autoguidance; None = none.
    """

    denoiser: Denoiser
    codec: Codec
    settings: Settings = field(default_factory=Settings)
    rows: int = 64
    weak: Denoiser | None = None

    @classmethod
    def load(cls, folder: Path = SHIPPED, settings: Settings | None = None) -> "Composer":
        """Read a checkpoint; the shipped one by default.

        Raises:
            CheckpointError: for a missing, truncated or foreign checkpoint.
        """
        found, config = load_models(folder)
        own = settings or Settings()
        return cls(found["model"], config.codec, own, weak=found.get("weak"))

    def compose(
        self,
        rules: WeightedSum | None = None,
        *,
        count: int = 1,
        seed: int = 0,
        first: int = 0,
        columns: int = 128,
        corpus: str | None = "pop909",
        kept: Kept | None = None,
        on_step: OnStep | None = None,
    ) -> Rolls:
        """Return ``count`` clips (count, columns, 88).

        Clip i of a seed is the same whatever ``count`` and ``first`` are.

        Args:
            rules: what the clips have to obey; None is the model alone.
            count: clips.
            seed: seed of the run.
            first: number of the first clip, to continue a series.
            columns: length; the model was trained on 128.
            corpus: style, ``pop909`` or ``chorales``; None leaves it open.
            kept: a part of the clips that is given.
            on_step: called with the state after every step, e.g. to move a progress bar.
        """
        times = self.settings.times(self.denoiser.schedule)
        rng = Rng.per_sample(seed, count, first)
        sampler = self.settings.named.sampler(self.parts(columns, kept))
        x = sampler.initial((count, columns, 176), times, rng)
        cond = label(corpus, count)
        x0 = self._run(sampler, rules, x, times, cond, rng, on_step)
        return self.codec.decode(x0)

    def energy(self, rules: WeightedSum) -> Decoded:
        """Return the rules as an energy of finished samples x0."""
        return Decoded(rules, self.codec.decode, differentiable=False)

    def guide(self, rules: WeightedSum) -> Decoded:
        """Return the rules as an energy of early estimates of x0, for SCG to lower.

        Finished clips are read as they are written, early estimates by what they expect.
        """
        terms = {name: guiding(energy) for name, energy in rules.terms.items()}
        return Decoded(WeightedSum(terms, rules.weights), self.codec.expect, differentiable=False)

    def parts(self, columns: int = 128, kept: Kept | None = None) -> Parts:
        """Return what there is for guidance of clips of so many columns.

        A part that stays is put in last, so that no guidance moves it.
        """
        known = None if kept is None else (self.codec.encode(kept.rolls), kept.columns)

        def sampler(denoiser: Denoiser) -> Sampler:
            if known is not None:
                denoiser = Replace(denoiser, known[0], known[1][None, :, None])
            return DDIM(denoiser, self.settings.eta)

        return Parts(
            denoiser=self._called(self.denoiser),
            sampler=sampler,
            null=null_label,
            weak=None if self.weak is None else self._called(self.weak),
            random=_any_corpus,
            axes=(1,),
            regions=bars(columns, self.codec.columns_per_bar),
            domain="this model of music",
        )

    def _called(self, denoiser: Denoiser) -> Denoiser:
        few = Chunked(denoiser, self.rows)
        return Autocast(few) if self.settings.precision == "bf16" else few

    def _run(
        self,
        sampler: Sampler,
        rules: WeightedSum | None,
        x: Tensor,
        times: list[float],
        cond: Tensor,
        rng: Rng,
        on_step: OnStep | None,
    ) -> Tensor:
        chosen = self.settings
        guided: Sampler = sampler
        if rules is not None and chosen.method == "scg":
            guided = SCG(sampler, self.guide(rules), chosen.candidates, chosen.temperature)
        if on_step is not None:
            guided = Watched(guided, on_step)
        if rules is not None and chosen.method == "best":
            return BestOfN(guided, self.energy(rules), chosen.candidates).sample(
                x, times, cond, rng=rng
            )
        return guided.sample(x, times, cond, rng=rng)


def bars(columns: int, per_bar: int) -> Tensor:
    """Return masks (bars, T, 1) of the bars of a clip, which add up to 1."""
    place = torch.arange(columns) // per_bar
    return (place == torch.arange(int(place[-1]) + 1)[:, None]).float()[..., None]


def _any_corpus(cond: Any, rng: Rng) -> Tensor:
    """Return one random style for the whole batch."""
    return rng.integers(0, len(CORPORA), (1,)).to(cond).expand(len(cond))


class Watched(StepWrapper):
    """Shows every state to a callback, changing nothing."""

    def __init__(self, sampler: Sampler, on_step: OnStep) -> None:
        super().__init__(sampler)
        self.on_step = on_step

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Take the step and show its result."""
        state = self.sampler.step(state, t, s, cond, rng)
        self.on_step(state)
        return state
