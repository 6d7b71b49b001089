r"""``guided-bench cep``: learned and closed-form guidance beside the exact one.

Three tables, of targets p(x0) exp(-E(x0)) whose noised law is known at every level.

contrast  The prior N(0, 1) with E = 2 (x - 1.5)^2 on ``VPLinear`` at t = 0.4, where the guidance is
          a line. Slope and intercept that minimise each contrast of K samples, over several fits:
          the mean and its standard error. A contrast is right if it finds the exact line.
samples   Mean and variance of samples under three energies in closed form: the exact one, the mean
          of E given x_t (what a regression learns) and E of the clean estimate (as in DPS), by
          DPM++ 2M on ``VPLinear``. Nothing is random or trained: what is off is the energy, or
          with few steps the solver.
field     Relative error of the guidance, in root mean square over the noised target, of energy nets
          trained on each target of the loss, on ``Cosine``. Last, the two rivals in closed form:
          the best that training could make of them.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from tqdm import tqdm

from guided.bench.rivals import MeanEnergy, PointEnergy
from guided.bench.tilts import (
    GAUSSIAN,
    LINE,
    PLANE,
    Tilt,
    field_error,
    fitted_line,
    moments,
    training,
    untrained,
)
from guided.guidance import EnergyNet, NoisyEnergy
from guided.guidance.denoise.cep import Target
from guided.results import require_writable, versions, write_json
from guided.rng import stream_seed
from guided.schedule import Cosine, VPLinear, log_snr, uniform
from guided.train import TrainConfig

AT = 0.4  # the time of the contrasts
SIZES = (2, 4, 16, 64)  # K of the contrasts
STEPS = (15, 30, 200)
TIMES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
TILTS = {"1-D Gaussian": GAUSSIAN, "1-D mixture": LINE, "2-D mixture": PLANE}
ENERGIES: dict[str, Callable[[Tilt], NoisyEnergy]] = {
    "exact": lambda tilt: tilt.exact(),
    "mean": lambda tilt: MeanEnergy(tilt.prior, tilt.energy),
    "point": lambda tilt: PointEnergy(tilt.prior, tilt.energy),
}
GRIDS: dict[str, Callable[[int], list[float]]] = {
    "uniform": uniform,
    "log-SNR": lambda steps: log_snr(VPLinear(), steps),
}
Row = dict[str, Any]


@dataclass(frozen=True)
class Contrast:
    """Compare learned and closed-form guidance with the exact one."""

    targets: tuple[Target, ...] = get_args(Target)
    """Targets of the energy nets."""
    steps: int = 2500
    """Optimisation steps of every net."""
    batch: int = 128
    """Contrasts a step."""
    candidates: int = 16
    """Samples in a contrast, K, of the nets."""
    points: int = 2**19
    """Samples of a fit of slope and intercept."""
    fits: int = 8
    """Such fits, of which mean and standard error are printed."""
    threads: int = 1
    """Processor threads."""
    seed: int = 0
    """Of all draws."""
    json: Path | None = None
    """Write all figures to this file."""
    quick: bool = False
    """Few samples and steps: a smoke test, not a result."""

    def run(self) -> None:
        """Measure and print.

        Raises:
            ValueError: for numbers out of range.
        """
        if self.points < 1024 or self.fits < 2 or min(self.steps, self.batch, self.threads) < 1:
            raise ValueError(
                f"give at least 1024 points, 2 fits, 1 step, a batch of 1 and 1 thread, got "
                f"{self.points}, {self.fits}, {self.steps}, {self.batch} and {self.threads}"
            )
        if self.candidates < 2:
            raise ValueError(f"a contrast needs at least 2 candidates, got {self.candidates}")
        require_writable(self.json)
        torch.set_num_threads(self.threads)
        began = time.perf_counter()
        figures: dict[str, Any] = {
            "contrast": list(self._contrasts()),
            "samples": list(self._samples()),
            "field": list(self._fields()),
        }
        if self.json is not None:
            options = {k: v for k, v in asdict(self).items() if k != "json"}
            seconds = round(time.perf_counter() - began, 1)
            about = {"options": options, "versions": versions(), "seconds": seconds}
            write_json(self.json, {**figures, **about})

    def _contrasts(self) -> Iterator[Row]:
        points, fits = (2**14, 2) if self.quick else (self.points, self.fits)
        edges = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        low, high = GAUSSIAN.guidance(edges, VPLinear().level(AT))[:, 0].tolist()
        print(
            f"slope and intercept of the guidance at t = {AT}, n = {fits} fits of {points} samples"
        )
        print(f"{'K':>5}  {'contrast':10}{'slope':>18}{'intercept':>18}")
        print(f"{'':>5}  {'exact':10}{high - low:>10.4f}{'':8}{low:>10.4f}")
        yield {"contrast": "exact", "slope": high - low, "intercept": low}
        cases = [(K, target) for K in SIZES for target in ("self", "raw")]
        for K, target in tqdm(cases, unit="fit", leave=False):
            seeds = [stream_seed(self.seed, K, i) for i in range(fits)]
            lines = torch.tensor([fitted_line(target, K, AT, points, s) for s in seeds])
            slope, intercept = lines.mean(0).tolist()
            errors = (lines.std(0) / fits**0.5).tolist()
            row = {"contrast": target, "K": K, "slope": slope, "intercept": intercept}
            cells = f"{slope:>10.4f} ±{errors[0]:.4f}{intercept:>10.4f} ±{errors[1]:.4f}"
            _say(f"{K:>5}  {target:10}{cells}")
            yield row | {"slope_error": errors[0], "intercept_error": errors[1]}

    def _samples(self) -> Iterator[Row]:
        n = 33 if self.quick else 1025
        for name, tilt in TILTS.items():
            if tilt.prior.shape != (1,):
                continue
            exact = {"mean": tilt.target.mean().item(), "variance": tilt.target.cov().item()}
            print(f"\n{name}: mean and variance of samples, {_pair(**exact)} exact")
            print(f"{'steps':>5}  {'grid':10}" + "".join(f"{e:>18}" for e in ENERGIES))
            for steps in STEPS[: 2 if self.quick else None]:
                for grid, times in GRIDS.items():
                    found = {}
                    for kind, energy in ENERGIES.items():
                        mean, variance = moments(tilt, energy(tilt), times(steps), n)
                        found[kind] = {"mean": mean, "variance": variance}
                    cells = "".join(f"{_pair(**law):>18}" for law in found.values())
                    print(f"{steps:>5}  {grid:10}{cells}")
                    yield {"tilt": name, "steps": steps, "grid": grid, "target": exact, **found}

    def _fields(self) -> Iterator[Row]:
        steps = min(self.steps, 40) if self.quick else self.steps
        config = TrainConfig(
            steps=steps,
            batch=self.batch,
            lr=1e-2,
            warmup=50,
            weight_decay=0.0,
            ema=0.998,
            log_every=min(20, steps),
            seed=self.seed,
        )
        for name in ("1-D mixture", "2-D mixture"):
            tilt = TILTS[name]
            times = "".join(f"{f't = {t:g}':>10}" for t in TIMES)
            print(f"\n{name}: relative error of the guidance\n{'energy':22}{times}")
            for target in self.targets:
                began = time.perf_counter()
                errors = self._errors(tilt, self._trained(tilt, target, config))
                _say(_line(f"learned, {target}", errors))
                seconds = round(time.perf_counter() - began, 1)
                yield {"tilt": name, "target": target, "errors": errors, "seconds": seconds}
            for kind in ("mean", "point"):
                errors = self._errors(tilt, ENERGIES[kind](tilt))
                _say(_line(f"{kind}, in closed form", errors))
                yield {"tilt": name, "closed_form": kind, "errors": errors}

    def _trained(self, tilt: Tilt, target: Target, config: TrainConfig) -> EnergyNet:
        model = untrained(tilt, Cosine(), config.seed)
        with tqdm(total=config.steps, desc=target, unit="step", leave=False) as bar:
            for done in training(model, tilt, target, config, self.candidates):
                bar.update(done - bar.n)
        return model

    def _errors(self, tilt: Tilt, energy: NoisyEnergy) -> dict[str, float]:
        n, seed = (256 if self.quick else 8192), stream_seed(self.seed, 1)
        return {f"{t:g}": field_error(tilt, energy, Cosine().level(t), n, seed) for t in TIMES}


def _pair(mean: float, variance: float) -> str:
    return f"{mean:.3f} / {variance:.4f}"


def _line(label: str, errors: dict[str, float]) -> str:
    return f"{label:22}" + "".join(f"{error:>9.1%} " for error in errors.values())


def _say(text: str) -> None:
    with tqdm.external_write_mode():
        print(text, flush=True)
