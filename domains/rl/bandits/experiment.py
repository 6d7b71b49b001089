"""One bandit with one seed: train its networks, sample every method at every beta, measure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor, nn

from domains.rl.bandits.measure import distance, mode_error
from domains.rl.bandits.sample import METHODS, guided_model, sampled
from domains.rl.bandits.sets import SETS
from domains.rl.bandits.train import (
    LEARNERS,
    BanditTraining,
    build_energy,
    build_score,
    train_energy,
    train_score,
)
from domains.rl.bandits.truth import resampled
from guided.guidance import EnergyNet
from guided.rng import Rng, initial_weights, stream_seed
from guided.train import TrainState

EXACT, TRUTH = "exact", "truth"
EXACT_DRAWS = 4  # independent exact sets, whose distances to the truth are the floor
SHOWN = 2000  # samples kept for pictures

Report = Callable[[str, TrainState], None]


@dataclass(frozen=True)
class BanditSettings:
    """What is measured, and how."""

    betas: tuple[float, ...] = (3.0, 10.0, 20.0)
    """Inverse temperatures."""
    samples: int = 4000
    """Samples of every method, and of the truth."""
    solver_steps: int = 40
    """Steps of DPM-Solver++ (2M), equal in log-SNR."""
    training: Annotated[BanditTraining, tyro.conf.arg(name="")] = field(
        default_factory=BanditTraining
    )
    """The networks."""


@dataclass(frozen=True)
class Found:
    """The figures of one bandit with one seed, and samples to look at.

    Args:
        rows: one a method and beta: ``beta``, ``method``, ``distance`` and for 8gaussians
            ``modes``, the total variation of the shares of its modes.
        samples: by ``method`` and beta, as ``method:beta``, (SHOWN, 2).
    """

    rows: list[dict[str, Any]]
    samples: dict[str, Tensor]


def measured(name: str, seed: int, settings: BanditSettings, folder: Path, report: Report) -> Found:
    """Return what is found, from ``folder`` where it already lies there.

    Args:
        name: of the bandit.
        seed: of its logged actions, networks and samples.
        settings: how; the caller sees to it that a folder is not used with others.
        folder: of this bandit and seed; training resumes in it.
        report: is told the network's name and the state of its training.
    """
    kept = folder / "found.pt"
    if kept.exists():
        return Found(**torch.load(kept, weights_only=True))
    score, energies = trained(name, seed, settings, folder, report)
    found = compared(name, seed, settings, score, energies)
    part = kept.with_name(".found.part")
    torch.save({"rows": found.rows, "samples": found.samples}, part)
    part.replace(kept)
    return found


def trained(
    name: str, seed: int, settings: BanditSettings, folder: Path, report: Report
) -> tuple[Any, dict[str, EnergyNet]]:
    """Return the score and the energies of a bandit, by learner."""
    config, betas = settings.training, settings.betas
    logged = SETS[name](config.pool, Rng(_stream(name, seed, 0)))
    number = _stream(name, seed, 1)
    with initial_weights(number):
        score = build_score(config)
    for state in train_score(score, logged, config, number, folder / "score"):
        report("score", state)
    _freeze(score, state)
    energies: dict[str, EnergyNet] = {}
    for learner in LEARNERS:
        with initial_weights(number):
            energy = build_energy(config, 1 if learner == "mse" else len(betas))
        for state in train_energy(energy, learner, logged, betas, config, number, folder / learner):
            report(learner, state)
        _freeze(energy, state)
        energies[learner] = energy
    return score, energies


def compared(
    name: str, seed: int, settings: BanditSettings, score: Any, energies: Mapping[str, EnergyNet]
) -> Found:
    """Sample all methods from the same noise and measure them against exact draws."""
    config, betas, n = settings.training, settings.betas, settings.samples
    rows: list[dict[str, Any]] = []
    shown: dict[str, Tensor] = {}
    unguided = None
    for index, beta in enumerate(betas):
        truth = exact_draws(name, beta, n, config.pool, _stream(name, seed, 2, index))

        def note(method: str, x: Tensor, beta: float = beta, truth: Tensor = truth) -> None:
            row = {"beta": beta, "method": method, "distance": distance(x, truth)}
            rows.append(row | ({"modes": mode_error(x, beta)} if name == "8gaussians" else {}))

        shown[f"{TRUTH}:{beta:g}"] = truth[:SHOWN].clone()
        for draw in range(EXACT_DRAWS):
            again = _stream(name, seed, 3, index, draw)
            note(EXACT, exact_draws(name, beta, n, config.pool, again))
        for method in METHODS:
            x = unguided
            if method != "unguided" or x is None:
                model = guided_model(method, score, energies, betas, beta, config.t_min)
                x = sampled(model, n, settings.solver_steps, Rng(_stream(name, seed, 4)))
            unguided = x if method == "unguided" else unguided
            note(method, x)
            shown[f"{method}:{beta:g}"] = x[:SHOWN].clone()
    return Found(rows, shown)


def exact_draws(name: str, beta: float, n: int, pool: int, seed: int) -> Tensor:
    """Return n actions of the target, (n, 2), from a pool of draws of their own."""
    rng = Rng(seed)
    return resampled(SETS[name](pool, rng), beta, n, rng).x


def _freeze(model: nn.Module, state: TrainState) -> None:
    model.load_state_dict(state.ema)
    model.eval().requires_grad_(False)


def _stream(name: str, seed: int, *key: int) -> int:
    return stream_seed(seed, list(SETS).index(name), *key)
