"""Networks and the two tricks of actor-critic training: slow copies, and weights held fixed."""

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

Module = TypeVar("Module", bound=nn.Module)

LEAST_LOG_STD, MOST_LOG_STD = -5.0, 2.0


def perceptron(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """Return linear layers with ReLU units between them."""
    layers: list[nn.Module] = []
    for a, b in pairwise((inputs, *hidden)):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], outputs))


class TanhActor(nn.Module):
    """A perceptron of ReLU units whose outputs are in (-1, 1).

    Args:
        states: numbers in a state.
        actions: numbers in an action.
        hidden: widths of the hidden layers.
    """

    def __init__(self, states: int, actions: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*perceptron(states, hidden, actions), nn.Tanh())

    def forward(self, states: Tensor) -> Tensor:
        """Return scaled actions (B, A) for states (B, S)."""
        return self.layers(states)


class GaussianActor(TanhActor):
    """A normal law of scaled actions: its mean by a :class:`TanhActor`, one deviation for all."""

    def __init__(self, states: int, actions: int, hidden: Sequence[int]) -> None:
        super().__init__(states, actions, hidden)
        self.log_std = nn.Parameter(torch.zeros(actions))

    @property
    def std(self) -> Tensor:
        """The deviation of every number of an action, (A,)."""
        return self.log_std.clamp(LEAST_LOG_STD, MOST_LOG_STD).exp()

    def log_prob(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the log density of actions (B, A) in states (B, S), shape (B,)."""
        return torch.distributions.Normal(self(states), self.std).log_prob(actions).sum(1)


def check_hidden(hidden: Sequence[int]) -> None:
    """Raise unless there is a hidden layer, and all have a width.

    Raises:
        ValueError: otherwise.
    """
    if not hidden or min(hidden) < 1:
        raise ValueError(
            f"networks need at least one hidden layer of a width above 0, got hidden = "
            f"{tuple(hidden)}"
        )


def slow_copy(module: Module) -> Module:
    """Return a copy that no gradient moves."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, tau: float) -> None:
    """Move a slow copy by the share tau towards the original."""
    for old, new in zip(slow.parameters(), fast.parameters(), strict=True):
        old.lerp_(new, tau)


def held(module: nn.Module, *inputs: Tensor) -> Any:
    """Evaluate a module so that gradients reach the inputs, but not its weights."""
    weights = {name: weight.detach() for name, weight in module.named_parameters()}
    return functional_call(module, weights, inputs)
