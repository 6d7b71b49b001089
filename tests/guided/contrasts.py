"""Every contrast method on small random networks of every shape, for the contract of the family.

One row a method: how it is made, what it is neutral to, how its branches are made to agree, and
what it costs. A new name of the registry needs a row, or the contract fails.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from guided import CFG, DDIM
from guided.guidance import (
    CFGiG,
    FactorisedSTG,
    HistoryGuidance,
    LinearAG,
    LinearTable,
    NestedCFG,
    PosteriorICG,
    SigmaShift,
    all_classes,
    fractional,
    vanilla,
)
from guided.guidance.registry import Options, guided
from guided.nets.transformer import Block
from guided.schedule import Level
from tests.guided.contrast_kit import SHAPES, STEPS, TIMES, Kit, classify, start


class Cost(NamedTuple):
    """Network calls, and network rows per sample, of a run."""

    calls: int
    rows: int


def each(rows: int, calls: int = 1) -> Callable[[list[Level]], Cost]:
    """So many in every step."""
    return lambda levels: Cost(calls * len(levels), rows * len(levels))


def inside(levels: list[Level], low: float, high: float) -> int:
    return sum(low < level.noise_to_signal <= high for level in levels)


@dataclass(frozen=True)
class Row:
    """A method of the contract.

    Args:
        cost: calls and rows of a run whose steps start at some levels.
        make: the method of a kit at a scale.
        off: the neutral method; None = at the scale 1.
        base: what the neutral method is; None = the plain sampler.
        agree: changes a kit so that strong and weak branches agree, which leaves the base.
        scale: a scale that guides.
        requests: whether it takes a scale per request.
        grad: whether its gradient is that of the values; False = a part of it is cut off on
            purpose, None = it has no run with a gradient.
        shapes: those that it makes sense for.
    """

    cost: Callable[[list[Level]], Cost]
    make: Callable[[Kit, Any], Any]
    off: Callable[[Kit], Any] | None = None
    base: Callable[[Kit], Any] | None = None
    agree: Callable[[Kit], Kit] | None = None
    scale: float = 2.0
    requests: bool = True
    grad: bool | None = True
    shapes: tuple[str, ...] = tuple(SHAPES)

    def neutral(self, own: Kit) -> Any:
        return self.off(own) if self.off else self.make(own, 1.0)

    def plain(self, own: Kit) -> Any:
        return self.base(own) if self.base else DDIM(own.net)


def parts(**changes: Any) -> Callable[[Kit], Kit]:
    return lambda own: replace(own, parts=replace(own.parts, **changes))


def options(**changes: Any) -> Callable[[Kit], Kit]:
    return lambda own: replace(own, options={**own.options, **changes})


def agreeing(own: Kit) -> Kit:
    return replace(own, agree=True)


def named(name: str, own: Kit, scale: Any, **given: Any) -> Any:
    return guided(name, Options(scale=(scale,), **{**given, **own.options}), own.parts)


def by_name(name: str, cost: Any, agree: Any = None, given: Any = None, **fields: Any) -> Row:
    return Row(cost, partial(named, name, **(given or {})), agree=agree, **fields)


SAME = parts(null=lambda cond: cond)
TWICE = each(2)


def cfg(own: Kit, scale: Any = 2.0) -> Any:
    return DDIM(CFG(own.net, scale, own.parts.null))


def nested(own: Kit, scale: Any) -> Any:
    """The labels 0 and 1 are of one kind, and 2 of another."""
    kind = (lambda c: c) if own.agree else (lambda c: torch.where(c < 2, 0, c))
    null = kind if own.agree else own.parts.null
    return DDIM(NestedCFG(own.net, [scale, scale], [null, kind]))


def linear(own: Kit, scale: Any) -> Any:
    # Where branches agree, the weak estimate is the strong one of the same step.
    factors = (0.0, 1.0, 0.0) if own.agree else (0.3, 0.5, 0.2)
    return LinearAG(cfg(own, scale), LinearTable(tuple(TIMES), {1: factors}))


def history(own: Kit, scale: Any, branches: Any = None) -> Any:
    """The first two tokens of five are history."""
    known, mask = 0.5 * start("sequence", rows=[9]), torch.arange(5) < 2
    branches = fractional(2, 3.0, 1.0) if own.agree else branches or vanilla(2, scale)
    dtype = next(own.net.parameters()).dtype
    return DDIM(HistoryGuidance(own.net, known.to(dtype), mask, branches))


def posterior(own: Kit, scale: Any) -> Any:
    every = all_classes(3)
    conditions = (lambda c: [c, c, c]) if own.agree else every
    return DDIM(PosteriorICG(own.net, scale, conditions, lambda x, level: classify(x)))


def gibbs(own: Kit, scale: Any, repetitions: int = 2) -> Any:
    ratio = own.net.schedule.level(0.5).noise_to_signal
    return CFGiG(DDIM(own.net), cfg(own, scale), ratio, repetitions)


def deaf(own: Kit) -> Kit:
    """A network whose blocks add nothing, so that nothing inside them matters."""
    quiet = deepcopy(own.net)
    for block in (module for module in quiet.modules() if isinstance(module, Block)):
        for last in (block.merge, block.down):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)
    return replace(own, parts=replace(own.parts, denoiser=quiet))


def unguided(own: Kit) -> Any:
    return DDIM(CFG(own.net, 0.0, own.parts.null))


def conditional(own: Kit) -> Any:
    """A history that is shown clean, alone."""
    return history(own, 1.0, {(0.0, 0.0): 1.0})


MIDDLE = (0.2, 5.0)  # noise levels of the name "interval"; one of the two steps is inside
BELOW = STEPS // 2 + 1  # steps of CFGiG's short runs, from t = 0.5
ROWS: dict[str, Row] = {
    "cfg": by_name("cfg", TWICE, SAME),
    "interval": by_name(
        "interval",
        lambda levels: Cost(len(levels), len(levels) + inside(levels, *MIDDLE)),
        SAME,
        {"high": 5.0},
    ),
    "apg": by_name("apg", TWICE, SAME),
    "momentum": by_name("momentum", TWICE, SAME),
    "rescaled-cfg": by_name("rescaled-cfg", TWICE, SAME),
    # The first of the steps, from 0.98, has no velocity.
    "cfg-zero-star": by_name(
        "cfg-zero-star",
        lambda levels: TWICE(levels[1:]),
        lambda own: options(zero=0.0)(SAME(own)),
    ),
    "tcfg": by_name("tcfg", TWICE, SAME),
    "frequency": by_name(
        "frequency",
        TWICE,
        SAME,
        {"slow": 1.5},
        off=lambda own: named("frequency", own, 1.0, slow=1.0),
    ),
    "scfg": by_name("scfg", TWICE, SAME),
    "cfgpp": by_name(
        "cfgpp",
        TWICE,
        SAME,
        scale=0.5,
        off=lambda own: named("cfgpp", own, 0.0),
        base=unguided,
    ),
    "adaptive": by_name("adaptive", TWICE, SAME, {"threshold": 1.0}),
    "pcg": by_name(
        "pcg",
        lambda levels: Cost(2 * len(levels) - 1, 3 * len(levels) - 2),
        off=lambda own: named("pcg", own, 2.0, corrections=0),
    ),
    "icg": by_name("icg", TWICE, parts(random=lambda cond, rng: cond)),
    "tsg": by_name("tsg", TWICE, options(noise=0.0)),
    "pag": by_name("pag", TWICE, deaf),
    "seg": by_name("seg", TWICE, options(blur=1e-3)),
    "sag": by_name("sag", each(2, 2), options(blur=1e-3), shapes=("plane", "image", "sequence")),
    "stg": by_name("stg", TWICE, options(keep=1.0)),
    "autoguidance": by_name("autoguidance", each(2, 2), lambda own: parts(weak=own.net)(own)),
    "gfcg": by_name(
        "gfcg", each(2, 2), parts(relabel=lambda cond, classes: cond), {"gate": 1.0}, grad=False
    ),
    "gfcg-autoguidance": by_name(
        "gfcg-autoguidance",
        each(2, 2),
        lambda own: parts(weak=own.net, relabel=lambda cond, classes: cond)(own),
        {"gate": 1.0},
        grad=False,
    ),
    "past": by_name("past", each(1)),
    "nested": Row(each(3), nested, agree=agreeing),
    "factorised-stg": Row(
        each(3),
        lambda own, w: DDIM(FactorisedSTG(own.net, (w, w), (0, 2), 1.0 if own.agree else 0.0)),
        agree=agreeing,
    ),
    "sigma-shift": Row(
        each(2, 2),
        lambda own, w: DDIM(SigmaShift(own.net, w, 0.0 if own.agree else 0.2)),
        agree=agreeing,
    ),
    "posterior-icg": Row(each(4, 2), posterior, agree=agreeing),
    # Its one foretold step saves a row.
    "linear-ag": Row(
        lambda levels: Cost(len(levels), 2 * len(levels) - 1),
        linear,
        off=lambda own: LinearAG(cfg(own), LinearTable(tuple(TIMES), {})),
        base=cfg,
        agree=lambda own: agreeing(SAME(own)),
    ),
    "history": Row(
        TWICE, history, base=conditional, agree=agreeing, requests=False, shapes=("sequence",)
    ),
    "cfgig": Row(
        lambda levels: Cost(len(levels) + 2 * BELOW, len(levels) + 4 * BELOW),
        gibbs,
        off=lambda own: gibbs(own, 2.0, 0),
        grad=None,
    ),
}
PAIRS = [(name, shape) for name, row in ROWS.items() for shape in row.shapes]
