"""Options that several commands share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from tqdm import tqdm

from domains.music.asking import ask
from domains.music.compose import Composer, OnStep, Settings
from domains.music.model import SHIPPED
from domains.music.report import failures, findings, table
from domains.music.roll import Grid, Rolls
from guided.energy import WeightedSum
from guided.results import plain, versions
from guided.sampler import State

Texts = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]


@dataclass(frozen=True)
class Asking:
    """What the music has to obey."""

    rule: Texts = ()
    """A rule, name=target; repeat the flag for several. Names: pitch_histogram, note_density,
    chord_progression, chord_tones, chords, key, pitch_range, polyphony, rhythm, leap, parallels. A
    name alone copies its target from --like. Your own: path/to/file.py:function."""
    weight: Texts = ()
    """Weight of a rule, name=number; repeat for several."""
    like: Path | None = None
    """Copy targets from this MIDI file (of the three main rules, if none is named)."""
    workers: int = 1
    """Processes for your own rules."""
    timeout: float = 5.0
    """Seconds that one evaluation of your own rule may take."""

    def rules(self, columns: int, tempo: float) -> WeightedSum | None:
        """Return the rules as one energy of rolls; None for none."""
        return ask(
            self.rule,
            self.weight,
            columns,
            like=self.like,
            tempo=tempo,
            workers=self.workers,
            timeout=self.timeout,
        )


@dataclass(frozen=True)
class Making:
    """How music is made and where it goes."""

    out: Path = Path("out")
    """Folder for the .mid, .png and .wav files and report.json."""
    count: int = 1
    """How many."""
    seed: int = 0
    """Seed; number i of a seed is the same whatever the count."""
    corpus: Literal["pop909", "chorales", "any"] = "pop909"
    """Style."""
    sampling: Annotated[Settings, tyro.conf.arg(name="")] = field(default_factory=Settings)
    """How to sample."""
    sound: bool = True
    """Write .wav files."""
    checkpoint: Path = SHIPPED
    """Folder of the model."""
    threads: int = 0
    """Processor threads; 0 is PyTorch's choice."""

    @property
    def style(self) -> str | None:
        """The corpus; None for any."""
        return None if self.corpus == "any" else self.corpus

    def composer(self) -> Composer:
        """Load the model.

        Raises:
            ValueError: for a number out of range, or a broken checkpoint.
        """
        positive("--count", self.count)
        positive("--steps", self.sampling.steps)
        if self.threads:
            torch.set_num_threads(self.threads)
        return Composer.load(self.checkpoint, self.sampling)


def positive(option: str, value: int, most: int | None = None) -> None:
    """Refuse a number that is not 1 up.

    Raises:
        ValueError: in words.
    """
    if value < 1 or (most is not None and value > most):
        allowed = "at least 1" if most is None else f"1 to {most}"
        raise ValueError(f"{option} needs a number of {allowed}, got {value}")


@contextmanager
def progress(
    composer: Composer, rules: WeightedSum | None, title: str, runs: int = 1
) -> Iterator[OnStep]:
    """Show a bar whose text is the mean error of every rule, as the estimate stands."""
    with tqdm(total=runs * composer.settings.steps, desc=title, unit="step") as bar:

        def on_step(state: State) -> None:
            if rules is not None:
                estimate = state.x if state.prediction is None else state.prediction.x0
                errors = rules.report(composer.codec.expect(estimate))
                bar.set_postfix({name: f"{e.mean().item():.3g}" for name, e in errors.items()})
            bar.update()

        yield on_step


def summary(
    options: Any, rules: WeightedSum | None, rolls: Rolls, seconds: float
) -> tuple[str, dict[str, Any]]:
    """Return a run's table of errors, and all of its figures for report.json."""
    found = findings(rules, rolls) if rules else [{} for _ in rolls.velocity]
    rows = [["clip", "rule", "error", "found", "asked"]]
    for number, clip in enumerate(found, 1):
        for name, item in clip.items():
            rows.append([str(number), name, f"{item.error:.4g}", item.found, item.asked])
    failed = failures(rules)
    figures: dict[str, Any] = {
        "options": plain(asdict(options)),
        "weights": rules.weights if rules else {},
        "clips": [{name: asdict(item) for name, item in clip.items()} for clip in found],
        "failures": failed,
        "columns_per_bar": Grid().columns_per_bar,
        "seconds": round(seconds, 2),
        "versions": versions(),
    }
    text = table(rows) if rules else "no rules asked for"
    for name, kinds in failed.items():
        for kind, failure in kinds.items():
            text += f"\n{name}: {failure['count']} evaluations failed ({kind}): {failure['first']}"
    return text, figures
