"""Contrast methods whose weak branch is another network, or something done inside it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from guided import CFG, DDIM, Denoiser, DenoiserWrapper, Heun, Level, Prediction
from guided.guidance import (
    GFCG,
    ICG,
    PAG,
    SAG,
    SEG,
    STG,
    TSG,
    Autoguidance,
    FactorisedSTG,
    PosteriorICG,
    SigmaShift,
    together,
)
from tests.guided.toy import ControlToy, Row, null

CENTRES = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)


class Worse(DenoiserWrapper):
    """A weak network: an estimate that is pulled to 0."""

    def forward(self, x: torch.Tensor, level: Level, cond: Any = None) -> Prediction:
        x0 = 0.8 * self.denoiser(x, level, cond).x0
        return Prediction(x0, (x - level.alpha * x0) / level.sigma)


def logits(x0: torch.Tensor) -> torch.Tensor:
    """Three classes by the mean of a sample."""
    return -8 * (x0.flatten(1).mean(1, keepdim=True) - CENTRES.to(x0)).square()


def label(cond: torch.Tensor) -> torch.Tensor:
    """The nearest of the three classes."""
    return (cond[:, None] - CENTRES).abs().argmin(1)


def of_class(cond: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """The condition of a class."""
    return CENTRES[classes].to(cond)


def draw(cond: torch.Tensor, rng: Any) -> torch.Tensor:
    """A random condition."""
    return rng.uniform(cond.shape, cond.dtype)


def gfcg(scale: float) -> Callable[[Denoiser], GFCG]:
    return lambda d: GFCG(d, scale, logits, label, of_class, gate=0.8)


def posterior(scale: float) -> Callable[[Denoiser], PosteriorICG]:
    def every(cond: torch.Tensor) -> list[torch.Tensor]:
        return [torch.full_like(cond, float(c)) for c in CENTRES]

    return lambda d: PosteriorICG(d, scale, every, lambda x, level: logits(x))


def lay(values: torch.Tensor, grid: Sequence[int], x: torch.Tensor) -> torch.Tensor:
    """The toy's tokens are the numbers of a sample."""
    return values.reshape(x.shape)


def fade(x0: torch.Tensor) -> torch.Tensor:
    """A worse sample."""
    return 0.5 * x0


def beside(scale: float) -> Callable[[Denoiser], Denoiser]:
    def make(d: Denoiser) -> Denoiser:
        net = ControlToy(d)
        return together(CFG(net, scale, null), PAG(net, scale), STG(net, scale))

    return make


def row(
    make: Callable[[float], Callable[[Denoiser], Denoiser]], calls: int = 1, rows: int = 2
) -> Row:
    """A method by its scale, whose neutral value is 1, with its calls and rows a step."""
    return Row(
        lambda d: DDIM(make(1.7)(d)),
        lambda n: calls * n,
        lambda n: rows * n,
        lambda d: DDIM(make(1.0)(d)),
        DDIM,
    )


ROWS: dict[str, Row] = {
    "Autoguidance": row(lambda w: lambda d: Autoguidance(d, Worse(d), w), calls=2),
    "PAG": row(lambda w: lambda d: PAG(ControlToy(d), w)),
    "PAG-drop": row(lambda w: lambda d: PAG(ControlToy(d), w, [0, 2], "drop")),
    "SEG": row(lambda w: lambda d: SEG(ControlToy(d), w, 2.0)),
    "STG": row(lambda w: lambda d: STG(ControlToy(d), w, keep=0.5)),
    "FactorisedSTG": row(lambda w: lambda d: FactorisedSTG(ControlToy(d), (w, w), (0, 2)), rows=3),
    "TSG": row(lambda w: lambda d: TSG(ControlToy(d), w)),
    "TSG-Heun": Row(
        lambda d: Heun(TSG(ControlToy(d), 2.0)), lambda n: 2 * n - 1, lambda n: 4 * n - 2
    ),
    "SigmaShift": row(lambda w: lambda d: SigmaShift(d, w, 0.2), calls=2),
    "SigmaShift-down": row(lambda w: lambda d: SigmaShift(d, w, -0.2), calls=2),
    "ICG": row(lambda w: lambda d: ICG(d, w, draw)),
    "PosteriorICG": row(posterior, calls=2, rows=4),
    "SAG": row(lambda w: lambda d: SAG(ControlToy(d), w, blur=fade, spread=lay), calls=2),
    "GFCG": row(gfcg, calls=2),
    "together": row(beside, rows=4),
    "together-GFCG": row(
        lambda w: lambda d: together(CFG(d, w, null), gfcg(w)(d)), calls=2, rows=3
    ),
}
