"""Branches of a contrast: what is predicted besides the strong prediction, and how many calls.

A :class:`Call` is one evaluation of a denoiser before it happens. A weak branch is a function of
the strong call; the factories below are all that the contrast family needs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from guided.cond import alike, concat, take
from guided.denoiser import Denoiser, Prediction, predicted
from guided.nets.control import Control, Maps, Stacked
from guided.schedule import Level


class Call(NamedTuple):
    """One evaluation: a denoiser and what it is given.

    Args:
        denoiser: what predicts.
        x: noisy samples (B, ...).
        level: of them, in numbers.
        cond: their conditions.
        control: what is done inside the network; None = nothing.
    """

    denoiser: Denoiser
    x: Tensor
    level: Level
    cond: Any
    control: Control | Stacked | None = None

    def unwatched(self) -> "Call":
        """Return the call whose attention maps nobody receives: only the strong branch's count."""
        return self._replace(control=self.control and self.control.unwatched())

    def take(self, index: Tensor) -> "Call":
        """Select rows; the control is one for all rows.

        Raises:
            ValueError: for a stacked control, which is of certain rows.
        """
        if isinstance(self.control, Stacked):
            raise ValueError("rows of a call under a stacked control cannot be taken")
        return self._replace(x=self.x[index], cond=take(self.cond, index))


Weak = Callable[[Call], Call]
"""Makes the weak call from the strong one. Equal functions are evaluated once."""


class Weighed(NamedTuple):
    """A weak call of which every row gets a share of the push.

    Args:
        call: the weak call.
        share: by which the row's w - 1 is multiplied, (B,); 1 is all of it, 0 none.
    """

    call: Call
    share: Tensor


class Following(NamedTuple):
    """A weak branch that needs the strong prediction first, so it costs a call of its own.

    Args:
        make: maps the strong call and its prediction to the weak call, or to a weighed one.
    """

    make: Callable[[Call, Prediction], Call | Weighed]


@dataclass(frozen=True)
class null:
    """The branch with another condition, such as the null condition.

    Args:
        condition: maps a condition to the other one. Branches of one function are equal.
    """

    condition: Callable[[Any], Any]

    def __call__(self, call: Call) -> Call:
        """Return the weak call."""
        return call._replace(cond=self.condition(call.cond))


def network(denoiser: Denoiser) -> Weak:
    """Return the branch of another network.

    Raises:
        TypeError: for what is no denoiser.
    """
    if not isinstance(denoiser, Denoiser):
        raise TypeError(f"a weak network is a Denoiser, got {type(denoiser).__name__}")
    return lambda call: call._replace(denoiser=denoiser)


def watched(layers: frozenset[int]) -> Weak:
    """Return the branch whose attention maps of some blocks are received, anew in every call.

    Raises:
        ValueError: in the call, where it is under a control already.
    """
    return lambda call: call._replace(control=_free(call, Control(maps=Maps(layers))))


def received(call: Call) -> Maps:
    """Return the attention maps of a watched call that was evaluated.

    Raises:
        ValueError: for a call that was not watched.
    """
    if not isinstance(call.control, Control) or call.control.maps is None:
        raise ValueError("nobody watched this call; give the contrast strong=watched(layers)")
    return call.control.maps


def perturbed(control: Control | Callable[[Level], Control]) -> Weak:
    """Return the branch of the same network under a control, which may depend on the level.

    Raises:
        ValueError: in the call, where the strong branch is under a control itself.
    """

    def weak(call: Call) -> Call:
        own = control(call.level) if callable(control) else control
        return call._replace(control=_free(call, own))

    return weak


def evaluate(calls: Sequence[Call]) -> list[Prediction]:
    """Evaluate calls; those of one network at one level are stacked into one call of it.

    One that tells requests apart by the place of their rows is called for each alone.

    Returns:
        Their predictions, in order.
    """
    done: dict[int, Prediction] = {}
    for index, call in enumerate(calls):
        if index in done:
            continue
        members = [i for i in range(index, len(calls)) if _stackable(call, calls[i])]
        done.update(zip(members, _together([calls[i] for i in members]), strict=True))
    return [done[index] for index in range(len(calls))]


def _free(call: Call, control: Control) -> Control:
    if call.control is not None:
        raise ValueError(
            "the strong branch is under a control already, and a network takes one at a time; "
            "give the methods side by side to guided.guidance.together instead of nesting them"
        )
    return control


def _together(calls: list[Call]) -> list[Prediction]:
    first, sizes = calls[0], [len(call.x) for call in calls]
    if len(calls) == 1:
        return [predicted(*first)]
    control = None
    if any(call.control for call in calls):
        control = Stacked.of([call.control for call in calls], sizes)
    x, cond = torch.cat([call.x for call in calls]), concat([call.cond for call in calls])
    x0, eps = predicted(first.denoiser, x, _level(calls), cond, control)
    return [Prediction(a, b) for a, b in zip(x0.split(sizes), eps.split(sizes), strict=True)]


def _level(calls: Sequence[Call]) -> Level:
    """Return the level of stacked calls, one above the other where every row has its own."""
    t = calls[0].level.t
    if not isinstance(t, Tensor) or t.ndim == 0 or len(t) == 1:
        return calls[0].level
    return Level(*(torch.cat(parts) for parts in zip(*(c.level for c in calls), strict=True)))


def _stackable(a: Call, b: Call) -> bool:
    if a is b:
        return True
    # Levels of tensors are never compared: branches share the object, or are evaluated apart.
    level = a.level is b.level or (isinstance(a.level.t, float) and a.level == b.level)
    alone = a.denoiser.by_place  # as it takes rows of another branch for another request's
    return level and a.denoiser is b.denoiser and not alone and alike(a.cond, b.cond)
