r"""A contextual bandit with continuous actions, whose targets' values are known.

A context is one of four labels, an action a number. The reference law :math:`\mu_x` is a map of a
standard normal z: actions of a diffusion sampler that starts from the noise z, or uniform ones.
Since the map does not draw anything else, every mean over :math:`\mu_x` is a quadrature over z,
with the sampler's own errors in it:

.. math:: E_{\mu_x}[h] = \int_0^1 h(a_x(\Phi^{-1}(u)))\, du,

by the midpoint rule. Targets are given by their density with respect to :math:`\mu_x`.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from guided import DPMpp2M, Rng, VPLinear
from guided.exact import ExactDenoiser, Mixture
from guided.schedule import log_snr

Kind = Literal["diffusion", "uniform"]
KINDS: tuple[Kind, ...] = ("diffusion", "uniform")

SCHEDULE = VPLinear()
LABELS = 4
BEST = (-0.6, -0.2, 0.3, 0.7)  # action of the least loss, by label
WIDTH = 0.25  # of the dip of the loss
LEAST, MOST = 0.05, 0.95  # losses
NODES = 4000  # of the quadrature
STEPS = 15  # network calls of the diffusion sampler
SHARPNESS = 5.0  # of the softmax target
PART = 0.1  # of the reference that the best target keeps


class Law(Protocol):
    """A map of noise to actions."""

    def __call__(self, labels: Tensor, z: Tensor) -> Tensor:
        """Return actions (N,) of labels (N,) and standard normal noise (N,)."""
        ...


def uniform(labels: Tensor, z: Tensor) -> Tensor:
    """Return actions of U[-1, 1], whatever the label is."""
    return 2 * torch.special.ndtr(z) - 1


class Diffusion:
    """The probability flow of an exact denoiser, that of two Gaussians a label.

    The larger one, three quarters, lies apart from the best action; the smaller one is around it.
    """

    def __init__(self) -> None:
        self.times = log_snr(SCHEDULE, STEPS, 0.02, 80.0)
        self.samplers = []
        for best in BEST:
            away = best - math.copysign(0.8, best)
            means = torch.tensor([[best], [away]], dtype=torch.float64)
            mixture = Mixture(torch.tensor([0.25, 0.75]), means, 0.03)
            self.samplers.append(DPMpp2M(ExactDenoiser(mixture, SCHEDULE)))

    def __call__(self, labels: Tensor, z: Tensor) -> Tensor:
        """Sample; the sampler is deterministic, so that it never asks for randomness."""
        x = SCHEDULE.level(self.times[0]).sigma * z[:, None]
        for label, sampler in enumerate(self.samplers):
            mine = labels == label
            if mine.any():
                x[mine] = sampler.sample(x[mine], self.times, rng=Rng(0))
        return x[:, 0]


@dataclass(frozen=True)
class Target:
    """A policy, by its density with respect to the reference.

    Args:
        name: it.
        nodes: log densities at the nodes of the quadrature, (labels, nodes).
        sharpness: density proportional to exp(-sharpness loss).
        worst: the largest loss it has; more has no density.
        log_norm: log of the normaliser, (labels,).
    """

    name: str
    nodes: Tensor
    sharpness: float
    worst: Tensor
    log_norm: Tensor

    def log_density(self, labels: Tensor, losses: Tensor) -> Tensor:
        """Return log densities of actions of these losses, (B,)."""
        found = -self.sharpness * losses - self.log_norm[labels]
        return found.masked_fill(losses > self.worst[labels], -torch.inf)


class Bandit:
    """The bandit with one of its reference laws.

    Args:
        kind: of the reference.

    Attributes:
        actions: the nodes of the quadrature, equally likely under the reference, (labels, nodes).
        losses: of these.
        targets: the reference itself; the reference times exp(-5 loss), normalised, which is what
            guidance makes of it; and the best tenth of the reference, its density cut at 10.

    Raises:
        ValueError: for an unknown kind.
    """

    def __init__(self, kind: Kind = "diffusion") -> None:
        if kind not in KINDS:
            raise ValueError(f"unknown reference {kind!r}; expected {' or '.join(KINDS)}")
        self.law: Law = Diffusion() if kind == "diffusion" else uniform
        u = (torch.arange(NODES, dtype=torch.float64) + 0.5) / NODES
        labels = torch.arange(LABELS).repeat_interleave(NODES)
        z = torch.special.ndtri(u).repeat(LABELS)
        self.actions = self.law(labels, z).reshape(LABELS, NODES)
        self.losses = self.loss(torch.arange(LABELS), self.actions[..., None])
        self.targets = (
            self._target("reference", 0.0, 1.0),
            self._target("softmax", SHARPNESS, 1.0),
            self._target("best tenth", 0.0, PART),
        )

    def contexts(self, count: int, rng: Rng) -> Tensor:
        """Draw labels (count,), equally likely."""
        return rng.integers(0, LABELS, (count,))

    def reference(self, labels: Tensor, count: int, rng: Rng) -> Tensor:
        """Draw actions (B, count, 1) of the reference."""
        z = rng.normal((len(labels), count), torch.float64)
        return self.law(labels.repeat_interleave(count), z.flatten()).reshape(*z.shape, 1)

    def loss(self, labels: Tensor, actions: Tensor) -> Tensor:
        """Return the expected losses (B, K) of actions (B, K, 1)."""
        best = torch.tensor(BEST, dtype=torch.float64)[labels][:, None]
        dip = (-0.5 * ((actions[..., 0] - best) / WIDTH).square()).exp()
        return MOST - (MOST - LEAST) * dip

    def observe(self, expected: Tensor, rng: Rng) -> Tensor:
        """Draw losses, 0 or 1, of these means."""
        return (rng.uniform(expected.shape, torch.float64) < expected).double()

    def truth(self, target: Target) -> float:
        """Return the expected loss of a target."""
        return float((target.nodes.exp() * self.losses).mean())

    def _target(self, name: str, sharpness: float, part: float) -> Target:
        # Between two nodes; none lies beyond the last, where the reference still acts.
        ends = torch.nn.functional.pad(self.losses.sort(1).values, (0, 1), value=torch.inf)
        kept = ends[:, round(part * NODES) - 1 :][:, :2].mean(1)
        raw = (-sharpness * self.losses).masked_fill(self.losses > kept[:, None], -torch.inf)
        log_norm = raw.exp().mean(1).log()
        return Target(name, raw - log_norm[:, None], sharpness, kept, log_norm)
