"""invert: pictures from degraded measurements of them, by one method."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor

from domains.image.data.source import load_images
from domains.image.inversion import Settings
from domains.image.invert import Recovery, recover, require_method
from domains.image.operators import Measurement, corrupt, operator_named
from domains.image.pictures import read_pictures
from domains.image.prior import DIGITS, prior_named
from domains.image.recovery_grid import draw_grid
from domains.image.recovery_scores import scores
from guided.results import plain, require_writable, versions, write_json

QUICK = {"steps": 6, "members": 4, "candidates": 2, "rollout": 2}


@dataclass(frozen=True)
class Invert:
    """Degrade pictures, recover them by one method, and score what it finds.

    Operators, with their options: inpainting:share=0.5,seed=0  box:height=4,width=4,top=2,left=2
    super-resolution:factor=2  gaussian-blur:sigma=1  motion-blur:length=3,angle=45
    phase-retrieval:oversample=2  jpeg:quality=10
    """

    operator: str = "super-resolution"
    """What is measured: a name, or name:option=number,option=number."""
    method: str = "SCG"
    """none, best-of-n, SCG, FK, EnKG, DPS, MPGD, TMPD or exact."""
    index: tuple[int, ...] = (0,)
    """Which of the held-out digits to degrade."""
    picture: Path | None = None
    """A picture, or a folder of them, in place of digits; cut to the size that the prior knows."""
    noise: float = 0.1
    """Standard deviation of the measurement, in units of pixels in [-1, 1]."""
    count: int = 6
    """Recovered pictures to draw."""
    seed: int = 0
    """Seed of the measurement and of all draws."""
    prior: str = DIGITS
    """``digits``, the shipped model; ``exact``, a Gaussian about every training digit; a folder."""
    settings: Annotated[Settings, tyro.conf.arg(name="")] = field(default_factory=Settings)
    """How to recover."""
    out: Path = Path("runs/invert")
    """Folder of the picture grid.png."""
    json: Path | None = None
    """Write the figures to this file; report.json of the folder if left out."""
    threads: int = 0
    """Processor threads; 0 is PyTorch's choice."""
    quick: bool = False
    """Few steps and members: a smoke test, not a result."""

    def run(self) -> None:
        """Recover, print, draw and report.

        Raises:
            ValueError: for unknown names, numbers out of range, or pictures that cannot be read.
        """
        self._check()
        report = self.json or self.out / "report.json"
        require_writable(report, self.out / "grid.png")
        if self.threads:
            torch.set_num_threads(self.threads)
        prior = prior_named(self.prior)
        truth, numbers = self._truth(prior.shape)
        degradation = operator_named(self.operator, prior.shape)
        measured = corrupt(degradation, truth, self.noise, self.seed, numbers)
        settings = replace(self.settings, **QUICK) if self.quick else self.settings
        found = recover(self.method, prior, measured, settings, self.seed, numbers)
        each = scores(found, measured)
        self._print(each, found)
        self._draw(measured, found, numbers)
        options = plain(asdict(self))
        cost = {"rows": found.rows, "vjps": found.vjps, "simulations": found.simulations}
        took = {**cost, "seconds": round(found.seconds, 2)}
        write_json(report, {"options": options, "each": each, **took, "versions": versions()})
        print(f"wrote {self.out / 'grid.png'} and {report}")

    def _truth(self, shape: tuple[int, ...]) -> tuple[Tensor, list[int]]:
        """Return the pictures to degrade, and their numbers."""
        if self.picture is not None:
            pictures = read_pictures(self.picture, shape)
            return pictures, list(range(len(pictures)))
        digits = load_images("digits").test.x
        if digits.shape[1:] != shape:
            raise ValueError(
                f"the prior is of pictures {tuple(shape)} and the digits are "
                f"{tuple(digits.shape[1:])}; give --picture"
            )
        if not self.index or min(self.index) < 0 or max(self.index) >= len(digits):
            raise ValueError(
                f"give numbers of held-out digits, 0 to {len(digits) - 1}, got {self.index}"
            )
        return digits[list(self.index)], list(self.index)

    def _print(self, each: dict[str, Any], found: Recovery) -> None:
        print(f"{self.method} of {self.operator}, noise {self.noise:g}")
        print("".join(f"{name:>10}" for name in each))
        for row in zip(*each.values(), strict=True):
            print("".join(f"{value:>10.3f}" for value in row))
        print(
            f"{found.rows} network rows and {found.simulations} measurements a picture, "
            f"{found.vjps} products of gradients, {found.seconds:.1f} s"
        )

    def _draw(self, measured: Measurement, found: Recovery, numbers: list[int]) -> None:
        members = found.members[:, : self.count]
        seen = measured.degradation.picture(measured.y)
        rows = [
            [truth, y, every.mean(0), *some]
            for truth, y, every, some in zip(
                measured.truth, seen, found.members, members, strict=True
            )
        ]
        drawn = [str(i + 1) for i in range(members.shape[1])]
        columns = ["truth", "measured", "mean", *drawn]
        title = f"{self.method} of {self.operator}, noise {self.noise:g}"
        names = [f"{number} " for number in numbers]
        draw_grid(rows, columns, names, self.out / "grid.png", title)

    def _check(self) -> None:
        require_method(self.method)
        if self.count < 1 or self.threads < 0 or self.seed < 0:
            raise ValueError(
                f"give at least 1 picture to draw, and a seed and threads of at least 0, got "
                f"{self.count}, {self.seed} and {self.threads}"
            )
