"""generate: pictures of chosen classes under any guidance of the suite."""

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from tqdm import tqdm

from domains.image.generation import Generator, Sampling
from domains.image.grids import labels_in_turn, save_grid
from domains.image.model import SHIPPED
from guided.guidance.registry import Named
from guided.results import in_one_piece, plain, require_writable, versions, write_json


@dataclass(frozen=True)
class Generate:
    """Draw pictures and write them as one grid (PNG) and, if asked for, as an array."""

    out: Path = Path("out/pictures.png")
    """The grid."""
    count: int = 40
    """How many pictures."""
    classes: tuple[int, ...] = ()
    """Classes to draw, in turn; none = all of the model's."""
    columns: int = 10
    """Pictures side by side."""
    seed: int = 0
    """Seed; picture i of a seed is the same whatever the count."""
    named: Annotated[Named, tyro.conf.arg(name="")] = field(default_factory=Named)
    """Guidance."""
    sampling: Annotated[Sampling, tyro.conf.arg(name="")] = field(default_factory=Sampling)
    """How to sample."""
    checkpoint: Path = SHIPPED
    """Folder of the model."""
    weak: Path | None = None
    """Folder of a weaker model; None is the snapshot that the model's training kept."""
    classifier: Path | None = None
    """Folder of the classifier that may guide; None is the shipped one, for digits."""
    array: Path | None = None
    """Write the pictures (N, C, H, W) in [-1, 1] to this .npy file as well."""
    json: Path | None = None
    """Write the options and the cost to this file."""
    threads: int = 0
    """Processor threads; 0 is PyTorch's choice."""
    quick: bool = False
    """Ten pictures in four steps: a smoke test."""

    def run(self) -> None:
        """Draw and write.

        Raises:
            ValueError: for numbers out of range, an unknown guidance or class, or one that the
                model has no parts for.
        """
        if self.count < 1 or self.columns < 1:
            raise ValueError(
                f"give at least 1 picture and 1 column, got {self.count} and {self.columns}"
            )
        if self.threads < 0 or self.seed < 0:
            raise ValueError(
                f"give a seed and threads of at least 0, got {self.seed} and {self.threads}"
            )
        require_writable(self.out, self.array, self.json)
        if self.threads:
            torch.set_num_threads(self.threads)
        sampling = replace(self.sampling, steps=4) if self.quick else self.sampling
        count = min(self.count, 10) if self.quick else self.count
        generator = Generator.load(self.checkpoint, sampling, self.weak, self.classifier)
        names = generator.config.names
        labels = labels_in_turn(count, self.classes or range(len(names))) if names else None
        if labels is None and self.classes:
            raise ValueError("this model has no classes; drop --classes")
        (parts, evaluated), began = generator.counted(), time.perf_counter()
        with tqdm(total=sampling.steps, desc=self.named.guidance, unit="step") as bar:
            x0 = generator.sample(
                self.named,
                labels,
                seed=self.seed,
                count=count,
                parts=parts,
                on_step=lambda _: bar.update(),
            )
        seconds = time.perf_counter() - began
        save_grid(self.out, x0, self.columns)
        if self.array is not None:
            with in_one_piece(self.array) as part, part.open("wb") as file:
                np.save(file, x0.numpy())
        rows = evaluated() / count
        print(f"{count} pictures, {rows:.4g} network evaluations each, {seconds:.1f} s: {self.out}")
        if self.json is not None:
            ran = replace(self, sampling=sampling, count=count)
            figures = {
                "options": plain(asdict(ran)),
                "evaluations": rows,
                "seconds": round(seconds, 2),
            }
            write_json(self.json, {**figures, "versions": versions()})
