"""The table of guidance methods by name, for :mod:`guided.guidance.registry`."""

import math
from collections.abc import Mapping
from typing import Any

from guided.guidance.bands import low_pass
from guided.guidance.denoise.apg import APG
from guided.guidance.denoise.autoguidance import Autoguidance
from guided.guidance.denoise.cfg import CFG
from guided.guidance.denoise.cfg_zero_star import CFGZeroStar
from guided.guidance.denoise.cfgpp import CFGpp
from guided.guidance.denoise.contrast import Contrast
from guided.guidance.denoise.frequency import FrequencyGuidance
from guided.guidance.denoise.gfcg import GFCG
from guided.guidance.denoise.icg import ICG
from guided.guidance.denoise.pag import PAG
from guided.guidance.denoise.rescale import RescaledCFG
from guided.guidance.denoise.sag import SAG
from guided.guidance.denoise.scfg import SCFG
from guided.guidance.denoise.seg import SEG
from guided.guidance.denoise.stg import STG
from guided.guidance.denoise.tcfg import TCFG
from guided.guidance.denoise.tsg import TSG
from guided.guidance.registry import Chosen, Method, Parts
from guided.guidance.step.adaptive import AdaptiveGuidance
from guided.guidance.step.momentum import Momentum
from guided.guidance.step.past import PastGuidance
from guided.guidance.step.predictor_corrector import PredictorCorrector
from guided.guidance.tokens import blurred_rows
from guided.sampler import Sampler

LIMITS = {"low": None, "high": None}
SCALE = {"scale": 2.0, **LIMITS}


def _cfg(p: Parts, o: Chosen) -> Contrast:
    return CFG(p.denoiser, o["scale"], p.null)  # type: ignore[arg-type]


def _apg(p: Parts, o: Chosen) -> Contrast:
    null: Any = p.null
    return APG(p.denoiser, o["scale"], null, o["eta"], o["radius"], centre=p.centre)


def _frequency(p: Parts, o: Chosen) -> Contrast:
    bands = low_pass(o["cut"], p.axes or ())
    return FrequencyGuidance(p.denoiser, (o["slow"], o["scale"]), p.null, bands)  # type: ignore[arg-type]


def _sag(p: Parts, o: Chosen) -> Contrast:
    if o["layers"] and len(o["layers"]) > 1:
        raise ValueError(f"sag watches one layer, got {list(o['layers'])}")
    layer = o["layers"][0] if o["layers"] else None
    return SAG(p.denoiser, o["scale"], layer, blurred_rows(o["blur"], p.axes or ()))


def _gfcg(p: Parts, o: Chosen, weak: Any = None) -> Contrast:
    classify: Any = p.classify
    return GFCG(p.denoiser, o["scale"], classify, p.label, p.relabel, o["gate"], weak)


def _momentum(sampler: Sampler, p: Parts, o: Chosen) -> Sampler:
    return Momentum(sampler, o["beta"])


def _pcg(sampler: Sampler, p: Parts, o: Chosen) -> Sampler:
    # What the domain puts around a denoiser belongs to the law that is corrected towards, too.
    return PredictorCorrector(sampler, p.sampler(_cfg(p, o)).denoiser, o["corrections"])


