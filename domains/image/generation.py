"""Generating pictures: a model, what it has for guidance, and a sampler put together.

from domains.image.generation import Generator
from guided.guidance.registry import Named, Options
generator = Generator.load()
x0 = generator.sample(Named("autoguidance", Options(scale=(2.0,))), torch.arange(10), seed=0)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from domains.image.classifier import GUIDE, Classifier, load_classifier
from domains.image.fit import Kind, fits, require_fit
from domains.image.model import SHIPPED, ModelConfig, load_model, load_weak, null_label
from guided.checkpoint import CheckpointError
from guided.denoiser import Denoiser
from guided.guidance.registry import Named, Parts
from guided.rng import Rng
from guided.sampler import Sampler, State
from guided.samplers import DDIM, DPMpp2M, Heun
from guided.schedule import Schedule, karras
from guided.wrappers import Chunked, Counted

OnStep = Callable[[State], None]


@dataclass(frozen=True)
class Sampling:
    """How pictures are drawn."""

    sampler: Literal["dpmpp", "ddim", "heun"] = "dpmpp"
    """DPM-Solver++(2M), DDIM, or Heun's method, which calls the network twice a step."""
    steps: int = 16
    """Steps of a run."""
    eta: float = 0.0
    """Noise of a step: 0 is deterministic, 1 is ancestral sampling (not for heun)."""
    sigma_min: float = 0.01
    """Smallest noise of the time grid."""
    rho: float = 7.0
    """Curve of the time grid (EDM)."""

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.eta <= 1 or not self.sigma_min > 0:
            raise ValueError(
                f"sampling needs 1 or more steps, an eta in [0, 1] and a positive sigma_min, got "
                f"{self.steps}, {self.eta} and {self.sigma_min}"
            )
        if self.sampler == "heun" and self.eta:
            raise ValueError(f"heun is deterministic, but eta is {self.eta}; use ddim or dpmpp")

    def make(self, denoiser: Denoiser) -> Sampler:
        """Return the plain sampler of a denoiser."""
        if self.sampler == "heun":
            return Heun(denoiser)
        return (DDIM if self.sampler == "ddim" else DPMpp2M)(denoiser, eta=self.eta)

    def times(self, schedule: Schedule, sigma_max: float) -> list[float]:
        """Return the time grid, which ends at data."""
        return karras(schedule, self.steps, self.sigma_min, sigma_max, self.rho)


