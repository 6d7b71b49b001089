"""The networks of one bandit: a score of q, and an energy for each way to learn one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from domains.rl.bandits.sets import Logged
from domains.rl.bandits.truth import log_mean_weight
from guided import NetDenoiser, Rng, VPLinear
from guided.guidance import EnergyNet, cep_loss
from guided.nets import ResidualMLP, ScalarMLP
from guided.rng import stream_seed
from guided.train import TrainConfig, TrainState, train

Learner = Literal["cep", "emse", "mse"]
SIGMA_DATA = 2.0  # about the deviation of every set
LOG_SIGMA = (-0.7, 1.4)  # noise levels of the score's training: down to the width of an edge

LEARNERS: tuple[Learner, ...] = get_args(Learner)


@dataclass(frozen=True)
class BanditTraining:
    """How the networks of every bandit are trained; all learners of an energy get the same."""

    width: int = 128
    """Width of all hidden layers."""
    depth: int = 3
    """Blocks of the score, hidden layers of the energies."""
    score_steps: int = 2500
    """Optimisation steps of the score."""
    score_batch: int = 512
    """Actions a step of the score."""
    score_lr: float = 1e-2
    """Its peak learning rate; much lower ones leave edges blurred after so few steps."""
    steps: int = 2500
    """Optimisation steps of every energy."""
    groups: int = 8
    """Groups of actions a step of an energy; each has a time and a beta of its own."""
    candidates: int = 128
    """Actions in a group, which the contrast of CEP compares."""
    weights: Literal["raw", "self"] = "raw"
    """Weights of CEP: raw is exact for any number of candidates, self is the source's code."""
    lr: float = 3e-3
    """Peak learning rate of every energy."""
    t_min: float = 1e-3
    """Least time that the energies see."""
    pool: int = 1_000_000
    """Logged actions of a bandit."""

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.score_batch, self.groups, self.pool) < 1:
            raise ValueError(
                f"bandits need width, depth, score_batch, groups and pool of at least 1, got "
                f"{self.width}, {self.depth}, {self.score_batch}, {self.groups} and {self.pool}"
            )
        if self.candidates < 2 or not 0 < self.t_min < 1:
            raise ValueError(
                f"bandits need at least 2 candidates (to contrast) and t_min in (0, 1), got "
                f"{self.candidates} and {self.t_min}"
            )

    def loop(self, steps: int, batch: int, lr: float, seed: int) -> TrainConfig:
        """Return the optimisation of one network."""
        warmup = min(100, steps)
        return TrainConfig(
            steps=steps,
            batch=batch,
            lr=lr,
            warmup=warmup,
            weight_decay=0.0,
            ema=0.998,
            seed=seed,
            save_every=1000,
            log_every=min(50, steps),
        )


def build_score(config: BanditTraining) -> NetDenoiser:
    """Return an untrained score.

    The inputs and outputs of EDM find edges and gaps in half the steps that noise prediction needs,
    and no energy can be told from another on a score that blurs them.
    """
    net = ResidualMLP(2, width=config.width, depth=config.depth)
    return NetDenoiser(net, VPLinear(), "edm", sigma_data=SIGMA_DATA, log_sigma=LOG_SIGMA)


def build_energy(config: BanditTraining, betas: int) -> EnergyNet:
    """Return an untrained energy net that knows so many values of beta apart."""
    net = ScalarMLP(2, betas if betas > 1 else 0, width=config.width, depth=config.depth)
    return EnergyNet(net, VPLinear())


def train_score(
    model: NetDenoiser, logged: Logged, config: BanditTraining, seed: int, folder: Path
) -> Iterator[TrainState]:
    """Train the score of q in place; yields what :func:`guided.train.train` does."""

    def batch(step: int, generator: torch.Generator) -> tuple[Tensor, None]:
        drawn = torch.randint(len(logged.x), (config.score_batch,), generator=generator)
        return logged.x[drawn], None

    loop = config.loop(
        config.score_steps, config.score_batch, config.score_lr, stream_seed(seed, 0)
    )
    yield from train(model, batch, loop, folder)


def train_energy(
    model: EnergyNet,
    learner: Learner,
    logged: Logged,
    betas: tuple[float, ...],
    config: BanditTraining,
    seed: int,
    folder: Path,
) -> Iterator[TrainState]:
    """Train an energy net in place; yields what :func:`guided.train.train` does.

    One net serves all values of beta, a group of actions having one of them. The regression ``mse``
    learns the reward alone, since its solution is linear in beta.
    """
    energies = _energies(learner, logged.reward, betas)  # (betas, N)
    target = config.weights if learner == "cep" else learner
    codes = torch.eye(len(energies))

    def batch(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        shape = (config.groups, config.candidates)
        drawn = torch.randint(len(logged.x), shape, generator=generator)
        kind = torch.randint(len(energies), (config.groups,), generator=generator)
        code = codes[kind] if len(energies) > 1 else None
        return logged.x[drawn], {"energies": energies[kind[:, None], drawn], "code": code}

    def loss(x0: Tensor, given: dict[str, Any], rng: Rng) -> Tensor:
        found = given["energies"], given["code"]
        return cep_loss(model, x0, *found, rng, target=target, t_min=config.t_min)

    number = 1 + LEARNERS.index(learner)
    size = config.groups * config.candidates
    loop = config.loop(config.steps, size, config.lr, stream_seed(seed, number))
    trained: Any = model  # the loop asks no more of it than weights, since the loss is given
    yield from train(trained, batch, loop, folder, loss)


def _energies(learner: Learner, reward: Tensor, betas: tuple[float, ...]) -> Tensor:
    """Return the energy of every action, a row for each value of beta.

    A constant a row changes no minimum of the contrast. It is such that the mean of exp(-E) is 1,
    or for the regression of exp(-E) the largest, so that no beta drowns another.
    """
    if learner == "mse":
        return -reward[None]
    rows = []
    for beta in betas:
        top = beta * float(reward.max())
        rows.append((top if learner == "emse" else log_mean_weight(reward, beta)) - beta * reward)
    return torch.stack(rows)
