"""``python -m baselines.trajectory.compare FOLDER``: the predictor beside what one would use else.

On every fold of ETH/UCY all that learns is trained on the other scenes, with the same windows and
variations, and scored on the fold's test windows. What is trained already is not trained again.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from tqdm import tqdm

from baselines.trajectory.constant_velocity import last_step, mean_step, standing
from baselines.trajectory.runs import STANDARD, Runs, require_folds
from baselines.trajectory.scoring import summary
from baselines.trajectory.table import Results, text
from baselines.trajectory.variety_lstm import predict_variety
from domains.trajectory.commands.evaluate import scored
from domains.trajectory.evaluate import Kind
from domains.trajectory.metrics.windows import WindowSummary
from domains.trajectory.model import Prior
from domains.trajectory.predict import Sampling
from domains.trajectory.scene import Scene
from guided.command import in_words
from guided.results import require_writable, versions, write_json

STRAIGHT = {
    "constant velocity": last_step,
    "mean velocity": mean_step,
    "standing still": standing,
}
SETS: dict[Prior, tuple[Kind, ...]] = {
    "vanilla": ("samples", "worlds"),
    "ogd": ("samples", "worlds", "snapped", "modes"),
}


@dataclass(frozen=True)
class Compare:
    """Train what is missing, score everything; run it again to resume."""

    data: Annotated[Path, tyro.conf.Positional]
    """The folder of the ETH/UCY text files."""
    folds: tuple[str, ...] = STANDARD
    """Scenes to test on, one after the other."""
    seeds: tuple[int, ...] = (0,)
    """Of the trainings, and of the noise."""
    learned: tuple[Literal["lstm", "vanilla", "ogd"], ...] = ("lstm", "vanilla", "ogd")
    """Which of the learned ones, beside those who walk straight on; ogd has the marginal modes."""
    runs: Path = Path("runs/eth-ucy")
    """Folder of everything that is trained."""
    worlds: int = 20
    """K of the learned methods."""
    vanilla: Sampling = field(default_factory=lambda: Sampling(samples=100, steps=10, start=1.0))
    """How samples of the vanilla prior are drawn; the seed is that of the training."""
    ogd: Sampling = field(default_factory=lambda: Sampling(samples=100, steps=4, start=0.4))
    """How samples of the fitted prior are drawn; the seed is that of the training."""
    count: int = 0
    """At most so many test windows of a fold, evenly chosen; 0 = all."""
    json: Path | None = None
    """Write all figures to this file."""
    threads: int = 1
    """Processor threads."""
    quick: bool = False
    """Hardly any training, four windows of a fold: a smoke test, not a result."""

    def run(self) -> None:
        """Train, score, print the table.

        Raises:
            ValueError: for unknown folds, numbers out of range, or files that are missing.
        """
        self._check()
        require_writable(self.json, self.runs / "any")
        torch.set_num_threads(self.threads)
        began, runs = time.perf_counter(), Runs(self.data, self.runs, self.quick)
        results: Results = {fold: {} for fold in self.folds}
        for fold in self.folds:
            scenes = runs.tests(fold, self.count)
            for seed in self.seeds:
                for method, found in self._figures(runs, fold, seed, scenes):
                    results[fold].setdefault(method, []).append(found)
        print(text(results))
        if self.json is not None:
            options = {k: v for k, v in asdict(self).items() if k not in ("json", "data", "runs")}
            plain = {
                fold: {method: [asdict(one) for one in each] for method, each in own.items()}
                for fold, own in results.items()
            }
            seconds = round(time.perf_counter() - began, 1)
            figures = {"options": options, "folds": plain, "seconds": seconds}
            write_json(self.json, {"versions": versions(), **figures})

    def _check(self) -> None:
        require_folds(self.folds, self.seeds)
        if min(self.worlds, self.threads) < 1 or self.count < 0:
            raise ValueError(
                f"give worlds and threads of at least 1 and a count of 0 or more, got "
                f"{self.worlds}, {self.threads} and {self.count}"
            )
        if min(self.vanilla.samples, self.ogd.samples) < self.worlds:
            raise ValueError(
                f"{self.worlds} worlds need as many samples, got {self.vanilla.samples} of the "
                f"vanilla prior and {self.ogd.samples} of the fitted one; draw more"
            )

    def _figures(
        self, runs: Runs, fold: str, seed: int, scenes: list[Scene]
    ) -> Iterator[tuple[str, WindowSummary]]:
        """Yield the figures of every method on one fold, trained with one seed."""
        for method, forecast in STRAIGHT.items():
            yield method, summary(forecast(scene) for scene in scenes)
        if "lstm" in self.learned:
            yield "variety LSTM", self._variety(runs, fold, seed, scenes)
        drawn: dict[Prior, Sampling] = {"vanilla": self.vanilla, "ogd": self.ogd}
        for prior, how in drawn.items():
            if prior not in self.learned:
                continue
            samples = self.worlds if self.quick else how.samples
            how = Sampling(samples, how.steps, how.start, seed)
            predictor = runs.predictor(fold, seed, prior)
            label = f"{fold}, seed {seed}, {prior}"
            for found in scored(predictor, scenes, how, self.worlds, SETS[prior], label):
                yield _named(prior, found.kind), found.windows

    def _variety(self, runs: Runs, fold: str, seed: int, scenes: list[Scene]) -> WindowSummary:
        """Return the figures of the variety LSTM."""
        net = runs.lstm(fold, seed)
        forecasts = tqdm(
            predict_variety(net, scenes, self.worlds, seed),
            total=len(scenes),
            desc=f"{fold}, seed {seed}, LSTM",
            unit="scene",
        )
        return summary(forecast for _, forecast in forecasts)


def _named(prior: Prior, kind: Kind) -> str:
    return "marginal modes" if kind == "modes" else f"{prior}, {kind}"


def main(args: list[str] | None = None) -> None:
    """Run the comparison; a user's mistake is one sentence and exit status 1."""
    with in_words("compare", "stopped; the same command goes on from here"):
        tyro.cli(Compare, prog="python -m baselines.trajectory.compare", args=args).run()


if __name__ == "__main__":
    main()
