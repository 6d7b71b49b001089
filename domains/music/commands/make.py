"""generate, infill, continue: the commands that write music."""

import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from domains.music.commands.options import Asking, Making, positive, progress, summary
from domains.music.midi import read_midi
from domains.music.output import staged, write_clips
from domains.music.roll import Grid, Roll, Rolls
from domains.music.span import WINDOW, Span, extend, infill
from guided.energy import WeightedSum
from guided.results import write_json


@dataclass(frozen=True)
class Generate(Making, Asking):
    """Compose from nothing, obeying rules."""

    bars: int = 8
    """Bars of a clip; the model was trained on 8."""
    tempo: float = 100.0
    """Beats a minute of the written files."""

    def run(self) -> None:
        """Compose, write and report."""
        positive("--bars", self.bars, 64)
        if not 10 <= self.tempo <= 400:
            raise ValueError(f"--tempo is 10 to 400 beats a minute, got {self.tempo}")
        columns = self.bars * Grid().columns_per_bar
        rules = self.rules(columns, self.tempo)
        composer = self.composer()
        with staged(self.out) as folder:
            start = time.perf_counter()
            with progress(composer, rules, "composing") as on_step:
                rolls = composer.compose(
                    rules,
                    count=self.count,
                    seed=self.seed,
                    columns=columns,
                    corpus=self.style,
                    on_step=on_step,
                )
            seconds = time.perf_counter() - start
            clips = rolls.rolls(Grid(), self.tempo)
            finish(self, folder, "clip", clips, rolls, rules, seconds)


@dataclass(frozen=True)
class Infill(Making, Asking):
    """Rewrite some bars of a piece; every other bar stays as it is."""

    file: tyro.conf.Positional[Path] = Path()
    """MIDI file."""
    bars: str = "5:8"
    """First and last bar to rewrite, counted from 1."""

    def run(self) -> None:
        """Rewrite, write and report; rules are judged on the eight bars around."""
        span = Span.of(read_midi(self.file, Grid()), *_bars(self.bars))
        rules = self.rules(WINDOW * Grid().columns_per_bar, span.piece.tempo)
        composer = self.composer()
        with staged(self.out) as folder:
            start = time.perf_counter()
            with progress(composer, rules, "infilling") as on_step:
                pieces = infill(
                    composer,
                    span,
                    rules,
                    count=self.count,
                    seed=self.seed,
                    corpus=self.style,
                    on_step=on_step,
                )
            judged = Rolls.stack([span.window(piece) for piece in pieces])
            finish(self, folder, "infill", pieces, judged, rules, time.perf_counter() - start)


@dataclass(frozen=True)
class Continue(Making, Asking):
    """Go on where a piece ends."""

    file: tyro.conf.Positional[Path] = Path()
    """MIDI file."""
    bars: int = 4
    """New bars; four at a time see the four before them."""

    def run(self) -> None:
        """Continue, write and report; rules are judged on the last eight bars."""
        positive("--bars", self.bars, 64)
        piece = read_midi(self.file, Grid())
        window = WINDOW * Grid().columns_per_bar
        rules = self.rules(window, piece.tempo)
        composer = self.composer()
        runs = self.count * -(-self.bars // (WINDOW // 2))
        with staged(self.out) as folder:
            start = time.perf_counter()
            with progress(composer, rules, "continuing", runs) as on_step:
                pieces = [
                    extend(
                        composer,
                        piece,
                        self.bars,
                        rules,
                        number=number,
                        seed=self.seed,
                        corpus=self.style,
                        on_step=on_step,
                    )
                    for number in range(self.count)
                ]
            judged = Rolls.stack([_last(piece, window) for piece in pieces])
            finish(self, folder, "continue", pieces, judged, rules, time.perf_counter() - start)


def finish(
    options: Making,
    folder: Path,
    stem: str,
    pieces: list[Roll],
    judged: Rolls,
    rules: WeightedSum | None,
    seconds: float,
) -> None:
    """Write all files into ``folder`` and print the table of errors."""
    write_clips(folder, stem, pieces, judged, rules=rules, sound=options.sound)
    text, figures = summary(options, rules, judged, seconds)
    write_json(folder / "report.json", figures)
    print(text)
    print(f"wrote {len(pieces)} pieces and report.json to {options.out} in {seconds:.1f} s")


def _bars(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    try:
        return int(first), int(last if colon else first)
    except ValueError:
        raise ValueError(f"--bars is first:last, such as 5:8, got {text!r}") from None


def _last(piece: Roll, columns: int) -> Roll:
    return piece.window(max(0, piece.columns - columns), min(columns, piece.columns))
