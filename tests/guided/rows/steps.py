"""Contrast methods that act on a step, because they remember or correct."""

from functools import cache

import torch

from guided import CFG, DDIM, Denoiser, DPMpp2M, Rng, VPLinear
from guided.guidance import (
    AdaptiveGuidance,
    CFGiG,
    CFGpp,
    LinearAG,
    LinearTable,
    PastGuidance,
    PredictorCorrector,
    fit_linear_ag,
)
from guided.sampler import Sampler
from guided.schedule import uniform
from tests.guided.toy import Row, Toy, null

TIMES = uniform(6, start=0.99)


def cfg(denoiser: Denoiser) -> Sampler:
    return DDIM(CFG(denoiser, 2.0, null))


@cache
def table() -> LinearTable:
    rng = Rng(0)
    cond = rng.uniform((20,), torch.float64)
    x = rng.normal((20, 4), torch.float64)
    return fit_linear_ag(cfg(Toy(VPLinear())), x, TIMES, cond, rng=rng)


NOTHING = LinearTable(tuple(TIMES), {})

ROWS: dict[str, Row] = {
    "CFGpp": Row(
        lambda d: DDIM(CFGpp(d, 0.5, null), eta=0.5),
        lambda n: n,
        lambda n: 2 * n,
        lambda d: DDIM(CFGpp(d, 0.0, null)),
        lambda d: DDIM(CFG(d, 0.0, null)),
    ),
    "AdaptiveGuidance": Row(
        lambda d: AdaptiveGuidance(cfg(d), -1.0),
        lambda n: n,
        lambda n: n + 1,
        lambda d: AdaptiveGuidance(cfg(d), 1.0),
        cfg,
    ),
    "LinearAG": Row(
        lambda d: LinearAG(cfg(d), table()),
        lambda n: n,
        lambda n: 2 * n - 1,
        lambda d: LinearAG(cfg(d), NOTHING),
        cfg,
    ),
    "PredictorCorrector": Row(
        lambda d: PredictorCorrector(DDIM(d), CFG(d, 2.0, null), 2, step_size=0.5),
        lambda n: 3 * n - 2,
        lambda n: 5 * n - 4,
        lambda d: PredictorCorrector(DDIM(d), CFG(d, 2.0, null), 0),
        DDIM,
    ),
    "PastGuidance": Row(
        lambda d: PastGuidance(DDIM(d), 1.5),
        lambda n: n,
        lambda n: n,
        lambda d: PastGuidance(DDIM(d), 1.0),
        DDIM,
    ),
    "PastGuidance-2M": Row(
        lambda d: PastGuidance(DPMpp2M(d), 1.5, decay=0.0),
        lambda n: n,
        lambda n: n,
        lambda d: PastGuidance(DPMpp2M(d), 1.0),
        DPMpp2M,
    ),
    "CFGiG": Row(
        # Four of the six steps begin at t* = 0.6 or below.
        lambda d: CFGiG(DDIM(d), cfg(d), d.schedule.level(0.6).noise_to_signal, 2),
        lambda n: n + 8,
        lambda n: n + 16,
        lambda d: CFGiG(DDIM(d), cfg(d), 1.0, 0),
        DDIM,
    ),
}
