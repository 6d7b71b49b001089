r"""BC-Safe: behaviour cloning of the episodes whose cost is within the limit.

.. math:: \max_\theta\; E_{(s, a) \sim D'}\, \log N(a; \tanh f_\theta(s), \mathrm{diag}\,\sigma^2),
          \quad D' = \{\tau \in D : C(\tau) \le L\}

No value is learned, and what unsafe episodes tell of danger is thrown away. Where errors of the
clone lead to states that safe episodes never saw, nothing leads back.

Source: Liu et al., 2023, Datasets and Benchmarks for Offline Safe Reinforcement Learning,
section 4.1, https://arxiv.org/abs/2306.09303.
Differs: as ``bc`` does.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

from baselines.rl import bc
from baselines.rl.limit import check_limit
from baselines.rl.nets import check_hidden
from baselines.rl.policy import NetPolicy
from baselines.rl.transitions import short
from domains.rl.data.offline import OfflineData, episodes_of
from domains.rl.train import Progress
from guided.train import TrainConfig


@dataclass(frozen=True)
class BCSafeConfig:
    """How to train."""

    cost_limit: float = 5.0
    """Largest cost of an episode that is imitated."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers."""
    loop: TrainConfig = field(default_factory=lambda: short(10_000))
    """The optimisation."""
    seed: int = 0
    """Of the initial weights."""

    def __post_init__(self) -> None:
        check_limit(self.cost_limit)
        check_hidden(self.hidden)


def safe_episodes(data: OfflineData, limit: float) -> OfflineData:
    """Return the episodes whose cost is at most the limit.

    Raises:
        ValueError: for data without costs, or fewer than two such episodes.
    """
    costs = data.cost_returns
    keep = costs <= limit
    if keep.sum() < 2:
        raise ValueError(
            f"{int(keep.sum())} of {data.episodes} episodes of {data.name} cost at most {limit:g}, "
            f"and BC-Safe needs at least 2; give a higher cost limit (the least cost is "
            f"{costs.min():g})"
        )
    return episodes_of(data, keep)


def train(
    data: OfflineData, config: BCSafeConfig, folder: Path | None = None
) -> Generator[Progress, None, NetPolicy]:
    """Train, and return a policy whose setting is the share of the noise it acts with."""
    own = bc.BCConfig(config.hidden, config.loop, config.seed)
    return (yield from bc.train(safe_episodes(data, config.cost_limit), own, folder))
