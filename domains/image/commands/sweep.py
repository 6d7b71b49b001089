"""sweep: scale against quality for every method, a table and a plot of each."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from tqdm import tqdm

from domains.image.classifier import JUDGE, load_classifier
from domains.image.data.source import load_images
from domains.image.generation import Generator, Sampling
from domains.image.model import SMALL
from domains.image.plots import sweep_figure
from domains.image.sweep import CURVES, Curve, Judged, means, points
from guided.results import require_writable, versions, write_json

COLUMNS = ("distance", "accuracy", "precision", "recall", "coverage", "saturation", "evaluations")


@dataclass(frozen=True)
class Sweep:
    """Draw as many pictures as are held out, by every method at every scale, and judge them.

    The distance is Fréchet's in the features of the judge, a classifier that never guides.
    """

    methods: tuple[str, ...] = tuple(CURVES)
    """Methods by name."""
    seeds: int = 1
    """Runs of every point; the table shows means."""
    source: str = "digits"
    """Data to compare with: digits, a folder of pictures, or an IDX file."""
    count: int = 0
    """Pictures of a point; 0 = as many as are held out."""
    sampling: Annotated[Sampling, tyro.conf.arg(name="")] = field(default_factory=Sampling)
    """How to sample."""
    checkpoint: Path = SMALL
    """Folder of the model."""
    weak: Path | None = None
    """Folder of a weaker model; None is the snapshot that the model's training kept."""
    classifier: Path | None = None
    """Folder of the classifier that may guide; None is the shipped one, for digits."""
    judge: Path = JUDGE
    """Folder of the classifier that judges."""
    json: Path | None = None
    """Write all figures to this file."""
    figure: Path | None = None
    """Write the plot of all methods to this file."""
    threads: int = 1
    """Processor threads; 0 is PyTorch's choice."""
    quick: bool = False
    """Forty pictures, two scales, four steps: a smoke test."""

    def run(self) -> None:
        """Draw, judge, print and plot.

        Raises:
            ValueError: for an unknown method, numbers out of range, or data that do not fit.
        """
        curves = self._curves()
        require_writable(self.json, self.figure)
        if self.threads:
            torch.set_num_threads(self.threads)
        sampling = replace(self.sampling, steps=4) if self.quick else self.sampling
        generator = Generator.load(self.checkpoint, sampling, self.weak, self.classifier)
        judged, floor = self._judged(generator)
        total = sum(len(c.scales) for c in curves.values()) * self.seeds
        rows = []
        with tqdm(total=total, desc="sweep", unit="point") as bar:
            for row in points(generator, judged, curves, range(self.seeds)):
                rows.append(row)
                bar.set_postfix_str(f"{row['method']} {row['scale']}")
                bar.update()
        table = means(rows)
        print(f"{'':16}{'scale':>10}" + "".join(f"{c:>12}" for c in COLUMNS))
        _line("training data", "", floor)
        for row in table:
            _line(row["method"], " ".join(f"{s:g}" for s in row["scale"]), row)
        if self.figure is not None:
            sweep_figure(table, floor, self.figure)
        if self.json is not None:
            options = {k: v for k, v in asdict(self).items() if not isinstance(v, Path)}
            facts = {"options": options, "floor": floor, "table": table, "rows": rows}
            write_json(self.json, {**facts, "versions": versions()})

    def _curves(self) -> dict[str, Curve]:
        if self.seeds < 1 or self.count < 0:
            raise ValueError(f"give 1 or more seeds, a count of 0 or more, got {self}")
        for name in self.methods:
            if name not in CURVES:
                raise ValueError(f"unknown method {name!r}; expected {', '.join(CURVES)}")
        curves = {name: CURVES[name] for name in self.methods}
        if self.quick:
            curves = {n: replace(c, scales=c.scales[:2]) for n, c in curves.items()}
        return curves

    def _judged(self, generator: Generator) -> tuple[Judged, dict[str, Any]]:
        """Return what judges, and the figures of training data, which no model need beat."""
        images = load_images(self.source)
        train, held = images.train, images.test
        if held.labels is None or train.labels is None:
            raise ValueError(f"{self.source} has no classes, but accuracy is asked for")
        size = min(40, len(held.x)) if self.quick else self.count or len(held.x)
        judge = load_classifier(self.judge)
        judged = Judged(judge, held.x[:size], held.labels[:size])
        return judged, judged.figures(train.x[:size], train.labels[:size])


def _line(name: str, scale: str, row: dict[str, Any]) -> None:
    figures = "".join(f"{row[c]:>12.3f}" if c in row else f"{'':>12}" for c in COLUMNS)
    print(f"{name:16}{scale:>10}{figures}")
