"""sweep: scale against quality for every method, a table and a plot of each."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from tqdm import tqdm

from domains.image.classifier import JUDGE, load_classifier
from domains.image.data.images import require_held_out
from domains.image.data.source import load_images
from domains.image.fit import Kind, require_fit
from domains.image.generation import Generator, Sampling
from domains.image.model import SMALL
from domains.image.plots import sweep_figure
from domains.image.sweep import CURVES, Curve, Judged, means, points, require_parts
from guided.results import plain, require_writable, versions, write_json

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
        require_parts(generator, curves)
        judged, floor = self._judged(generator)
        ran = replace(self, sampling=sampling, count=len(judged.data))
        about = {"options": plain(asdict(ran)), "floor": floor}
        total = sum(len(c.scales) for c in curves.values()) * self.seeds
        rows: list[dict[str, Any]] = []
        with tqdm(total=total, desc="sweep", unit="point") as bar:
            for name, one in curves.items():
                for row in points(generator, judged, {name: one}, range(self.seeds)):
                    rows.append(row)
                    bar.set_postfix_str(f"{row['method']} {row['scale']}")
                    bar.update()
                self._write(about, rows)
        table = means(rows)
        print(f"{'':16}{'scale':>10}" + "".join(f"{c:>12}" for c in COLUMNS))
        _line("training data", "", floor)
        for row in table:
            _line(row["method"], " ".join(f"{s:g}" for s in row["scale"]), row)
        if self.figure is not None:
            sweep_figure(table, floor, self.figure)

    def _write(self, about: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        """Write what there is after every method, so that a run that ends early leaves it."""
        if self.json is not None:
            figures = {**about, "table": means(rows), "rows": rows}
            write_json(self.json, {**figures, "versions": versions()})

    def _curves(self) -> dict[str, Curve]:
        if self.seeds < 1 or self.count < 0:
            raise ValueError(
                f"give 1 or more seeds and a count of 0 or more, got {self.seeds} and {self.count}"
            )
        if self.threads < 0:
            raise ValueError(f"give threads of at least 0, got {self.threads}")
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
        require_held_out(images)
        if self.count > len(held):
            raise ValueError(
                f"{self.source} has {len(held)} pictures held out, got a count of {self.count}; "
                f"give at most as many"
            )
        size = min(40, len(held)) if self.quick else self.count or len(held)
        judge, data = load_classifier(self.judge), Kind(images.x.shape[1:], images.names)
        model = Kind(generator.config.shape, generator.config.names)
        require_fit(f"the model {self.checkpoint}", model, f"the data {self.source}", data)
        judges = Kind(judge.config.shape, judge.config.names)
        require_fit(f"the judge {self.judge}", judges, f"the data {self.source}", data)
        judged = Judged(judge, held.x[:size], held.labels[:size])
        return judged, judged.figures(train.x[:size], train.labels[:size])


def _line(name: str, scale: str, row: dict[str, Any]) -> None:
    figures = "".join(f"{row[c]:>12.3f}" if c in row else f"{'':>12}" for c in COLUMNS)
    print(f"{name:16}{scale:>10}{figures}")
