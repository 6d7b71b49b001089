"""What a training step of the critic and of the energy costs, beside the plain way.

A step is all of it: batch, loss, backward pass and optimiser; of ours also clipping, the averages
of the weights and the check that the loss is finite, which the plain way does without.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from domains.rl.bench.items import (
    Batches,
    PlainCritic,
    PlainEnergy,
    collated,
    indexed,
    plain_steps,
)
from domains.rl.critics.targets import targets
from domains.rl.train import Run, critic_batch
from guided.bench.turns import turns
from guided.guidance.denoise.cep import cep_loss
from guided.rng import Rng
from guided.train import TrainConfig, train

LEAST = 2.0  # how many times faster than the plain way a step should be
PLAIN, INDEXED, COLLATED = "plain", "plain, saving on collation", "ours, with collation"
VALUED = "plain, with Q of every batch"
OURS = "ours"

Make = Callable[[], Run]


def critic_columns(run: Run, support: Tensor) -> dict[str, Tensor]:
    """Return all that the critic learns from, a row for every transition."""
    how, data = run.config.critic, run.scaled
    own = targets(run.data, how.gamma, how.n_step)
    rows = critic_batch(data, own, torch.arange(len(data.actions)), support)
    return {"action": data.actions, **rows}


def energy_columns(run: Run, support: Tensor) -> dict[str, Tensor]:
    """Return all that the energy learns from, a row for every state."""
    drawn, energies = run.contrast(support)
    return {"support": drawn, "energy": energies, "state": run.scaled.states}


def critic_learning(make: Make, support: Tensor, rounds: int, seed: int) -> dict[str, Any]:
    """Time steps of the critic by the softmax rule.

    Args:
        make: makes a training run at its beginning, always the same.
        support: actions of every state, (N + E, K, A).
        rounds: repetitions of as many steps as the run's loops report after.
        seed: of the batches.
    """
    run, other = make(), make()
    columns, loop = critic_columns(run, support), run.config.critic_loop

    def plain(batches: Batches) -> Iterator[Any]:
        module = PlainCritic(run.critic)
        return plain_steps(module, batches, module.loss, loop.lr, loop.log_every)

    feed = collated(columns, loop.batch, seed)

    def batch(_: int, __: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        own = next(feed)
        return own["action"], own

    loops = {
        PLAIN: plain(collated(columns, loop.batch, seed)),
        INDEXED: plain(indexed(columns, loop.batch, seed)),
        COLLATED: train(other.critic, batch, loop, loss=other.critic.loss),
        OURS: run.train_critic(support),
    }
    return _timed("critic", loop, support, loops, rounds)


def energy_learning(make: Make, support: Tensor, rounds: int, seed: int) -> dict[str, Any]:
    """Time steps of the energy; arguments as in :func:`critic_learning`."""
    run, other = make(), make()
    columns, loop = energy_columns(run, support), run.config.energy_loop

    def plain(batches: Batches, critic: PlainCritic | None = None) -> Iterator[Any]:
        module = PlainEnergy(run.energy, run.config.target, critic, run.config.beta)
        return plain_steps(module.energy, batches, module.loss, loop.lr, loop.log_every)

    feed = collated(columns, loop.batch, seed)

    def batch(_: int, __: torch.Generator) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        own = next(feed)
        return own["support"], (own["energy"], own["state"])

    def loss(x0: Tensor, pair: tuple[Tensor, Tensor], rng: Rng) -> Tensor:
        return cep_loss(other.energy, x0, *pair, rng, run.config.target)

    loops = {
        PLAIN: plain(collated(columns, loop.batch, seed)),
        # As the reference code does, which trains critic and energy side by side.
        VALUED: plain(collated(columns, loop.batch, seed), PlainCritic(run.critic)),
        INDEXED: plain(indexed(columns, loop.batch, seed)),
        COLLATED: train(other.energy, batch, loop, loss=loss),
        OURS: run.train_energy(support),
    }
    return _timed("energy", loop, support, loops, rounds)


def _timed(
    what: str, loop: TrainConfig, support: Tensor, loops: dict[str, Iterator[Any]], rounds: int
) -> dict[str, Any]:
    runs = {name: partial(next, steps) for name, steps in loops.items()}
    return {
        "what": f"a training step of the {what}, batch {loop.batch} x K = {support.shape[1]}",
        "rows": turns(runs, rounds, loop.log_every),
        "targets": [{"run": OURS, "least": LEAST}],
    }