@dataclass(frozen=True)
class Generator:
    """A denoiser of pictures and all it takes to sample from it.

    Args:
        denoiser: the model; its cond is a tensor of labels (B,), or None without labels.
        config: its architecture.
        weak: its early snapshot; None = none.
        classifier: may guide, and never judges; None = none.
        sampling: how to sample.
        rows: rows of one network call at most.
    """

    denoiser: Denoiser
    config: ModelConfig
    weak: Denoiser | None = None
    classifier: Classifier | None = None
    sampling: Sampling = field(default_factory=Sampling)
    rows: int = 1024

    @classmethod
    def load(
        cls,
        folder: Path = SHIPPED,
        sampling: Sampling | None = None,
        weak: Path | None = None,
        classifier: Path | None = None,
    ) -> "Generator":
        """Read a checkpoint; the shipped digits by default.

        Args:
            folder: of the model.
            sampling: how to sample.
            weak: folder of another, weaker model; None is the snapshot beside the model, if any.
            classifier: folder of a classifier; None is the shipped one, where it fits the model.

        Raises:
            CheckpointError: for a missing, truncated or foreign checkpoint.
            ValueError: for a weaker model or a classifier of other pictures or classes.
        """
        denoiser, config = load_model(folder)
        kind, model = Kind(config.shape, config.names), f"the model {folder}"
        weaker = _snapshot(folder) if weak is None else _weak(weak, model, kind)
        guide = _shipped(kind) if classifier is None else _classifier(classifier, model, kind)
        return cls(denoiser, config, weaker, guide, sampling or Sampling())

    def counted(self) -> tuple[Parts, Callable[[], int]]:
        """Return :meth:`parts`, and what tells how many rows their networks have evaluated."""
        nets = [Counted(net) for net in (self.denoiser, self.weak) if net is not None]
        whole = replace(self, denoiser=nets[0], weak=nets[1] if len(nets) > 1 else None)
        return whole.parts(), lambda: sum(net.rows for net in nets)

    def parts(self) -> Parts:
        """Return what there is for guidance."""
        names = self.config.names
        labelled = bool(names)
        return Parts(
            denoiser=Chunked(self.denoiser, self.rows),
            sampler=self.sampling.make,
            null=(lambda cond: null_label(cond, names)) if labelled else None,
            weak=None if self.weak is None else Chunked(self.weak, self.rows),
            random=(lambda cond, rng: _any_label(cond, rng, len(names))) if labelled else None,
            classify=self.classifier,
            relabel=(lambda cond, classes: classes) if labelled else None,
            label=(lambda cond: cond) if labelled else None,
            axes=(2, 3),
            centre=self.config.mean,
            regions=quadrants(self.config.shape),
            domain="this model of pictures",
        )

    def sample(
        self,
        guidance: Named,
        labels: Tensor | None,
        *,
        seed: int = 0,
        count: int | None = None,
        parts: Parts | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Return pictures (N, C, H, W), in about [-1, 1].

        Picture i of a seed is the same whatever the count.

        Args:
            guidance: by name.
            labels: classes (N,); None for a model without labels, or any class.
            seed: of the run.
            count: N, where labels are None.
            parts: what guides; None is :meth:`parts`.
            on_step: called with the state after every step.

        Raises:
            ValueError: for labels that the model does not have, or neither labels nor count.
        """
        own = parts or self.parts()
        cond = self._cond(labels, count)
        size = count if cond is None else len(cond)
        assert size is not None
        sampler = guidance.sampler(own)
        times = self.sampling.times(own.denoiser.schedule, self.config.sigma_max)
        rng = Rng.per_sample(seed, size)
        x = sampler.initial((size, *self.config.shape), times, rng)
        for state in sampler.iterate(x, times, cond, rng=rng):
            x = state.x
            if on_step:
                on_step(state)
        return x

    def _cond(self, labels: Tensor | None, count: int | None) -> Tensor | None:
        names = self.config.names
        if labels is None:
            if not count or count < 1:
                raise ValueError(f"give labels, or a count of at least 1, got {count}")
            return torch.full((count,), len(names)) if names else None
        if not names:
            raise ValueError("this model has no classes, but was asked for some; drop them")
        if len(labels) < 1 or labels.min() < 0 or labels.max() >= len(names):
            raise ValueError(
                f"the model has the classes 0 to {len(names) - 1} ({', '.join(names)}), got "
                f"{sorted(set(labels.tolist()))}"
            )
        return labels


def quadrants(shape: Sequence[int]) -> Tensor:
    """Return masks (4, 1, H, W) of the quarters of a picture, which add up to 1."""
    height, width = shape[-2:]
    top = (torch.arange(height) < height // 2).float()[:, None]
    left = (torch.arange(width) < width // 2).float()
    masks = [a * b for a in (top, 1 - top) for b in (left, 1 - left)]
    return torch.stack(masks)[:, None]


def _any_label(cond: Any, rng: Rng, classes: int) -> Tensor:
    """Return one random class for the whole batch."""
    drawn = rng.integers(0, classes, (1,))
    return torch.as_tensor(drawn).to(cond).expand(len(cond))


def _snapshot(folder: Path) -> Denoiser | None:
    try:
        return load_weak(folder)
    except CheckpointError:
        return None


def _weak(folder: Path, model: str, kind: Kind) -> Denoiser:
    denoiser, config = load_model(folder)
    require_fit(f"the weaker model {folder}", Kind(config.shape, config.names), model, kind)
    return denoiser


def _classifier(folder: Path, model: str, kind: Kind) -> Classifier:
    loaded = load_classifier(folder)
    own = Kind(loaded.config.shape, loaded.config.names)
    require_fit(f"the classifier {folder}", own, model, kind)
    return loaded


def _shipped(kind: Kind) -> Classifier | None:
    loaded = load_classifier(GUIDE)
    return loaded if fits(Kind(loaded.config.shape, loaded.config.names), kind) else None
