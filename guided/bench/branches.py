"""``guided-bench branches``: what contrasts cost beside the network calls that they need.

The network is a small transformer with labels: 4 blocks of width 96, 16 tokens. Everything compared
is taken in turn within a run; times are of the processor.

stacking   All branches in one call of the network against a call for each. It saves what a call
           costs beside the arithmetic, which on one core is as much as a few samples.
perturbed  A call with something done inside half of the blocks against a plain one, alone and as
           the second of two stacked branches.
neutral    Runs at a scale of 1, and in a part of the steps, against the unguided run.
overhead   Time of the run / (network calls x time of one call), as ``guided-bench speed`` has it.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from guided.bench.cases import report, require_counts
from guided.bench.turns import Runs, turns
from guided.denoiser import Denoiser, NetDenoiser
from guided.guidance import APG, CFG, PAG, Between, together
from guided.nets import AttentionControl, Control, Skip, Stacked, Transformer
from guided.rng import Rng, initial_weights
from guided.samplers import DDIM
from guided.schedule import VPLinear, uniform

Part = Literal["stacking", "perturbed", "neutral", "overhead"]
TOKENS, CHANNELS, LABELS, BLOCKS = 16, 16, 10, 4
HALF = frozenset({1, 2})
BATCHES = (1, 4, 16)
STEPS = 10
PERTURBED: dict[str, Control] = {
    "identity": Control(AttentionControl(HALF, "identity")),
    "uniform": Control(AttentionControl(HALF, "uniform")),
    "blur": Control(AttentionControl(HALF, "blur", 2.0)),
    "blur, infinite": Control(AttentionControl(HALF, "blur", math.inf)),
    "soft": Control(AttentionControl(HALF, "soft", 0.5)),
    "skip": Control(skip=Skip(HALF)),
}


@dataclass(frozen=True)
class Branches:
    """Time stacked, perturbed and neutral branches of a small transformer."""

    parts: tuple[Part, ...] = get_args(Part)
    """What to measure."""
    batch: int = 16
    """Samples of a call, before branches are stacked."""
    rounds: int = 200
    """Repetitions of everything."""
    threads: int = 1
    """Processor threads."""
    seed: int = 0
    """Of the weights and the noise."""
    json: Path | None = None
    """Write all figures to this file."""
    quick: bool = False
    """Two rounds: a smoke test, not a result."""

    def run(self) -> None:
        """Measure and print.

        Raises:
            ValueError: for no part, or fewer than 1 round, thread or sample.
        """
        require_counts(min(self.rounds, self.batch), self.threads, self.parts, self.json)
        report("branches", self, self._cases())

    def _cases(self) -> Iterator[dict[str, Any]]:
        rounds = 2 if self.quick else self.rounds
        with initial_weights(self.seed):
            net = Transformer(CHANNELS, 96, BLOCKS, heads=4, labels=LABELS)
        net.eval().requires_grad_(False)
        if "stacking" in self.parts:
            for batch in sorted({*BATCHES, self.batch}):
                yield stacking(Inputs.of(net, batch, self.seed), rounds, self.batch)
        inputs = Inputs.of(net, self.batch, self.seed)
        if "perturbed" in self.parts:
            yield perturbed(inputs, rounds)
            yield perturbed_beside(inputs, rounds)
        if "neutral" in self.parts:
            yield neutral(inputs, max(2, rounds // 4))
        if "overhead" in self.parts:
            for name, (method, controls) in METHODS.items():
                yield overhead(inputs, name, method, controls, max(2, rounds // 4))


@dataclass(frozen=True)
class Inputs:
    """A network, and what a call of it is given.

    Args:
        net: the transformer.
        x: shape (B, TOKENS, CHANNELS).
        time: shape (B,).
        cond: labels (B,).
    """

    net: Transformer
    x: Tensor
    time: Tensor
    cond: Tensor

    @classmethod
    def of(cls, net: Transformer, batch: int, seed: int) -> "Inputs":
        """Draw the inputs of a batch."""
        x = Rng(seed).normal((batch, TOKENS, CHANNELS))
        return cls(net, x, torch.full((batch,), 0.5), torch.arange(batch) % LABELS)

    @property
    def denoiser(self) -> NetDenoiser:
        """The network as a denoiser."""
        return NetDenoiser(self.net, VPLinear(), "eps")

    def stacked(self, count: int) -> "Inputs":
        """Return them ``count`` times, one above the other."""
        x, time, cond = (torch.cat([t] * count) for t in (self.x, self.time, self.cond))
        return Inputs(self.net, x, time, cond)

    def call(self, control: Control | Stacked | None = None) -> Tensor:
        """Call the network."""
        return self.net(self.x, self.time, self.cond, control)


def unlabelled(cond: Tensor) -> Tensor:
    """Return the null condition of as many rows."""
    return torch.full_like(cond, LABELS)


METHODS: dict[str, tuple[Callable[[Denoiser], Denoiser], tuple[Control | None, ...]]] = {
    "unguided": (lambda d: d, (None,)),
    "CFG": (lambda d: CFG(d, 2.0, unlabelled), (None, None)),
    "APG": (lambda d: APG(d, 2.0, unlabelled, radius=1.0), (None, None)),
    "PAG": (lambda d: PAG(d, 2.0, HALF), (None, PERTURBED["identity"])),
    "CFG and PAG": (
        lambda d: together(CFG(d, 2.0, unlabelled), PAG(d, 2.0, HALF)),
        (None, None, PERTURBED["identity"]),
    ),
}
"""Each with the controls of its branches."""


def measured(
    what: str, runs: Runs, rounds: int, targets: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Time runs in turn, without gradients."""
    with torch.no_grad():
        return {"what": what, "rows": turns(runs, rounds), "targets": targets or []}


