"""recover-flow: initial vorticity from later, coarse and noisy points, the solver a black box."""

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from domains.image.flow.fields import FieldConfig, held_out_fields
from domains.image.flow.inverse import (
    METHODS,
    STARTS,
    Measurement,
    Setting,
    Settings,
    measured,
    scores,
    stream,
)
from domains.image.flow.model import SHIPPED, load_model
from domains.image.flow.plots import recovered
from guided import Autocast, Denoiser
from guided.results import require_writable, versions, write_json


@dataclass(frozen=True)
class End:
    """Where a method ended, for another to move on from; with the seconds that it took."""

    given: Setting
    seconds: float


@dataclass(frozen=True)
class RecoverFlow:
    """Recover initial fields of a Kolmogorov flow with every method, and score the ensembles."""

    methods: tuple[str, ...] = tuple(METHODS)
    """Methods by name."""
    noise: tuple[float, ...] = (0.1, 1.0)
    """Standard deviations of the measurement, in units of the standardised field."""
    time: float = 1.0
    """How long the flow moves before it is measured."""
    count: int = 2
    """Test fields."""
    seed: int = 0
    """Seed of the test fields and of all draws."""
    settings: Annotated[Settings, tyro.conf.arg(name="")] = field(default_factory=Settings)
    """How to recover."""
    checkpoint: Path = SHIPPED
    """Folder of the prior."""
    workers: int = 1
    """Processes that simulate."""
    threads: int = 0
    """Processor threads; 0 is PyTorch's choice."""
    precision: str = "bf16"
    """Arithmetic of the network: bf16 or fp32."""
    json: Path | None = None
    """Write all figures to this file."""
    figures: Path | None = None
    """Write a picture of the first field at every noise into this folder."""
    quick: bool = False
    """Eight members, few steps, one field: a smoke test, not a result."""

    def run(self) -> None:
        """Recover and print.

        Raises:
            ValueError: for an unknown method or precision, or numbers out of range.
        """
        self._check()
        require_writable(self.json, self.figures and self.figures / "flow.png")
        if self.threads:
            torch.set_num_threads(self.threads)
        denoiser, config = load_model(self.checkpoint)
        prior: Denoiser = Autocast(denoiser) if self.precision == "bf16" else denoiser
        count = 1 if self.quick else self.count
        flows = FieldConfig(size=config.size, trajectories=count, seed=self.seed)
        if self.quick:
            flows = replace(flows, burn_in=2.0, snapshots=1)
        truths = held_out_fields(flows)[:, None] / config.std
        began, rows = time.perf_counter(), []
        for noise in self.noise:
            rows += self._recovered(prior, truths, config.std, noise)
        if self.json is not None:
            options = {k: v for k, v in asdict(self).items() if not isinstance(v, Path)}
            seconds = round(time.perf_counter() - began, 1)
            figures = {"options": options, "rows": rows, "versions": versions()}
            write_json(self.json, {**figures, "seconds": seconds})

    def _recovered(
        self, prior: Denoiser, truths: Tensor, std: float, noise: float
    ) -> list[dict[str, Any]]:
        """Return the mean figures of every method at one noise, and draw the first field."""
        print(f"\nT = {self.time:g}, noise {noise:g}, {len(truths)} fields")
        print(f"{'':16}{'Rel-L2':>8}{'CRPS':>8}{'SSR':>7}{'sweeps':>8}{'s':>8}")
        drawn: dict[str, Tensor] = {}
        ends: dict[tuple[str, int], End] = {}
        rows: list[dict[str, Any]] = []
        for name in self.methods:
            found = []
            for index, truth in enumerate(truths):
                start = ends.get((STARTS.get(name, ""), index))
                if start is None:
                    start = self._start(prior, truth, std, noise, name, index)
                ends[name, index], figures = self._once(start, name, index)
                members = ends[name, index].given.found
                assert members is not None
                found.append(figures)
                if index == 0:
                    drawn[name] = members
            row = {k: fmean(f[k] for f in found) for k in found[0]}
            rows.append({"method": name, "noise": noise, "time": self.time, **row, "each": found})
            print(
                f"{name:16}{row['rel_l2']:>8.3f}{row['crps']:>8.3f}{row['ssr']:>7.2f}"
                f"{row['sweeps']:>8.0f}{row['seconds']:>8.1f}",
                flush=True,
            )
        if self.figures is not None:
            seen = self._measured(truths[0], std, noise, 0).seen
            path = self.figures / f"flow-{noise:g}.png"
            recovered(truths[0], seen, drawn, path, f"T = {self.time:g}, noise {noise:g}")
        return rows

    def _start(
        self, prior: Denoiser, truth: Tensor, std: float, noise: float, name: str, index: int
    ) -> End:
        settings = self.settings
        if self.quick:
            settings = replace(settings, members=8, steps=4, levels=3, moves=2, walk=3)
        rng = stream(self.seed, index, 1 + sum(STARTS.get(name, name).encode()))
        return End(Setting(prior, self._measured(truth, std, noise, index), settings, rng), 0.0)

    def _once(self, start: End, name: str, index: int) -> tuple[End, dict[str, float]]:
        given, began = start.given, time.perf_counter()
        members = given.measurement.truth[None]
        for x0 in tqdm(METHODS[name](given), desc=f"{name}, field {index + 1}", leave=False):
            members = x0
        seconds = start.seconds + time.perf_counter() - began
        figures = scores(members, given.measurement.truth)
        figures |= {"sweeps": given.measurement.tally.rows / given.settings.members}
        return End(replace(given, found=members), seconds), {**figures, "seconds": seconds}

    def _measured(self, truth: Tensor, std: float, noise: float, index: int) -> Measurement:
        rng = stream(self.seed, index, 0)
        return measured(truth, std, self.time, noise, rng, self.workers)

    def _check(self) -> None:
        for name in self.methods:
            if name not in METHODS:
                raise ValueError(f"unknown method {name!r}; expected {', '.join(METHODS)}")
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"unknown precision {self.precision!r}; expected bf16 or fp32")
        if self.threads < 0:
            raise ValueError(f"--threads must be at least 0, got {self.threads}")
        settings = self.settings
        least = min(settings.steps, settings.levels, settings.walk, settings.moves)
        if settings.members < 4 or least < 1 or self.workers < 1:
            raise ValueError(
                f"give at least 4 members and 1 step, level, denoising step, move and worker, got "
                f"{settings} and {self.workers} workers"
            )
        if self.count < 1 or self.time <= 0 or min(self.noise, default=0) <= 0:
            raise ValueError(
                f"give at least 1 field, a time and noises above 0, got {self.count}, {self.time} "
                f"and {self.noise}"
            )
