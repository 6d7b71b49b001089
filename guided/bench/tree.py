r"""``guided-bench tree``: what contrasts do to samples of a law of two trees, without training.

All denoisers are in closed form: the exact score of the law blurred by a for the model that is
guided, by 2 a for a weak one. What a method does is therefore not a matter of training, and each
sample is judged by the exact law. Every seed grows trees of its own; figures are means over seeds
with half of their 95 % intervals (Student's t).

============  =====================================================================  ==========
outliers %    samples less likely than 99 % of exact draws                           1 ideal
log density   mean over samples                                                      as exact
SW2           sliced Wasserstein distance of order 2 to 8192 exact draws per tree    as exact
parts TV      total variation between the shares of the 15 parts of a tree           as exact
lost          parts, of 30 in both trees, with less than a quarter of their mass     0 ideal
calls         predictions of one sample in a run, of any model                       fewer
============  =====================================================================  ==========

"As exact" is the row of exact draws of the same number.

Source: the experiment is after Karras et al. 2024, Guiding a diffusion model with a bad version of
    itself, section 3, with blurred laws in place of trained networks, and numbers in place of
    pictures.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from guided.bench.tree_figure import draw
from guided.bench.tree_law import Tree, trees
from guided.bench.tree_methods import METHODS, PICTURED
from guided.bench.tree_model import SCHEDULE, Models
from guided.bench.tree_scores import Judge, Scored, exact_draws, mean_and_half
from guided.results import require_writable, versions, write_json
from guided.rng import Rng, stream_seed
from guided.schedule import karras

EXACT = "exact draws"
QUICK = ("unguided", "autoguidance 3", "CFG 4")
COLUMNS = {  # titles, and digits after the point
    "outliers": ("outliers %", 1),
    "density": ("log density", 2),
    "sw2": ("SW2", 3),
    "tv": ("parts TV", 3),
    "lost": ("lost", 1),
    "calls": ("calls", 1),
}


class Case(NamedTuple):
    """What all methods share for one seed."""

    seed: int
    two: tuple[Tree, Tree]
    judge: Judge
    blur: float

    @classmethod
    def of(cls, seed: int, blur: float) -> "Case":
        """Grow the trees of a seed."""
        two = trees(seed)
        return cls(seed, two, Judge(two, stream_seed(seed, 2)), blur)

    def run(self, name: str, n: int) -> tuple[Tensor, float]:
        """Return samples of a method (2 n, 2), n of each tree, and the calls that one cost."""
        if name == EXACT:
            return exact_draws(self.two, n, stream_seed(self.seed, 3)), 0.0
        method, models = METHODS[name], Models.of(self.two, self.blur)
        sampler = method.make(models)
        times = karras(SCHEDULE, method.steps, sigma_min=0.002, sigma_max=SCHEDULE.sigma_max)
        # The same noise for all methods.
        rng = Rng(stream_seed(self.seed, 4))
        x = sampler.initial((2 * n, 2), times, rng, torch.float64)
        x = sampler.sample(x, times, torch.arange(2).repeat_interleave(n), rng=rng)
        return x, models.rows / len(x)


@dataclass(frozen=True)
class TreeBench:
    """Compare contrasts on two trees whose scores are known."""

    methods: tuple[str, ...] = tuple(METHODS)
    """Methods by name."""
    samples: int = 768
    """Of each tree."""
    blur: float = 0.015
    """The standard deviation that the main model smooths by; the twigs are 0.002 wide."""
    seeds: int = 5
    """How many pairs of trees, each with noise of its own."""
    seed: int = 0
    """The first of them."""
    threads: int = 1
    """Processor threads."""
    json: Path | None = None
    """Write all figures to this file."""
    figure: Path | None = None
    """Draw samples of the first seed to this .png, of the methods that a picture has room for."""
    quick: bool = False
    """Two seeds, three methods, few samples: a smoke test, not a result."""

    def run(self) -> None:
        """Measure and print.

        Raises:
            ValueError: for an unknown method, or numbers out of range.
        """
        self._check()
        require_writable(self.json, self.figure)
        torch.set_num_threads(self.threads)
        began = time.perf_counter()
        seeds, n = (2, 64) if self.quick else (self.seeds, self.samples)
        cases = [Case.of(seed, self.blur) for seed in range(self.seed, self.seed + seeds)]
        print(f"{'':22}" + "".join(f"{title:>20}" for title, _ in COLUMNS.values()))
        shown: dict[str, Scored] = {}
        rows = list(self._rows(cases, n, shown))
        if self.figure is not None:
            chosen = {name: found for name, found in shown.items() if name in (EXACT, *PICTURED)}
            draw(cases[0].two, chosen, self.figure)
        if self.json is not None:
            options = {k: v for k, v in asdict(self).items() if k not in ("json", "figure")}
            seconds = round(time.perf_counter() - began, 1)
            figures = {"command": "guided-bench tree", "options": options, "rows": rows}
            write_json(self.json, {**figures, "versions": versions(), "seconds": seconds})

    def _rows(
        self, cases: list[Case], n: int, shown: dict[str, Scored]
    ) -> Iterator[dict[str, Any]]:
        """Yield the figures of every method, print them, and keep what the figure shows."""
        names = (EXACT, *(QUICK if self.quick else self.methods))
        for name in tqdm(names, unit="method", leave=False):
            seeds = []
            for case in cases:
                x, calls = case.run(name, n)
                found = case.judge.scored(x)
                shown.setdefault(name, found)
                seeds.append(case.judge.figures(found) | {"calls": calls})
            figures = {column: mean_and_half([one[column] for one in seeds]) for column in COLUMNS}
            row = {"method": name, **figures, "seeds": seeds}
            with tqdm.external_write_mode():
                print(line(row), flush=True)
            yield row

    def _check(self) -> None:
        for name in self.methods:
            if name not in METHODS:
                raise ValueError(f"unknown method {name!r}; expected {', '.join(METHODS)}")
        if self.samples < 16 or min(self.seeds, self.threads) < 1 or not self.blur > 0:
            raise ValueError(
                f"give at least 16 samples, 1 seed, 1 thread and a blur above 0, got "
                f"{self.samples}, {self.seeds}, {self.threads} and {self.blur:g}"
            )


def line(row: dict[str, Any]) -> str:
    """Return the figures of one method as text."""
    cells = ""
    for column, (_, digits) in COLUMNS.items():
        mean, half = row[column]["mean"], row[column]["half"]
        spread = "" if half is None else f" +-{half:.{digits}f}"
        cells += f"{f'{mean:.{digits}f}{spread}':>20}"
    return f"{row['method']:22}{cells}"
