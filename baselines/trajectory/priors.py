"""``python -m baselines.trajectory.priors FOLDER``: fewer network calls by the fitted prior.

A run with the optimal Gaussian prior starts at T with 10 T calls, or at 1 with as many, and one
with the vanilla prior in pure noise. Both predictors have the same networks and training.

Source: Wang et al. 2024, Optimizing diffusion models for joint trajectory prediction and
    controllable generation, section 4.2, where T is 40, 70 or 100 of 100 steps, of stride 10.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

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


class Setting(NamedTuple):
    """One way to draw samples: a prior, network calls, and the T of the start."""

    prior: Prior
    calls: int
    start: float

    @property
    def group(self) -> str:
        """Return the line of a picture that it belongs to."""
        late = "start at calls / 10" if self.start < 1 or self.calls == 10 else "start at 1"
        return self.prior if self.prior == "vanilla" else f"{self.prior}, {late}"


Found = dict[str, dict[Setting, Errors]]  # of every fold
SETTINGS = [
    *(Setting("ogd", calls, start) for calls, start in STARTS.items()),
    *(Setting("ogd", calls, 1.0) for calls in STARTS if calls < 10),
    *(Setting("vanilla", calls, 1.0) for calls in STARTS),
]
OURS = (Setting("ogd", 4, 0.4), Setting("ogd", 4, 1.0))  # whose differences are told
THEIRS = Setting("vanilla", 10, 1.0)
Gaps = dict[str, dict[str, Interval]]  # of one of ours, and every fold


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
        gaps = {f"ogd, T = {ours.start:g}, 4 calls": differences(found, ours) for ours in OURS}
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
        predictor = runs.predictor(fold, seed, setting.prior)
        how = Sampling(self.samples, setting.calls, setting.start, seed)
        forecasts = tqdm(
            predict(predictor, scenes, how),
            total=len(scenes),
            desc=f"{fold}, seed {seed}, {setting.prior}, {setting.calls} calls",
            unit="scene",
        )
        return errors(forecasts)


def differences(found: Found, ours: Setting) -> dict[str, Interval]:
    """Return by how much one of ours errs more than the vanilla prior, on every fold and all."""
    gaps = {fold: difference([own[ours]], [own[THEIRS]]) for fold, own in found.items()}
    first, second = ([own[setting] for own in found.values()] for setting in (ours, THEIRS))
    return {**gaps, "mean of folds": difference(first, second)}


def text(found: Found, gaps: Gaps) -> str:
    """Return the figures of every setting and fold, and the differences that matter."""
    head = f"{'':26}" + "".join(f"{fold:>15}" for fold in [*found, "mean of folds"])
    lines = [head]
    for title, first in (("JADE / JFDE, metres", 2), ("ADE / FDE, metres", 0)):
        lines.append(f"\n{title}")
        for setting in SETTINGS:
            means = np.stack([own[setting].means() for own in found.values()])
            pairs = [*means, means.mean(0)]
            cells = (f"{pair[first]:.3f} / {pair[first + 1]:.3f}" for pair in pairs)
            name = f"{setting.prior}, T = {setting.start:g}, {setting.calls} calls"
            lines.append(f"{name:26}" + "".join(f"{cell:>15}" for cell in cells))
    for ours, own_gaps in gaps.items():
        lines.append(f"\n{ours}, less vanilla, 10 calls; metres, 95 % intervals over windows")
        lines.append(f"{'':14}" + "".join(f"{name.upper():>29}" for name in FIGURES))
        for fold, gap in own_gaps.items():
            cells = (f"{v:+.4f} ({a:+.4f} to {b:+.4f})" for v, a, b in zip(*gap, strict=True))
            lines.append(f"{fold:14}" + "".join(f"{cell:>29}" for cell in cells))
    return "\n".join(lines)


def curves(found: Found) -> Curves:
    """Return JADE and JFDE, the mean over folds, of each prior and start by its calls."""
    kept: Curves = {"JADE": {}, "JFDE": {}}
    for name, own in kept.items():
        for setting in SETTINGS:
            means = [errors[setting].means() for errors in found.values()]
            value = float(np.mean(means, axis=0)[FIGURES.index(name.lower())])
            own.setdefault(setting.group, []).append((setting.calls, value))
    return kept


def plain(found: Found, gaps: Gaps) -> dict[str, Any]:
    """Return all figures as JSON can hold them."""
    rows = [
        {
            "fold": fold,
            **setting._asdict(),
            "windows": len(one.counts),
            "people": int(one.counts[:, 0].sum()),
            **dict(zip(FIGURES, one.means().tolist(), strict=True)),
        }
        for fold, own in found.items()
        for setting, one in own.items()
    ]
    told = {
        ours: {
            fold: {
                name: {"value": v, "low": low, "high": high}
                for name, v, low, high in zip(FIGURES, *(p.tolist() for p in gap), strict=True)
            }
            for fold, gap in own.items()
        }
        for ours, own in gaps.items()
    }
    return {"rows": rows, "differences": told}


def main(args: list[str] | None = None) -> None:
    """Run the command; a user's mistake is one sentence and exit status 1."""
    with in_words("priors", "stopped; what is trained is kept"):
        tyro.cli(Priors, prog="python -m baselines.trajectory.priors", args=args).run()


if __name__ == "__main__":
    main()
