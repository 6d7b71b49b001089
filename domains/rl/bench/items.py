"""Learning the plain way: items collated one by one, a row of the network for every action.

The losses are those of :mod:`domains.rl.train` on the same weights. The plain way reads a data set
item by item through torch's ``DataLoader``, keeps the two critics as two networks, and repeats a
state (and for the energy its time) for each of its support actions.
"""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from domains.rl.bench.apart import apart
from domains.rl.critics.critic import Critic
from guided.guidance import EnergyNet
from guided.guidance.denoise.cep import Target, cep_loss
from guided.optimizer import optimizers
from guided.rng import Rng

Columns = Mapping[str, Tensor]
Batches = Iterator[dict[str, Tensor]]


class Items(Dataset[dict[str, Tensor]]):
    """Columns (N, ...) as N dicts."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns

    def __len__(self) -> int:
        """Return N."""
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one item."""
        return {name: column[index] for name, column in self.columns.items()}


def collated(columns: Columns, batch: int, seed: int) -> Batches:
    """Yield shuffled batches without end, each put together from its items."""
    generator = torch.Generator().manual_seed(seed)
    loader = DataLoader(
        Items(columns), batch_size=batch, shuffle=True, drop_last=True, generator=generator
    )
    while True:
        yield from loader


def indexed(columns: Columns, batch: int, seed: int) -> Batches:
    """Yield random batches without end, each by one index a column."""
    generator = torch.Generator().manual_seed(seed)
    count = len(Items(columns))
    while True:
        i = torch.randint(count, (batch,), generator=generator)
        yield {name: column[i] for name, column in columns.items()}


class PlainCritic(nn.Module):
    """The networks of a critic of the softmax rule as four perceptrons, and its loss."""

    def __init__(self, critic: Critic) -> None:
        super().__init__()
        self.config, self.spread = critic.config, critic.spread.clone()
        self.net = nn.ModuleList(apart(critic.net))
        self.slow = nn.ModuleList(apart(critic.slow)).requires_grad_(False)

    def q(self, states: Tensor, support: Tensor) -> Tensor:
        """Return the smaller slow value, (B, K), for (B, S) and (B, K, A)."""
        pairs = [states.repeat_interleave(support.shape[1], 0), support.flatten(0, 1)]
        both = [net(torch.cat(pairs, -1)) for net in self.slow]
        return torch.min(*both).reshape(support.shape[:2])

    def loss(self, batch: Columns, _: Rng) -> Tensor:
        """Return the loss of each transition, (B,); moves the slow critics first."""
        with torch.no_grad():
            for slow, new in zip(self.slow.parameters(), self.net.parameters(), strict=True):
                slow.lerp_(new, self.config.tau)
            q = self.q(batch["reached"], batch["support"])
            now = q.std(1).mean()
            moved = self.spread.lerp(now, 0.01)
            self.spread = torch.where(self.spread.isnan(), now, moved)
            weights = (self.config.beta / self.spread.clamp(min=1e-6) * q).softmax(1)
            target = batch["reward"] + batch["discount"] * (weights * q).sum(1)
        own = torch.cat([batch["state"], batch["action"]], -1)
        errors = [(net(own)[:, 0] - target).square() for net in self.net]
        return errors[0] + errors[1]


class PlainEnergy:
    """An energy net whose time and state are embedded again for every action, and its loss.

    Args:
        energy: copied.
        target: what it learns by.
        critic: works the energies out again in every batch; None: batches bring them.
        beta: their inverse temperature, with a critic.
    """

    def __init__(
        self, energy: EnergyNet, target: Target, critic: PlainCritic | None, beta: float
    ) -> None:
        self.target, self.critic, self.beta = target, critic, beta
        self.energy = EnergyNet(_Opaque(deepcopy(energy.net)), energy.schedule)

    def loss(self, batch: Columns, rng: Rng) -> Tensor:
        """Return the loss of each state, (B,)."""
        energies = batch["energy"] if self.critic is None else self._energies(batch)
        return cep_loss(self.energy, batch["support"], energies, batch["state"], rng, self.target)

    @torch.no_grad()
    def _energies(self, batch: Columns) -> Tensor:
        assert self.critic is not None
        q = self.critic.q(batch["state"], batch["support"])
        advantage = q - q.mean(1, keepdim=True)
        return -self.beta / self.critic.spread.clamp(min=1e-6) * advantage


class _Opaque(nn.Module):
    """A network that can only be called."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, time: Tensor, cond: Any = None) -> Tensor:
        return self.net(x, time, cond)


def plain_steps(
    module: nn.Module,
    batches: Batches,
    loss: Callable[[Columns, Rng], Tensor],
    lr: float,
    steps: int,
) -> Iterator[None]:
    """Train without end, pausing after every ``steps``: no clipping, no averages, no checks."""
    (optimizer,) = optimizers(module, "adamw", lr, 0.0)
    rng = Rng(0)
    while True:
        for _ in range(steps):
            optimizer.zero_grad()
            loss(next(batches), rng).mean().backward()
            optimizer.step()
        yield
