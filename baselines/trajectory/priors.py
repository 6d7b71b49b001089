"""``python -m baselines.trajectory.priors FOLDER``: fewer network calls by the fitted prior.

A run with the optimal Gaussian prior starts at T with 10 T calls, and one with the vanilla prior in
pure noise with as many. Both predictors have the same networks and the same training.

Source: Wang et al. 2024, Optimizing diffusion models for joint trajectory prediction and
    controllable generation, section 4.2, where T is 40, 70 or 100 of 100 steps, of stride 10.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from tqdm import tqdm

from baselines.trajectory.bootstrap import Interval, difference
from baselines.trajectory.curve import Curves, draw
from baselines.trajectory.runs import STANDARD, Runs, require_folds
from baselines.trajectory.scoring import FIGURES, Errors, errors, mean
from domains.trajectory.model import Prior
from domains.trajectory.predict import Sampling, predict
from domains.trajectory.scene import Scene
from guided.command import in_words
from guided.results import require_writable, versions, write_json

STARTS: dict[int, float] = {2: 0.2, 4: 0.4, 7: 0.7, 10: 1.0}  # T of the fitted prior, by calls
Setting = tuple[Prior, int]  # and calls
Found = dict[str, dict[Setting, Errors]]  # of every fold
PRIORS: tuple[Prior, ...] = ("ogd", "vanilla")
SETTINGS: list[Setting] = [(prior, calls) for prior in PRIORS for calls in STARTS]
OURS: Setting = ("ogd", 4)  # whose difference is told
THEIRS: Setting = ("vanilla", 10)


@dataclass(frozen=True)
class Priors:
    """Score both priors at several numbers of calls; trains what is missing."""

    data: Annotated[Path, tyro.conf.Positional]
    """The folder of the ETH/UCY text files."""
    folds: tuple[str, ...] = STANDARD
    """Scenes to test on."""
    seeds: tuple[int, ...] = (0,)
    """Of the trainings, and of the noise."""
    runs: Path = Path("runs/eth-ucy")
    """Folder of everything that is trained: that of the comparison."""
    samples: int = 20
    """K, all that are drawn."""
    count: int = 0
    """At most so many test windows of a fold, evenly chosen; 0 = all."""
    json: Path | None = None
    """Write all figures to this file."""
    picture: Path | None = None
    """Draw JADE and JFDE against network calls."""
    threads: int = 1
    """Processor threads."""
    quick: bool = False
    """Hardly any training, four windows of a fold: a smoke test, not a result."""

    def run(self) -> None:
        """Sample, score, print.

        Raises:
            ValueError: for unknown folds, numbers out of range, or files that are missing.
        """
        require_folds(self.folds, self.seeds)
        if min(self.samples, self.threads) < 1 or self.count < 0:
            raise ValueError(
                f"give samples and threads of at least 1 and a count of 0 or more, got "
                f"{self.samples}, {self.threads} and {self.count}"
            )
        require_writable(self.json, self.picture, self.runs / "any")
        torch.set_num_threads(self.threads)
        began, runs = time.perf_counter(), Runs(self.data, self.runs, self.quick)
        found = {fold: self._fold(runs, fold) for fold in self.folds}
        gaps = {fold: difference([own[OURS]], [own[THEIRS]]) for fold, own in found.items()}
        ours, theirs = ([own[s] for own in found.values()] for s in (OURS, THEIRS))
        gaps["mean of folds"] = difference(ours, theirs)
        print(text(found, gaps))
        if self.picture is not None:
            draw(curves(found), self.picture, f"ETH/UCY, best of {self.samples}, mean of folds")
        if self.json is not None:
            options = {k: v for k, v in asdict(self).items() if not isinstance(v, Path)}
            seconds = round(time.perf_counter() - began, 1)
            about = {"versions": versions(), "options": options, "seconds": seconds}
            write_json(self.json, {**about, **plain(found, gaps)})

    def _fold(self, runs: Runs, fold: str) -> dict[Setting, Errors]:
        """Return the errors of every setting on one fold, the mean over seeds."""
        scenes = runs.tests(fold, self.count)
        found: dict[Setting, list[Errors]] = {setting: [] for setting in SETTINGS}
        for seed in self.seeds:
            for setting in SETTINGS:
                found[setting].append(self._errors(runs, fold, seed, setting, scenes))
        return {setting: mean(each) for setting, each in found.items()}

    def _errors(
        self, runs: Runs, fold: str, seed: int, setting: Setting, scenes: list[Scene]
    ) -> Errors:
        prior, calls = setting
        predictor = runs.predictor(fold, seed, prior)
        how = Sampling(self.samples, calls, STARTS[calls] if prior == "ogd" else 1.0, seed)
        forecasts = tqdm(
            predict(predictor, scenes, how),
            total=len(scenes),
            desc=f"{fold}, seed {seed}, {prior}, {calls} calls",
            unit="scene",
        )
        return errors(forecasts)


def text(found: Found, gaps: dict[str, Interval]) -> str:
    """Return the figures of every setting and fold, and the difference that matters."""
    head = f"{'':26}" + "".join(f"{fold:>15}" for fold in [*found, "mean of folds"])
    lines = [head]
    for title, first in (("JADE / JFDE, metres", 2), ("ADE / FDE, metres", 0)):
        lines.append(f"\n{title}")
        for setting in SETTINGS:
            prior, calls = setting
            start = STARTS[calls] if prior == "ogd" else 1.0
            means = np.stack([own[setting].means() for own in found.values()])
            pairs = [*means, means.mean(0)]
            cells = (f"{pair[first]:.3f} / {pair[first + 1]:.3f}" for pair in pairs)
            name = f"{prior}, T = {start:g}, {calls} calls"
            lines.append(f"{name:26}" + "".join(f"{cell:>15}" for cell in cells))
    lines.append("\nogd, 4 calls, less vanilla, 10 calls; metres, 95 % intervals over windows")
    lines.append(f"{'':14}" + "".join(f"{name.upper():>29}" for name in FIGURES))
    for fold, gap in gaps.items():
        cells = (f"{v:+.4f} ({a:+.4f} to {b:+.4f})" for v, a, b in zip(*gap, strict=True))
        lines.append(f"{fold:14}" + "".join(f"{cell:>29}" for cell in cells))
    return "\n".join(lines)


def curves(found: Found) -> Curves:
    """Return JADE and JFDE, the mean over folds, of each prior by its calls."""
    kept: Curves = {"JADE": {}, "JFDE": {}}
    for name, own in kept.items():
        for prior, calls in SETTINGS:
            means = [errors[prior, calls].means() for errors in found.values()]
            value = float(np.mean(means, axis=0)[FIGURES.index(name.lower())])
            own.setdefault(prior, []).append((calls, value))
    return kept


def plain(found: Found, gaps: dict[str, Interval]) -> dict[str, Any]:
    """Return all figures as JSON can hold them."""
    rows = [
        {
            "fold": fold,
            "prior": prior,
            "calls": calls,
            "windows": len(one.counts),
            "people": int(one.counts[:, 0].sum()),
            **dict(zip(FIGURES, one.means().tolist(), strict=True)),
        }
        for fold, own in found.items()
        for (prior, calls), one in own.items()
    ]
    told = {
        fold: {
            name: {"value": v, "low": low, "high": high}
            for name, v, low, high in zip(FIGURES, *(p.tolist() for p in gap), strict=True)
        }
        for fold, gap in gaps.items()
    }
    return {"rows": rows, "differences": told}


def main(args: list[str] | None = None) -> None:
    """Run the command; a user's mistake is one sentence and exit status 1."""
    with in_words("priors", "stopped; what is trained is kept"):
        tyro.cli(Priors, prog="python -m baselines.trajectory.priors", args=args).run()


if __name__ == "__main__":
    main()
