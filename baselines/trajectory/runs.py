"""Trainings of the comparison: each in a folder of its own, resumed, and never done twice.

=============================  ====================================
folder                         what was trained
=============================  ====================================
``<fold>-<seed>-ogd``          predictor with the fitted prior
``<fold>-<seed>-vanilla``      predictor with the vanilla prior
``<fold>-<seed>-lstm``         variety LSTM
=============================  ====================================

A finished model lies in the folder ``model`` of each.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from baselines.trajectory.variety_lstm import (
    VarietyConfig,
    VarietyLSTM,
    load_variety,
    run_variety,
)
from domains.trajectory.dataset import Dataset
from domains.trajectory.model import Predictor, Prior, load_model
from domains.trajectory.pedestrians import pedestrian_training
from domains.trajectory.readers.eth_ucy import (
    CORRECTED,
    FOLDS,
    TESTED,
    testing_windows,
    training_windows,
)
from domains.trajectory.scene import Scene
from domains.trajectory.sources import thinned
from domains.trajectory.train import run_training, ship
from guided.checkpoint import CheckpointError
from guided.train import TrainConfig, TrainState

STANDARD = tuple(TESTED)  # the folds of the usual table


@dataclass(frozen=True)
class Runs:
    """Where data and trainings are.

    Args:
        data: the folder of the ETH/UCY text files.
        folder: of all trainings.
        quick: train a few steps, in a folder of their own: for smoke tests.
    """

    data: Path
    folder: Path
    quick: bool = False

    def predictor(self, fold: str, seed: int, prior: Prior) -> Predictor:
        """Return the predictor of a fold, trained if it is missing.

        Raises:
            ValueError: for files that are missing, or a model of another recipe.
        """
        config = pedestrian_training(prior, seed)
        config = replace(config, loop=self._loop(config.loop))
        place = self._place(fold, seed, prior)
        if not (place / "model").exists():
            data = Dataset(training_windows(self.data, fold), config.model.window)
            last = _finished(run_training(data, config, place), config.loop.steps, place.name)
            ship(place / "model", data, config, last, fold=fold)
        found = load_model(place / "model")
        if found.config != config.model:
            raise CheckpointError(
                f"{place / 'model'} is not of the recipe for pedestrians with the {prior} prior; "
                f"use another folder of runs, or delete it"
            )
        return found

    def lstm(self, fold: str, seed: int) -> VarietyLSTM:
        """Return the variety LSTM of a fold, trained if it is missing.

        Raises:
            ValueError: for files that are missing, or a model of another configuration.
        """
        config = VarietyConfig()
        config = replace(config, loop=self._loop(replace(config.loop, seed=seed)))
        place = self._place(fold, seed, "lstm")
        if not (place / "model").exists():
            data = Dataset(training_windows(self.data, fold), config.window)
            _finished(run_variety(data, config, place), config.loop.steps, place.name)
        return load_variety(place / "model", config)

    def tests(self, fold: str, count: int = 0) -> list[Scene]:
        """Return test windows of a fold, ``count`` of them evenly chosen; 0 = all.

        Raises:
            ValueError: for files that are missing.
        """
        return thinned(testing_windows(self.data, fold), 4 if self.quick else count)

    def _place(self, fold: str, seed: int, what: str) -> Path:
        # The corrected ETH differs in its test windows alone.
        name = f"{'eth' if fold == CORRECTED else fold}-{seed}-{what}"
        return self.folder / "quick" / name if self.quick else self.folder / name

    def _loop(self, loop: TrainConfig) -> TrainConfig:
        if not self.quick:
            return loop
        return replace(loop, steps=4, batch=4, warmup=2, save_every=2, log_every=2)


def require_folds(folds: tuple[str, ...], seeds: tuple[int, ...]) -> None:
    """Refuse folds and seeds that cannot be compared over.

    Raises:
        ValueError: for unknown folds, or none or the same twice of either.
    """
    if unknown := [fold for fold in folds if fold not in FOLDS]:
        raise ValueError(f"unknown folds {', '.join(unknown)}; choose from {', '.join(FOLDS)}")
    for name, given in (("fold", folds), ("seed", seeds)):
        if not given or len(set(given)) < len(given):
            listed: Any = ", ".join(str(one) for one in given) or "none"
            raise ValueError(f"give at least one {name}, and each once, got {listed}")


def _finished(training: Iterator[TrainState], steps: int, name: str) -> TrainState:
    """Run a training to its end under a progress bar; return its last state."""
    with tqdm(total=steps, desc=f"training {name}", unit="step") as bar:
        for state in training:
            bar.update(state.step - bar.n)
            bar.set_postfix(loss=f"{state.loss:.3f}")
    return state
