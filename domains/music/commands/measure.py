"""rules: measure any MIDI file."""

from dataclasses import asdict, dataclass
from pathlib import Path

import tyro

from domains.music.commands.options import Asking
from domains.music.midi import read_midi
from domains.music.report import findings, table
from domains.music.roll import Grid, Rolls
from domains.music.rules import RULES, make_rule
from domains.music.span import whole_bars
from guided.results import require_writable, versions, write_json


@dataclass(frozen=True)
class Measure(Asking):
    """Measure every rule on a MIDI file; with --rule, the errors too."""

    file: tyro.conf.Positional[Path] = Path()
    """MIDI file."""
    json: Path | None = None
    """Write the figures to this file."""

    def run(self) -> None:
        """Measure and print."""
        require_writable(self.json)
        roll = whole_bars(read_midi(self.file, Grid()))
        rolls = Rolls.stack([roll])
        rules = self.rules(roll.columns, roll.tempo)
        measured = {name: make_rule(name) for name in RULES}
        found = {name: rule.show(rule.measure(rolls)[0]) for name, rule in measured.items()}
        print(table([["rule", "found"], *([name, text] for name, text in found.items())]))
        errors = findings(rules, rolls)[0] if rules else {}
        if errors:
            rows = [[name, f"{e.error:.4g}", e.asked] for name, e in errors.items()]
            print("\n" + table([["rule", "error", "asked"], *rows]))
        if self.json is not None:
            figures = {
                "file": self.file.name,
                "columns": roll.columns,
                "found": found,
                "errors": {name: asdict(e) for name, e in errors.items()},
                "versions": versions(),
            }
            write_json(self.json, figures)
