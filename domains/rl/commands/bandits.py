"""bandits: exact guidance and its rivals on six bandits whose target can be drawn."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from tqdm import tqdm

from domains.rl.bandits.experiment import TRUTH, BanditSettings, Found, measured
from domains.rl.bandits.plots import Panel, draw
from domains.rl.bandits.sets import SETS
from domains.rl.bandits.tables import Row, lines, summary, verdict
from domains.rl.bandits.train import LEARNERS
from guided.results import require_writable, versions, write_json
from guided.resume import claim
from guided.rng import Rng
from guided.train import TrainState

TITLES = {
    TRUTH: "truth",
    "cep": "CEP",
    "emse": "E-MSE",
    "mse": "MSE",
    "dps": "DPS",
    "unguided": "no guidance",
}
LOOKED_UP = 20_000  # logged actions that tell a picture the reward of a sample


@dataclass(frozen=True)
class Bandits:
    """Guide one score by CEP and by its rivals, and measure the distance to the exact target.

    Run the same command again to resume after an interruption.
    """

    sets: tuple[str, ...] = tuple(SETS)
    """Bandits by name."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds; each has networks and samples of its own."""
    settings: Annotated[BanditSettings, tyro.conf.arg(name="")] = field(
        default_factory=BanditSettings
    )
    """How to train and to measure."""
    out: Path = Path("runs/bandits")
    """Folder of networks and samples."""
    json: Path | None = None
    """Write all figures to this file."""
    figure: Path | None = None
    """Write one picture of all bandits, at one beta, to this file."""
    figure_beta: float | None = None
    """The beta of that picture; None is the middle one."""
    figures: Path | None = None
    """Write a picture of every bandit, at every beta, into this folder."""
    threads: int = 0
    """Processor threads; 0 is PyTorch's choice."""
    quick: bool = False
    """A few steps and samples: a smoke test, not a result."""

    def run(self) -> None:
        """Train, sample, measure, print and draw.

        Raises:
            ValueError: for an unknown bandit, numbers out of range, a folder of other settings or
                one that cannot be written.
        """
        settings = _quick(self.settings) if self.quick else self.settings
        self._check(settings)
        pictures = self.figures and self.figures / "moons.png"
        require_writable(self.json, self.figure, pictures, self.out / "options.json")
        if self.threads:
            torch.set_num_threads(self.threads)
        claim(self.out / "options.json", asdict(settings))
        rows: list[Row] = []
        first: dict[str, Found] = {}
        for name in self.sets:
            found = {seed: self._found(name, seed, settings) for seed in self.seeds}
            first[name] = found[self.seeds[0]]
            mine = summary(name, found)
            rows += mine
            print(
                "\n".join(["", f"{name}: energy distance to the truth", *lines(mine)]), flush=True
            )
            if self.figures is not None:
                _draw_one(name, first[name], mine, settings.betas, self.figures / f"{name}.png")
        told = verdict(rows)
        print("\n".join(["", *told]))
        if self.figure is not None:
            self._overview(first, rows, settings, self.figure)
        if self.json is not None:
            options = {"sets": self.sets, "seeds": self.seeds, **asdict(settings)}
            write_json(
                self.json,
                {"options": options, "rows": rows, "verdict": told, "versions": versions()},
            )

    def _found(self, name: str, seed: int, settings: BanditSettings) -> Found:
        config = settings.training
        done = dict.fromkeys(["score", *LEARNERS], 0)
        total = config.score_steps + len(LEARNERS) * config.steps
        with tqdm(total=total, desc=f"{name}, seed {seed}", unit="step", leave=False) as bar:

            def report(net: str, state: TrainState) -> None:
                bar.update(state.step - done[net])
                done[net] = state.step
                bar.set_postfix(net=net, loss=f"{state.loss:.4f}")

            return measured(name, seed, settings, self.out / name / str(seed), report)

    def _overview(
        self, first: dict[str, Found], rows: list[Row], settings: BanditSettings, path: Path
    ) -> None:
        """Draw all bandits at one beta: bandits down, methods across."""
        beta = self._shown_beta(settings)
        panels = []
        for name, found in first.items():
            panel = _panels(name, found, rows)
            panels.append([panel(shown, beta) for shown in TITLES])
        draw(panels, list(first), list(TITLES.values()), path)

    def _shown_beta(self, settings: BanditSettings) -> float:
        if self.figure_beta is not None:
            return self.figure_beta
        return sorted(settings.betas)[len(settings.betas) // 2]

    def _check(self, settings: BanditSettings) -> None:
        for name in self.sets:
            if name not in SETS:
                raise ValueError(f"unknown bandit {name!r}; expected {', '.join(SETS)}")
        betas = settings.betas
        if not betas or len(set(betas)) < len(betas) or min(betas) <= 0 or settings.samples < 2:
            raise ValueError(
                f"give different values of beta above 0 and at least 2 samples, got betas {betas} "
                f"and {settings.samples} samples"
            )
        if self.figure_beta not in (None, *settings.betas):
            raise ValueError(
                f"--figure-beta {self.figure_beta:g} is not measured; give one of --betas, "
                f"{', '.join(f'{b:g}' for b in settings.betas)}"
            )
        if not self.sets or not self.seeds or min(self.seeds) < 0 or self.threads < 0:
            raise ValueError(
                f"give at least one bandit and one seed, and no number below 0, got sets "
                f"{self.sets}, seeds {self.seeds} and {self.threads} threads"
            )


def _quick(settings: BanditSettings) -> BanditSettings:
    few = replace(
        settings.training, width=16, depth=2, score_steps=4, score_batch=32, steps=4, groups=4,
        candidates=8, pool=20_000,
    )  # fmt: skip
    return replace(settings, samples=50, solver_steps=5, training=few)


def _draw_one(
    name: str, found: Found, rows: list[Row], betas: tuple[float, ...], path: Path
) -> None:
    """Draw one bandit: methods down, values of beta across."""
    panel = _panels(name, found, rows)
    panels = [[panel(shown, beta) for beta in betas] for shown in TITLES]
    draw(panels, list(TITLES.values()), [f"β = {beta:g}" for beta in betas], path, name)


def _panels(name: str, found: Found, rows: list[Row]) -> Callable[[str, float], Panel]:
    """Return what draws a method of one bandit at one beta, its distance in the corner."""
    logged = SETS[name](LOOKED_UP, Rng(0))
    notes = {(r["method"], r["beta"]): f"{r['distance']:.4f}" for r in rows if r["set"] == name}

    def panel(method: str, beta: float) -> Panel:
        return Panel(found.samples[f"{method}:{beta:g}"], logged, notes.get((method, beta), ""))

    return panel