METHODS: Mapping[str, Method] = {
    "cfg": Method("classifier-free guidance", SCALE, _cfg, needs=("null",)),
    "interval": Method(
        "classifier-free guidance at middle noise levels only",
        {**SCALE, "low": 0.2, "high": 2.0},
        _cfg,
        needs=("null",),
    ),
    "apg": Method(
        "adaptive projected guidance: the push is capped, and its part along the prediction cut",
        {**SCALE, "eta": 0.0, "radius": 0.1, "beta": -0.5},
        _apg,
        _momentum,
        ("null",),
    ),
    "momentum": Method(
        "classifier-free guidance whose pushes remember the last ones",
        {**SCALE, "beta": -0.5},
        _cfg,
        _momentum,
        ("null",),
    ),
    "rescaled-cfg": Method(
        "classifier-free guidance with the deviation of the conditional prediction",
        {**SCALE, "phi": 0.7},
        lambda p, o: RescaledCFG(p.denoiser, o["scale"], p.null, o["phi"]),  # type: ignore[arg-type]
        needs=("null",),
    ),
    "cfg-zero-star": Method(
        "classifier-free guidance with a fitted length of the null velocity",
        {**SCALE, "zero": 0.04},
        lambda p, o: CFGZeroStar(p.denoiser, o["scale"], p.null, o["zero"]),  # type: ignore[arg-type]
        needs=("null",),
    ),
    "tcfg": Method(
        "classifier-free guidance without the null prediction's own direction",
        SCALE,
        lambda p, o: TCFG(p.denoiser, o["scale"], p.null),  # type: ignore[arg-type]
        needs=("null",),
    ),
    "frequency": Method(
        "classifier-free guidance with a scale for the slow band and one for the rest",
        {**SCALE, "slow": 1.0, "cut": 1.0},
        _frequency,
        needs=("null", "axes"),
    ),
    "scfg": Method(
        "classifier-free guidance of equal strength in every region",
        SCALE,
        lambda p, o: SCFG(p.denoiser, o["scale"], p.null, p.regions),  # type: ignore[arg-type]
        needs=("null", "regions"),
    ),
    "cfgpp": Method(
        "guided clean estimate, noise of the null branch",
        {"scale": 0.3},
        lambda p, o: CFGpp(p.denoiser, o["scale"], p.null),  # type: ignore[arg-type, return-value]
        needs=("null",),
    ),
    "adaptive": Method(
        "classifier-free guidance until both branches agree",
        {**SCALE, "threshold": 0.99, "settle": 1.0},
        _cfg,
        lambda s, p, o: AdaptiveGuidance(s, o["threshold"], o["settle"]),
        ("null",),
    ),
    "pcg": Method(
        "conditional steps, corrected by Langevin steps of the sharpened law",
        {"scale": 2.0, "corrections": 1},
        None,
        _pcg,
        ("null",),
    ),
    "icg": Method(
        "contrast with a random condition",
        SCALE,
        lambda p, o: ICG(p.denoiser, o["scale"], p.random),  # type: ignore[arg-type]
        needs=("random",),
    ),
    "tsg": Method(
        "contrast with noise on the embedding of time",
        {**SCALE, "noise": 1.0},
        lambda p, o: TSG(p.denoiser, o["scale"], o["noise"]),
        needs=("layers",),
    ),
    "pag": Method(
        "contrast with attention that sees only itself",
        {**SCALE, "layers": None},
        lambda p, o: PAG(p.denoiser, o["scale"], o["layers"]),
        needs=("layers", "attention"),
    ),
    "seg": Method(
        "contrast with attention of blurred queries",
        {**SCALE, "layers": None, "blur": math.inf},
        lambda p, o: SEG(p.denoiser, o["scale"], o["blur"], o["layers"]),
        needs=("layers", "attention"),
    ),
    "sag": Method(
        "contrast with the sample blurred where attention looks",
        {**SCALE, "layers": None, "blur": 1.0},
        _sag,
        needs=("layers", "attention", "axes"),
    ),
    "stg": Method(
        "contrast with a block skipped",
        {**SCALE, "layers": None, "keep": 0.0},
        lambda p, o: STG(p.denoiser, o["scale"], o["layers"], o["keep"]),
        needs=("layers",),
    ),
    "autoguidance": Method(
        "contrast with an early snapshot of the same training",
        SCALE,
        lambda p, o: Autoguidance(p.denoiser, p.weak, o["scale"]),  # type: ignore[arg-type]
        needs=("weak",),
    ),
    "gfcg": Method(
        "contrast with the class that a classifier takes the sample for by mistake",
        {**SCALE, "gate": 0.9},
        _gfcg,
        needs=("classify", "label"),
    ),
    "gfcg-autoguidance": Method(
        "the same, the other class said by the early snapshot",
        {**SCALE, "gate": 0.9},
        lambda p, o: _gfcg(p, o, p.weak),
        needs=("classify", "label", "weak"),
    ),
    "past": Method(
        "contrast with the mean of the run's own past predictions; no network call more",
        {"scale": 1.5, **LIMITS, "decay": 0.5},
        None,
        lambda s, p, o: PastGuidance(s, o["scale"], o["decay"]),
    ),
}