def stacking(inputs: Inputs, rounds: int, judged: int) -> dict[str, Any]:
    """Compare calls one after the other with one call; a target where the batch is ``judged``."""
    batch, two, three = len(inputs.x), inputs.stacked(2), inputs.stacked(3)
    runs: dict[str, Callable[[], object]] = {
        "two branches, a call each": lambda: [inputs.call() for _ in range(2)],
        "two branches, stacked": two.call,
        "three branches, a call each": lambda: [inputs.call() for _ in range(3)],
        "three branches, stacked": three.call,
    }
    target = {"run": "two branches, stacked", "least": 1.5}
    what = f"stacking, {batch} samples a branch"
    return measured(what, runs, rounds, [target] if batch == judged else [])


def perturbed(inputs: Inputs, rounds: int) -> dict[str, Any]:
    """Compare a call under every control with a plain one."""
    runs: dict[str, Callable[[], object]] = {"plain": inputs.call}
    runs |= {name: partial(inputs.call, control) for name, control in PERTURBED.items()}
    targets = [{"run": name, "most": 1.03} for name in PERTURBED]
    return measured(f"a perturbed branch, {len(inputs.x)} samples", runs, rounds, targets)


def perturbed_beside(inputs: Inputs, rounds: int) -> dict[str, Any]:
    """Compare two stacked branches, the second perturbed, with two plain ones."""
    two, sizes = inputs.stacked(2), [len(inputs.x)] * 2
    runs: dict[str, Callable[[], object]] = {"two plain ones": two.call}
    runs |= {
        f"plain and {name}": partial(two.call, Stacked.of([None, control], sizes))
        for name, control in PERTURBED.items()
    }
    targets = [{"run": name, "most": 1.03} for name in list(runs)[1:]]
    return measured(f"two stacked branches, {len(inputs.x)} samples each", runs, rounds, targets)


def neutral(inputs: Inputs, rounds: int) -> dict[str, Any]:
    """Compare runs at neutral scales, and in half of the steps, with the unguided run."""
    denoiser = inputs.denoiser
    ratios = [level.noise_to_signal for level in VPLinear().levels(uniform(STEPS))[:-1]]
    middle = (ratios[STEPS // 2 - 1] * ratios[STEPS // 2]) ** 0.5
    guided = CFG(denoiser, 2.0, unlabelled)
    methods: dict[str, Denoiser] = {
        "unguided": denoiser,
        "CFG, scale 1": CFG(denoiser, 1.0, unlabelled),
        "PAG, scale 1": PAG(denoiser, 1.0, HALF),
        "CFG, empty interval": Between(guided, 1.0, 1.0),
        "CFG in half of the steps": Between(guided, 0.0, middle),
        "CFG": guided,
    }
    runs: dict[str, Callable[[], object]] = {
        name: sampled(inputs, method) for name, method in methods.items()
    }
    targets = [{"run": name, "most": 1.02} for name in list(runs)[1:4]]
    return measured(f"runs of {STEPS} steps, {len(inputs.x)} samples", runs, rounds, targets)


def overhead(
    inputs: Inputs,
    name: str,
    method: Callable[[Denoiser], Denoiser],
    controls: tuple[Control | None, ...],
    rounds: int,
) -> dict[str, Any]:
    """Compare a run with as many calls of the network on as many rows, back to back."""
    every = inputs.stacked(len(controls))
    control = Stacked.of(controls, [len(inputs.x)] * len(controls)) if any(controls) else None
    runs: dict[str, Callable[[], object]] = {
        "the network calls alone": lambda: [every.call(control) for _ in range(STEPS)],
        f"a run, {name}": sampled(inputs, method(inputs.denoiser)),
    }
    what = f"overhead of {name}, {STEPS} steps, {len(every.x)} rows a call"
    return measured(what, runs, rounds, [{"run": f"a run, {name}", "most": 1.05}])


def sampled(inputs: Inputs, denoiser: Denoiser) -> Callable[[], Tensor]:
    """Return a run of DDIM."""
    sampler, times = DDIM(denoiser), uniform(STEPS)
    return lambda: sampler.sample(inputs.x, times, inputs.cond, rng=Rng(0))
