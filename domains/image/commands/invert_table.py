"""invert-table: every method on every operator, scored on held-out digits."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor

from domains.image.classifier import JUDGE, load_classifier
from domains.image.commands.invert import QUICK
from domains.image.data.source import load_images
from domains.image.inverse_methods import NotApplicable
from domains.image.inversion import Settings
from domains.image.invert import Recovery, recover, require_method
from domains.image.operators import OPERATORS, Measurement, corrupt, operator_named
from domains.image.prior import DIGITS, Prior, prior_named
from domains.image.recovery_grid import draw_grid
from domains.image.recovery_scores import scores
from guided.results import plain, require_writable, versions, write_json

SHOWN = ("none", "SCG", "FK", "EnKG", "DPS", "MPGD", "exact")
COLUMNS = ("psnr", "psnr_one", "rel_l2", "misfit", "spread", "accuracy")


@dataclass(frozen=True)
class InvertTable:
    """Recover held-out digits with every method from every operator, and score all of them."""

    operators: tuple[str, ...] = tuple(OPERATORS)
    """Operators, each a name or name:option=number,option=number."""
    methods: tuple[str, ...] = SHOWN
    """Methods by name; TMPD and best-of-n may be added."""
    count: int = 16
    """The first so many held-out digits."""
    noise: float = 0.1
    """Standard deviation of the measurements, in units of pixels in [-1, 1]."""
    seed: int = 0
    """Seed of the measurements and of all draws."""
    prior: str = DIGITS
    """``digits``, the shipped model; ``exact``, a Gaussian about every training digit; a folder."""
    judge: Path | None = None
    """Folder of a classifier that tells whether recovered digits are what they were; None is the
    shipped one."""
    settings: Annotated[Settings, tyro.conf.arg(name="")] = field(default_factory=Settings)
    """How to recover."""
    json: Path | None = None
    """Write all figures to this file."""
    figure: Path | None = None
    """Write a picture of the first digit to this file."""
    threads: int = 0
    """Processor threads; 0 is PyTorch's choice."""
    quick: bool = False
    """Few steps and members, two digits: a smoke test, not a result."""

    def run(self) -> None:
        """Recover and print.

        Raises:
            ValueError: for unknown names or numbers out of range.
        """
        self._check()
        require_writable(self.json, self.figure)
        if self.threads:
            torch.set_num_threads(self.threads)
        prior = prior_named(self.prior)
        judge = load_classifier(self.judge or JUDGE)
        rows: list[dict[str, Any]] = []
        drawn: list[list[Tensor | None]] = []
        for name in self.operators:
            measured, labels = self._measured(name, prior)
            found = self._recovered(name, prior, measured)
            rows += [_row(name, m, f, measured, labels, judge) for m, f in found.items()]
            drawn.append(_pictures(measured, found))
            _print(name, rows[-len(found) :], self.noise, len(labels))
            self._write(rows, drawn)

    def _write(self, rows: list[dict[str, Any]], drawn: list[list[Tensor | None]]) -> None:
        """Write what there is after every operator, so that an interruption loses little."""
        if self.figure is not None:
            headings = [f"{m}{part}" for m in self.methods for part in (", mean", ", one")]
            title = f"Held-out digit 0, noise {self.noise:g}"
            names = [name.replace(":", "\n") + " " for name in self.operators[: len(drawn)]]
            draw_grid(drawn, ["truth", "measured", *headings], names, self.figure, title)
        if self.json is not None:
            options = plain(asdict(self))
            write_json(self.json, {"options": options, "rows": rows, "versions": versions()})

    def _measured(self, name: str, prior: Prior) -> tuple[Measurement, Tensor]:
        """Return the measurements of the digits, and their labels."""
        held_out = load_images("digits").test
        if held_out.x.shape[1:] != prior.shape or held_out.labels is None:
            raise ValueError(
                f"{self.prior} is no model of the digits; give 'digits', 'exact' or a folder"
            )
        count = 2 if self.quick else self.count
        if count > len(held_out):
            raise ValueError(f"{len(held_out)} digits are held out, got a count of {count}")
        degradation = operator_named(name, prior.shape)
        measured = corrupt(degradation, held_out.x[:count], self.noise, self.seed)
        return measured, held_out.labels[:count]

    def _recovered(
        self, name: str, prior: Prior, measured: Measurement
    ) -> dict[str, Recovery | NotApplicable]:
        """Return what every method found, or why it could not."""
        settings = replace(self.settings, **QUICK) if self.quick else self.settings
        found: dict[str, Recovery | NotApplicable] = {}
        for method in self.methods:
            try:
                found[method] = recover(method, prior, measured, settings, self.seed)
            except NotApplicable as reason:
                found[method] = reason
        return found

    def _check(self) -> None:
        for method in self.methods:
            require_method(method)
        if self.count < 1 or self.threads < 0 or self.seed < 0 or not self.operators:
            raise ValueError(
                f"give at least 1 digit and 1 operator, and a seed and threads of at least 0, got "
                f"{self.count}, {self.operators}, {self.seed} and {self.threads}"
            )
        for name in self.operators:
            operator_named(name, (1, 8, 8))


def _row(
    operator: str,
    method: str,
    found: Recovery | NotApplicable,
    measured: Measurement,
    labels: Tensor,
    judge: Callable[[Tensor], Tensor],
) -> dict[str, Any]:
    """Return the mean figures of a method, those of every digit, and the cost of one."""
    names = {"operator": operator, "method": method}
    if isinstance(found, NotApplicable):
        return {**names, "not_applicable": str(found)}
    each = scores(found, measured, labels, judge)
    mean = {name: round(fmean(values), 4) for name, values in each.items()}
    cost = {"members": found.members.shape[1], "rows": found.rows, "vjps": found.vjps}
    seconds = round(found.seconds / len(labels), 3)
    took = {**cost, "simulations": found.simulations, "seconds": seconds}
    return {**names, **mean, **took, "each": each}


def _pictures(
    measured: Measurement, found: dict[str, Recovery | NotApplicable]
) -> list[Tensor | None]:
    """Return what is drawn of the first digit: a mean and a member of every method."""
    row: list[Tensor | None] = [measured.truth[0], measured.degradation.picture(measured.y)[0]]
    for what in found.values():
        if isinstance(what, Recovery):
            row += [what.members[0].mean(0), what.members[0, 0]]
        else:
            row += [None, None]
    return row


def _print(operator: str, rows: list[dict[str, Any]], noise: float, count: int) -> None:
    print(f"\n{operator}, noise {noise:g}, {count} digits")
    headings = "".join(f"{name:>10}" for name in (*COLUMNS, "rows", "vjps", "measured", "s"))
    print(f"{'':10}{headings}")
    for row in rows:
        if "not_applicable" in row:
            print(f"{row['method']:10}{row['not_applicable']}")
            continue
        figures = "".join(f"{row[c]:>10.3f}" if c in row else f"{'':10}" for c in COLUMNS)
        cost = f"{row['rows']:>10}{row['vjps']:>10}{row['simulations']:>10}{row['seconds']:>10.2f}"
        print(f"{row['method']:10}{figures}{cost}", flush=True)
