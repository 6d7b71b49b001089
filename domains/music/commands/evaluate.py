"""evaluate: rule errors and quality with SCG, best of n, and without guidance."""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
import tyro

from domains.music.asking import COPIED
from domains.music.commands.options import positive
from domains.music.compose import Composer, Settings
from domains.music.data.reference import reference_clips
from domains.music.evaluate import Evaluation, curve, evaluate
from domains.music.model import SHIPPED
from domains.music.plots import error_curves
from domains.music.roll import Rolls
from guided.results import require_writable, versions, write_json

# A smoke test: the command, not the figures.
QUICK_COUNT, QUICK_CANDIDATES, QUICK_STEPS = 2, 2, 4


@dataclass(frozen=True)
class Evaluate:
    """Compare SCG with best of n and with no guidance, on targets copied from real clips.

    With --curve, plot the error of SCG against its number of candidates instead.
    """

    rules: tuple[str, ...] = COPIED
    """Rules by name, each evaluated on its own."""
    count: int = 64
    """Targets of every rule."""
    seed: int = 0
    """Seed of all runs and draws."""
    sampling: Annotated[Settings, tyro.conf.arg(name="")] = field(default_factory=Settings)
    """How to sample; n of SCG and of best-of-n is --candidates."""
    curve: Path | None = None
    """Write a plot of the error over 1, 4, 16 and 64 candidates to this .png, and print it."""
    json: Path | None = None
    """Write all figures to this file."""
    reference: Path | None = None
    """Take the real clips from this corpus file; by default those that come with the package."""
    checkpoint: Path = SHIPPED
    """Folder of the model."""
    threads: int = 0
    """Processor threads; 0 is PyTorch's choice."""
    quick: bool = False
    """Two targets, two candidates, four steps: a smoke test, not a result."""

    def run(self) -> None:
        """Evaluate and print."""
        positive("--steps", self.sampling.steps)
        require_writable(self.json, self.curve)
        if self.threads:
            torch.set_num_threads(self.threads)
        steps = QUICK_STEPS if self.quick else self.sampling.steps
        composer = Composer.load(self.checkpoint, replace(self.sampling, steps=steps))
        clips = reference_clips(self.reference, seed=self.seed)
        count = QUICK_COUNT if self.quick else self.count
        if self.curve is not None:
            self._plot(self.curve, composer, clips, count)
            return
        config = Evaluation(
            rules=self.rules,
            candidates=QUICK_CANDIDATES if self.quick else self.sampling.candidates,
            count=count,
            seed=self.seed,
        )
        report = evaluate(composer, clips, config)
        print(report.text())
        if self.json is not None:
            write_json(self.json, report.to_dict())

    def _plot(self, path: Path, composer: Composer, clips: Rolls, count: int) -> None:
        numbers = (1, 2) if self.quick else (1, 4, 16, 64)
        points = curve(composer, clips, self.rules, candidates=numbers, count=count, seed=self.seed)
        error_curves(points, path, f"SCG, {count} targets")
        for rule, line in points.items():
            found = ", ".join(f"{n:.0f}: {mean:.4g} ± {se:.2g}" for n, mean, se in line)
            falls = all(a[1] > b[1] for a, b in pairwise(line))
            print(f"{rule}: {found}; {'falls at every step' if falls else 'does NOT always fall'}")
        if self.json is not None:
            figures = {"points": points, "count": count, "seed": self.seed, "versions": versions()}
            write_json(self.json, figures)
