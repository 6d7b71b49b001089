"""Logged episodes as flat tensors, with terminals and timeouts told apart."""

from dataclasses import dataclass, replace

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
        shapes: of every entry of an observation before its flattening (of the array, if there are
            no keys), as :func:`domains.rl.data.flatten.flatten` takes them; None = of one axis.
        costs: of every transition, as the environment gave it after the step, (N,), float32, at
            least 0; None where the data have none.
        margins: signed margin h of every state, positive where it violates a constraint, (N + E,),
            float32; None where the data have none.
        origin: to be said beside scores, such as "self-generated"; None where nothing tells.

    Raises:
        ValueError: for tensors whose sizes contradict each other.
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
    shapes: tuple[tuple[int, ...], ...] | None = None
    costs: Tensor | None = None
    margins: Tensor | None = None
    origin: str | None = None

    def __post_init__(self) -> None:
        count, episodes = len(self.actions), len(self.starts) - 1
        expected = {
            "states": (count + episodes, *self.states.shape[1:2]),
            "actions": (count, *self.actions.shape[1:2]),
            "rewards": (count,),
            "terminals": (count,),
            "timeouts": (count,),
            "low": tuple(self.actions.shape[1:]),
            "high": tuple(self.actions.shape[1:]),
            "costs": (count,),
            "margins": (count + episodes,),
        }
        for name, shape in expected.items():
            found = getattr(self, name)
            if found is not None and tuple(found.shape) != shape:
                raise ValueError(
                    f"{name} has the shape {tuple(found.shape)}, expected {shape} for"
                    f" {count} transitions of {episodes} episodes"
                )
        if self.starts[:1].tolist() != [0] or self.starts[-1:].tolist() != [count]:
            raise ValueError(f"starts must go from 0 to {count}, got {self.starts.tolist()[:5]}...")
        if (self.terminals & self.timeouts).any():
            raise ValueError("a transition is both a terminal and a timeout; keep the terminal")

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
        return self._sums(self.rewards)

    @property
    def cost_returns(self) -> Tensor:
        """The sum of the costs of every episode, (E,), in double precision.

        Raises:
            ValueError: for data without costs.
        """
        if self.costs is None:
            raise ValueError(f"{self.name} has no costs")
        return self._sums(self.costs)

    def _sums(self, values: Tensor) -> Tensor:
        total = torch.cat([torch.zeros(1, dtype=torch.float64), values.double().cumsum(0)])
        return total[self.starts[1:]] - total[self.starts[:-1]]

    def returns_to_go(self, gamma: float) -> Tensor:
        r"""Return :math:`\sum_{k \ge 0} \gamma^k r_{i+k}` to the end of the episode, (N,).

        In double precision. Nothing is added for the future of an episode that was cut: after a
        timeout the sum is what was seen, which is less (for positive rewards) than what would have
        come.

        Args:
            gamma: discount of a step, in [0, 1].

        Raises:
            ValueError: for a discount outside of [0, 1].
        """
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma must be in [0, 1], got {gamma}")
        rewards = self.rewards.double()
        result = rewards.clone()
        lengths, order = self.lengths.sort(descending=True)
        last = self.starts[1:][order] - 1
        # How many episodes have more than k steps: those come first in the order.
        longer = len(lengths) - torch.bincount(lengths).cumsum(0)
        for k, count in enumerate(longer.tolist()[1:-1], start=1):
            i = last[:count] - k
            result[i] = rewards[i] + gamma * result[i + 1]
        return result


def episodes_of(data: OfflineData, keep: Tensor) -> OfflineData:
    """Return the data of some episodes alone.

    Args:
        data: logged episodes.
        keep: whether to keep each, (E,), bool.

    Raises:
        ValueError: for a choice of another shape or kind, or one of no episode.
    """
    if keep.shape != (data.episodes,) or keep.dtype != torch.bool or not keep.any():
        raise ValueError(
            f"got a choice of {keep.dtype} of the shape {tuple(keep.shape)} that keeps "
            f"{int(keep.sum())} episodes; give a bool for each of the {data.episodes} episodes, "
            f"and keep at least one"
        )
    rows = keep.repeat_interleave(data.lengths)
    states = keep.repeat_interleave(data.lengths + 1)
    return replace(
        data,
        states=data.states[states],
        actions=data.actions[rows],
        rewards=data.rewards[rows],
        terminals=data.terminals[rows],
        timeouts=data.timeouts[rows],
        starts=torch.cat([data.starts[:1], data.lengths[keep].cumsum(0)]),
        costs=None if data.costs is None else data.costs[rows],
        margins=None if data.margins is None else data.margins[states],
    )
