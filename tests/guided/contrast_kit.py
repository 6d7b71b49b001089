"""Small random networks for samples of four shapes, and what contrast methods are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from guided import DDIM, NetDenoiser, RectifiedFlow, Rng, VPLinear
from guided.guidance.registry import Parts
from guided.nets import PatchTransformer, Transformer
from guided.rng import initial_weights
from guided.schedule import uniform

SHAPES = {"line": (1,), "plane": (6,), "image": (1, 4, 4), "sequence": (5, 2)}
AXES = {"line": (1,), "plane": (1,), "image": (2, 3), "sequence": (1,)}
SCHEDULES = {"eps": VPLinear(), "v": VPLinear(), "flow": RectifiedFlow()}
STEPS = 2
TIMES = uniform(STEPS, start=0.98)
LABELS = torch.tensor([0, 1, 2, 0])
SMALL: dict[str, Any] = {"width": 8, "depth": 3, "heads": 2, "labels": 3}


class Flat(nn.Module):
    """Tokens of a flat sample (B, D): its numbers; one number is four tokens, each at its place."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.copies = 4 if size == 1 else 1
        self.tokens = Transformer(1, **SMALL, period=4)
        self.layers = self.tokens.layers

    def forward(self, x: Tensor, time: Tensor, cond: Any = None, control: Any = None) -> Tensor:
        many = x.repeat(1, self.copies)[..., None]
        return self.tokens(many, time, cond, control).reshape(len(x), self.copies, -1).mean(1)


def bare(shape: str) -> nn.Module:
    if shape == "image":
        return PatchTransformer(1, (4, 4), **SMALL)
    return Transformer(2, **SMALL) if shape == "sequence" else Flat(*SHAPES[shape])


@cache
def network(
    shape: str, prediction: str, seed: int, dtype: torch.dtype, device: torch.device | str
) -> NetDenoiser:
    """A network whose every weight counts."""
    with initial_weights(seed):
        net = bare(shape)
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.3)
    net = net.to(device, dtype).requires_grad_(False)
    return NetDenoiser(net, SCHEDULES[prediction], prediction)


def classify(x0: Tensor) -> Tensor:
    """Three classes by the mean of a sample."""
    return x0.flatten(1).mean(1, keepdim=True) * torch.tensor([-1.0, 0.5, 2.0]).to(x0)


def halves(shape: str) -> Tensor:
    """Masks of the last place and of all others; one region where there is one place."""
    last = torch.zeros(SHAPES[shape])
    last[..., -1] = 1
    return torch.ones(1, 1) if shape == "line" else torch.stack([last, 1 - last])


@dataclass(frozen=True)
class Kit:
    """What methods are made of.

    Args:
        shape: of the samples.
        parts: of the domain.
        options: beside the scale.
        agree: whether branches shall agree, for methods that are not of the registry.
    """

    shape: str
    parts: Parts
    options: dict[str, Any]
    agree: bool = False

    @property
    def net(self) -> Any:
        return self.parts.denoiser


def kit(
    shape: str,
    prediction: str,
    dtype: torch.dtype = torch.float64,
    wrap: Any = None,
    device: torch.device | str = "cpu",
) -> Kit:
    strong, weak = (network(shape, prediction, seed, dtype, device) for seed in (0, 1))
    parts = Parts(
        denoiser=wrap(strong) if wrap else strong,
        sampler=DDIM,
        null=lambda cond: torch.full_like(cond, 3),
        weak=wrap(weak) if wrap else weak,
        random=lambda cond, rng: rng.integers(0, 3, (1,), cond.device).expand(len(cond)),
        classify=classify,
        label=lambda cond: cond,
        relabel=lambda cond, classes: classes,
        axes=AXES[shape],
        regions=halves(shape),
    )
    return Kit(shape, parts, {})


def start(shape: str, dtype: torch.dtype = torch.float64, rows: Sequence[int] = range(4)) -> Tensor:
    return Rng(list(rows)).normal((len(rows), *SHAPES[shape]), dtype)


def run(sampler: Any, x: Tensor, rows: Sequence[int] = range(4), **options: Any) -> Tensor:
    """A run of some of the four samples, each with its own label and stream."""
    times, cond = options.pop("times", TIMES), options.pop("cond", LABELS)
    cond = cond[list(rows)].to(x.device)
    return sampler.sample(x, times, cond, rng=Rng(list(rows)), **options)
