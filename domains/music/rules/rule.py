"""What a musical rule is, and the energy that a rule makes together with a target.

Conventions:
    B: rolls (candidates), the first axis of everything; T: columns; W: windows of a roll.
    A rule measures *features* (B, ...) of rolls; a *target* has the features' shape without B,
    unless the rule says otherwise, and comes from typed text or from another roll.
    A loss is one number per roll, at least 0, and 0 means: obeyed. Rules are pure.
"""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

from torch import Tensor

from domains.music.roll import Rolls
from guided.energy import Energy


class Rule(Protocol):
    """A rule of music: subclass it as a frozen dataclass whose fields are the rule's options."""

    name: ClassVar[str]
    weight: ClassVar[float] = 1.0  # default weight of the loss in a sum of rules

    @abstractmethod
    def measure(self, rolls: Rolls) -> Tensor:
        """Return the features of every roll, shape (B, ...)."""

    @abstractmethod
    def parse(self, text: str, columns: int) -> Tensor:
        """Return the target that a user typed, for rolls of `columns` columns.

        Raises:
            ValueError: if the text is no target of this rule.
        """

    @abstractmethod
    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the loss (B,) of features (B, ...) against one target; 0 = obeyed."""

    def guide(self, rolls: Rolls, target: Tensor) -> Tensor:
        """Return what a sampler should lower, (B,): 0 exactly where the loss is.

        It is the loss, unless the loss has few values: then rolls of equal loss differ in how near
        they are to a lower one.
        """
        return self.loss(self.measure(rolls), target)

    @abstractmethod
    def show(self, features: Tensor) -> str:
        """Return a short text for the features of one roll."""

    def show_target(self, target: Tensor) -> str:
        """Return a short text for a target."""
        return self.show(target)

    def target_from(self, rolls: Rolls) -> Tensor:
        """Return the target that the first roll obeys: how to copy a rule from a piece."""
        return self.measure(rolls)[0]


@dataclass(frozen=True, eq=False)
class RuleEnergy(Energy):
    """The loss of a rule as an energy of `Rolls`; a black box, since rules read thresholded notes.

    Args:
        rule: what to measure.
        target: what to aim at, from `rule.parse` or `rule.target_from`.
        guiding: return the rule's guide instead of its loss.
    """

    rule: Rule
    target: Tensor
    guiding: bool = False
    differentiable = False

    def __call__(self, x0: Rolls, cond: Any = None) -> Tensor:
        """Return the loss (or guide) of every roll, shape (B,)."""
        target = self.target.to(x0.velocity.device)
        if self.guiding:
            return self.rule.guide(x0, target)
        return self.rule.loss(self.rule.measure(x0), target)


def guiding(energy: Energy) -> Energy:
    """Return the energy that a sampler should lower for the sake of another one."""
    return replace(energy, guiding=True) if isinstance(energy, RuleEnergy) else energy


def windows(columns: int, window: int, rule: str) -> int:
    """Return how many windows a roll of `columns` columns has.

    Raises:
        ValueError: if the roll is not a whole number of windows, at least one.
    """
    if columns < window or columns % window:
        raise ValueError(
            f"{rule} reads windows of {window} columns, got a roll of {columns}; "
            f"give a length that is a multiple of {window}, or another window"
        )
    return columns // window


def check_window(window: int, rule: str) -> None:
    """Refuse a window that is no positive whole number.

    Raises:
        ValueError: in words.
    """
    if not isinstance(window, int) or window < 1:
        raise ValueError(f"{rule} got window={window!r}; give a whole number of columns, 1 or more")
