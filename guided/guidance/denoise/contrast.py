r"""The primitive of the contrast family: a strong prediction pushed away from weak ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from guided.denoiser import Denoiser, DenoiserWrapper, Prediction
from guided.guidance.branches import Call, Following, Weak, Weighed, evaluate
from guided.guidance.scale import Scale, checked, neutral, of_requests, per_row, shared, weight
from guided.guidance.space import Space, coordinates, moved, require_space
from guided.schedule import Level

DeltaOp = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps (strong - weak, strong, weak), in the term's space, to another difference. Pure."""

Finish = Callable[[Tensor, Tensor], Tensor]
"""Maps (guided, strong), in its space, to what the guided prediction becomes. Pure."""


@dataclass(frozen=True)
class Term:
    r"""One push, :math:`(w - 1)\, R(D_s - D_w)`.

    Args:
        weak: makes the weak branch from the strong one.
        scale: w; 1 is neutral, and the branch is then not evaluated.
        ops: R, applied in order; none is the identity.
        space: where the ops look at the difference. A branch at another x, as SAG's, is pushed from
            in one of eps, v and flow, since its x0 does not belong to the x of the contrast.
        strong: makes the branch that this term starts from; None is that of the contrast.

    Raises:
        ValueError: for an unknown space or a scale that is not finite.
    """

    weak: Weak | Following
    scale: Scale
    ops: tuple[DeltaOp, ...] = ()
    space: Space = "x0"
    strong: Weak | None = None
    neutral: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        require_space(self.space, "a contrast")
        object.__setattr__(self, "scale", checked(self.scale, "a contrast"))
        # Once, not in every call: a look at a tensor waits for the device.
        object.__setattr__(self, "neutral", neutral(self.scale))

    def delta(self, strong: Prediction, weak: Prediction, level: Level) -> Tensor:
        """Return the difference in the term's space, before its ops."""
        return coordinates(strong, level, self.space) - coordinates(weak, level, self.space)

    def push(self, delta: Tensor, strong: Prediction, weak: Prediction, level: Level) -> Tensor:
        r"""Return :math:`R(\Delta)`."""
        if self.ops:
            strong_at, weak_at = (coordinates(p, level, self.space) for p in (strong, weak))
            for op in self.ops:
                delta = op(delta, strong_at, weak_at)
        return delta

    @property
    def plain(self) -> bool:
        """Return whether the term is a weighted sum of the contrast's branch and its own."""
        return not self.ops and self.strong is None

    @property
    def affine(self) -> bool:
        """Return whether it is a weighted sum of two predictions at the same x."""
        # A space of its own, with no op to look there, is that of a branch at another x.
        return self.plain and self.space == "x0"


class Pair(NamedTuple):
    """A term that is not neutral here, with both of its predictions and its weight."""

    term: Term
    weight: float | Tensor
    strong: Prediction
    weak: Prediction


