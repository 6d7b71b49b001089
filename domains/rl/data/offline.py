"""Logged episodes as flat tensors, with terminals and timeouts told apart."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class OfflineData:
    """N transitions of E episodes, and their N + E states, the final ones included.

    Transition i leads from ``states[at[i]]`` to ``states[at[i] + 1]``: every state is there once,
    so that what is computed for states serves s and s' alike.

    Args:
        states: observations, flattened, (N + E, S), float32, not normalised.
        actions: as the environment takes them, (N, A), float32.
        rewards: (N,), float32.
        terminals: whether the episode ended in a state of no future, (N,), bool.
        timeouts: whether the episode was cut after this transition while its future went on, (N,),
            bool; never together with a terminal.
        starts: the first transition of every episode, and N, (E + 1,), int64.
        low: least action, (A,).
        high: largest action, (A,).
        name: of the data set.
        environment: the Gymnasium specification as JSON; None where the data do not tell.
        keys: entries of a dict observation, in the order of their flattening; None = an array.
        reference: returns that count as 0 and 1 in the normalised score, or None.
    """

    states: Tensor
    actions: Tensor
    rewards: Tensor
    terminals: Tensor
    timeouts: Tensor
    starts: Tensor
    low: Tensor
    high: Tensor
    name: str
    environment: str | None = None
    keys: tuple[str, ...] | None = None
    reference: tuple[float, float] | None = None

    def __len__(self) -> int:
        """Return the number of transitions N."""
        return len(self.actions)

    @property
    def episodes(self) -> int:
        """The number of episodes E."""
        return len(self.starts) - 1

    @property
    def lengths(self) -> Tensor:
        """Transitions of every episode, (E,)."""
        return self.starts.diff()

    @property
    def at(self) -> Tensor:
        """The index among the states of every transition's first state, (N,)."""
        episode = torch.repeat_interleave(torch.arange(self.episodes), self.lengths)
        return torch.arange(len(self)) + episode

    @property
    def returns(self) -> Tensor:
        """The undiscounted return of every episode, (E,), summed in double precision."""
        total = torch.cat([torch.zeros(1, dtype=torch.float64), self.rewards.double().cumsum(0)])
        return total[self.starts[1:]] - total[self.starts[:-1]]
