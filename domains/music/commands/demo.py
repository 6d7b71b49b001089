"""demo: the same model with and without rules, in sound, pictures and a table."""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from domains.music.asking import ask
from domains.music.commands.options import positive, progress
from domains.music.compose import Composer, Settings
from domains.music.model import SHIPPED
from domains.music.output import staged, write_clips
from domains.music.plots import Panel, compare
from domains.music.report import findings, overlays, table
from domains.music.roll import Grid, Rolls
from guided.energy import WeightedSum
from guided.results import require_writable, versions, write_json

RULES = ("chord_progression=I-V-vi-IV", "note_density=vertical:4,horizontal:8")
WEIGHTS = ("chord_progression=8", "note_density=1")


@dataclass(frozen=True)
class Demo:
    """Compose four clips that obey a chord progression and a note density, and four that do not."""

    out: Path = Path("demo")
    """Folder for the results."""
    count: int = 4
    """Clips of each kind."""
    seed: int = 0
    """Seed; guided and unguided clips start from the same noise."""
    candidates: int = 16
    """Candidates of a guided step."""
    steps: int = Settings.steps
    """Denoising steps."""
    tempo: float = 90.0
    """Beats a minute."""
    checkpoint: Path = SHIPPED
    """Folder of the model."""
    json: Path | None = None
    """Write all figures to this file too (they are in report.json of the folder)."""
    quick: bool = False
    """One clip, few steps: a smoke test, not a result."""

    def run(self) -> None:
        """Compose, write, and print the table."""
        positive("--count", self.count)
        positive("--steps", self.steps)
        require_writable(self.json)
        count, steps = (1, 8) if self.quick else (self.count, self.steps)
        rules = ask(RULES, WEIGHTS, 128, tempo=self.tempo)
        assert rules is not None
        settings = Settings(candidates=self.candidates, steps=steps)
        composer = Composer.load(self.checkpoint, settings)
        start = time.perf_counter()
        with staged(self.out) as folder:
            made = {}
            for name, one in (
                ("unguided", replace(composer, settings=replace(settings, method="none"))),
                ("guided", composer),
            ):
                with progress(one, rules, name) as on_step:
                    made[name] = one.compose(rules, count=count, seed=self.seed, on_step=on_step)
                pieces = made[name].rolls(Grid(), self.tempo)
                write_clips(folder, name, pieces, made[name], rules=rules)
            compare(_panels(made, rules, self.tempo), folder / "compare.png", "unguided and guided")
            text, figures = _figures(made, rules)
            figures |= {
                "options": {k: str(v) for k, v in asdict(self).items()},
                "seconds": round(time.perf_counter() - start, 1),
                "versions": versions(),
            }
            write_json(folder / "report.json", figures)
            if self.json is not None:
                write_json(self.json, figures)
        print(text)
        print(f"wrote {2 * count} clips, compare.png and report.json to {self.out}")


def _panels(made: dict[str, Rolls], rules: WeightedSum, tempo: float) -> list[Panel]:
    panels = []
    for name, rolls in made.items():
        labels, curves = overlays(rules, rolls, 0)
        panels.append(Panel(rolls.rolls(Grid(), tempo)[0], f"{name}, clip 1", labels, curves))
    return panels


def _figures(made: dict[str, Rolls], rules: WeightedSum) -> tuple[str, dict[str, Any]]:
    """Return the table of mean errors, and every clip's errors."""
    found = {name: findings(rules, rolls) for name, rolls in made.items()}
    rows = [["rule", "asked", *found, "unguided / guided"]]
    for rule in rules.terms:
        means = [sum(c[rule].error for c in clips) / len(clips) for clips in found.values()]
        ratio = f"{means[0] / means[1]:.1f}" if means[1] > 0 else "all obeyed"
        asked = found["guided"][0][rule].asked
        rows.append([rule, _short(asked), *(f"{m:.4g}" for m in means), ratio])
    clips = {n: [{r: asdict(f) for r, f in c.items()} for c in cs] for n, cs in found.items()}
    return table(rows), {"weights": rules.weights, "clips": clips}


def _short(text: str, most: int = 44) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