class Contrast(DenoiserWrapper):
    r"""Pushes the strong prediction away from weak ones.

    .. math:: \hat D = D_s + \sum_i (w_i - 1)\, R_i(D_{s,i} - D_{w,i})

    x0 and eps stay consistent. Without ops it is affine, hence the same method in x0, eps, v and
    flow. Branches of one network are evaluated in one stacked call; equal branches once; a term
    whose weight is 1 is not evaluated.

    Args:
        denoiser: the strong branch.
        terms: the pushes.
        finish: what happens to the result, such as a rescaling; None = nothing.
        space: where ``finish`` works.
        strong: changes the call of the strong branch alone, e.g. to watch its attention.

    Raises:
        ValueError: for a weak network of another schedule, or no term.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        terms: Sequence[Term],
        finish: Finish | None = None,
        space: Space = "x0",
        strong: Weak | None = None,
    ) -> None:
        super().__init__(denoiser)
        require_space(space, type(self).__name__)
        if not terms:
            raise ValueError("a contrast needs at least one term, got none")
        self.terms, self.finish, self.space, self.strong = tuple(terms), finish, space, strong

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Return the guided prediction."""
        return self.controlled(x, level, cond, None)

    @property
    def layers(self) -> int:
        """Return those of the denoiser inside."""
        return self.denoiser.layers

    @property
    def of_requests(self) -> bool:
        """Return whether a scale is per request."""
        return any(of_requests(term.scale) for term in self.terms)

    def controlled(self, x: Tensor, level: Level, cond: Any, control: Any) -> Prediction:
        """Return the guided prediction, all branches of this network under a control."""
        call = Call(self.denoiser, x, level, cond, control)
        alone = self._weak_alone(level)
        if alone is not None:
            return evaluate([alone(call)])[0]
        strong, pairs = self.predictions(call)
        return self.combine(level, strong, pairs)

    def active(self, level: Level) -> list[tuple[Term, float | Tensor]]:
        """Return the terms that are not neutral at a level, with their weights."""
        weights = ((term, weight(term.scale, level)) for term in self.terms if not term.neutral)
        return [(term, w) for term, w in weights if isinstance(w, Tensor) or w != 1]

    def predictions(self, call: Call) -> tuple[Prediction, list[Pair]]:
        """Evaluate the strong branch and the weak ones of all terms that are not neutral."""
        active = self.active(call.level)
        calls: dict[Weak, Call] = {_itself: self.strong(call) if active and self.strong else call}
        for term, _ in active:
            for maker in (term.strong, term.weak):
                if maker and not isinstance(maker, Following) and maker not in calls:
                    calls[maker] = maker(call.unwatched())
        found = dict(zip(calls, evaluate(list(calls.values())), strict=True))
        pairs = []
        for term, w in active:
            maker = term.strong or _itself
            if isinstance(term.weak, Following):
                pairs.append(_followed(term, term.weak, w, calls[maker], found[maker]))
            else:
                pairs.append(Pair(term, w, found[maker], found[term.weak]))
        return found[_itself], pairs

    def combine(
        self,
        level: Level,
        strong: Prediction,
        pairs: Sequence[Pair],
        deltas: Sequence[Tensor] | None = None,
    ) -> Prediction:
        """Return the guided prediction.

        Args:
            level: of the predictions.
            strong: the strong prediction.
            pairs: the terms with theirs.
            deltas: the differences before the ops, of each term in its space; None = as predicted.
        """
        if not pairs:
            return strong
        guided = strong
        if len(pairs) == 1 and deltas is None and pairs[0].term.affine:
            guided = _lerp(pairs[0])
        else:
            for index, (term, w, start, weak) in enumerate(pairs):
                delta = term.delta(start, weak, level) if deltas is None else deltas[index]
                push = term.push(delta, start, weak, level)
                guided = moved(guided, (per_row(w, push) - 1) * push, level, term.space)
        if self.finish is None:
            return guided
        before = coordinates(guided, level, self.space)
        after = self.finish(before, coordinates(strong, level, self.space))
        return moved(guided, after - before, level, self.space)

    def _weak_alone(self, level: Level) -> Weak | None:
        """Return the weak branch where it is all that counts: one plain term with w = 0."""
        if len(self.terms) > 1 or self.finish or not self.terms[0].plain:
            return None
        weak, w = self.terms[0].weak, weight(self.terms[0].scale, level)
        zero = not isinstance(w, Tensor) and w == 0
        return weak if zero and not isinstance(weak, Following) else None


def require_plain(contrast: Contrast, method: str) -> None:
    """Refuse a contrast that is more than its terms, for methods that take it apart.

    Raises:
        TypeError: for one that predicts or combines in a way of its own.
    """
    own = ("forward", "controlled", "active", "predictions", "combine")
    changed = [name for name in own if getattr(type(contrast), name) is not getattr(Contrast, name)]
    if changed:
        raise TypeError(
            f"{type(contrast).__name__} has a way of its own to combine branches "
            f"({', '.join(changed)}), which {method} would drop; nest it, or use another contrast"
        )


def require_schedule(weak: Denoiser, strong: Denoiser) -> None:
    """Refuse a weak network of another schedule, whose levels mean something else.

    Raises:
        ValueError: in words.
    """
    if weak.schedule != strong.schedule:
        raise ValueError(
            f"the weak network has the schedule {weak.schedule}, the strong one {strong.schedule}; "
            f"a contrast needs both at the same noise"
        )


def _followed(
    term: Term, following: Following, w: float | Tensor, call: Call, strong: Prediction
) -> Pair:
    made = following.make(call, strong)
    if isinstance(made, Weighed):
        return Pair(term, shared(w, made.share), strong, evaluate([made.call])[0])
    return Pair(term, w, strong, evaluate([made])[0])


def _itself(call: Call) -> Call:
    return call


def _lerp(pair: Pair) -> Prediction:
    weak, strong = pair.weak, pair.strong
    w = per_row(pair.weight, strong.x0)
    return Prediction(torch.lerp(weak.x0, strong.x0, w), torch.lerp(weak.eps, strong.eps, w))
