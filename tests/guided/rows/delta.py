"""Contrast methods whose push is changed: projections, bands, regions, rescaling."""

from collections.abc import Callable
from typing import Any

import torch

from guided import CFG, DDIM, DDPM, Denoiser, DPMpp2M, Heun, Level, Prediction
from guided.denoiser import DenoiserWrapper
from guided.guidance import (
    APG,
    SCFG,
    TCFG,
    CFGZeroStar,
    FrequencyGuidance,
    Momentum,
    RescaledCFG,
    cap,
    dct_split,
    low_pass,
)
from tests.guided.toy import Row, null

LOW_HIGH = low_pass(1.0, (-1,))


class Halves(DenoiserWrapper):
    """SCFG with two regions, the first entry and all others, whatever the shape of x."""

    def __init__(self, denoiser: Denoiser, scale: float) -> None:
        super().__init__(denoiser)
        self.scale = scale

    def forward(self, x: torch.Tensor, level: Level, cond: Any = None) -> Prediction:
        first = torch.zeros(x[0].numel(), dtype=x.dtype)
        first[0] = 1
        masks = torch.stack([first, 1 - first]).reshape(2, *x.shape[1:])
        return SCFG(self.denoiser, self.scale, null, masks)(x, level, cond)


def apg(denoiser: Denoiser, scale: float, **options: Any) -> APG:
    """APG that does not warn of the toy, whose data are not centred."""
    method = APG(denoiser, scale, null, **options)
    method.looked = True
    return method


def twice(make: Callable[[Denoiser, float], Any], plain: Callable[[Denoiser], Any] = DDIM) -> Row:
    """A row of a method that evaluates two branches in one call, and one where w = 1."""
    return Row(lambda d: make(d, 2.0), lambda n: n, lambda n: 2 * n, lambda d: make(d, 1.0), plain)


ROWS: dict[str, Row] = {
    "APG": twice(lambda d, w: DDIM(apg(d, w, radius=0.05))),
    "APG-is-CFG": Row(
        lambda d: DDPM(apg(d, 2.0, eta=0.5)),
        lambda n: n,
        lambda n: 2 * n,
        lambda d: DDPM(apg(d, 2.0, eta=1.0)),
        lambda d: DDPM(CFG(d, 2.0, null)),
    ),
    "APG-heun": Row(lambda d: Heun(apg(d, 2.0)), lambda n: 2 * n - 1, lambda n: 2 * (2 * n - 1)),
    "Momentum": twice(lambda d, w: Momentum(DDIM(apg(d, w, radius=0.05)), -0.5)),
    "Momentum-none": Row(
        lambda d: Momentum(DPMpp2M(CFG(d, 2.0, null), eta=1.0), 0.5),
        lambda n: n,
        lambda n: 2 * n,
        lambda d: Momentum(DPMpp2M(CFG(d, 2.0, null), eta=1.0), 0.0),
        lambda d: DPMpp2M(CFG(d, 2.0, null), eta=1.0),
    ),
    "Momentum-heun": Row(
        lambda d: Momentum(Heun(CFG(d, 2.0, null)), -0.5),
        lambda n: 2 * n - 1,
        lambda n: 2 * (2 * n - 1),
    ),
    "RescaledCFG": twice(lambda d, w: DDIM(RescaledCFG(d, w, null))),
    "RescaledCFG-0": Row(
        lambda d: DDPM(RescaledCFG(d, 2.0, null, 0.3, "x0")),
        lambda n: n,
        lambda n: 2 * n,
        lambda d: DDPM(RescaledCFG(d, 2.0, null, 0.0)),
        lambda d: DDPM(CFG(d, 2.0, null)),
    ),
    "CFGZeroStar": twice(lambda d, w: DDIM(CFGZeroStar(d, w, null, zero=0.0))),
    # The first of the steps, from 0.99, has no velocity and costs nothing.
    "CFGZeroStar-still": Row(
        lambda d: DDPM(CFGZeroStar(d, 2.0, null)),
        lambda n: n - 1,
        lambda n: 2 * (n - 1),
        lambda d: DDPM(CFGZeroStar(d, 1.0, null)),
        DDPM,
    ),
    "TCFG": twice(lambda d, w: DDIM(TCFG(d, w, null))),
    "FrequencyGuidance": Row(
        lambda d: DDIM(FrequencyGuidance(d, (2.0, 3.0), null, LOW_HIGH)),
        lambda n: n,
        lambda n: 2 * n,
        lambda d: DDIM(FrequencyGuidance(d, (1.0, 1.0), null, LOW_HIGH)),
        DDIM,
    ),
    "FrequencyGuidance-capped": Row(
        lambda d: DDIM(FrequencyGuidance(d, (1.5, 3.0), null, dct_split(0.5, (-1,)), (cap(0.05),))),
        lambda n: n,
        lambda n: 2 * n,
    ),
    "SCFG": twice(lambda d, w: DDIM(Halves(d, w))),
}
