"""train: the command that made the shipped checkpoint, resumable."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from domains.music.data.chorales import chorales
from domains.music.data.corpus import Corpus
from domains.music.data.folder import folder as midi_folder
from domains.music.data.pop909 import pop909
from domains.music.train import MusicTraining, held_out_loss, run_training, ship
from guided.progress import finished


@dataclass(frozen=True)
class Train:
    """Train the model on POP909 and the Bach chorales, or on any folder of MIDI files.

    Run the same command again to resume after an interruption.
    """

    out: Path = Path("runs/base")
    """Folder of the run; the finished model is in its folder ``model``."""
    pop909: Path | None = None
    """POP909, as a folder or a .tar.xz."""
    chorales: bool = True
    """Use the Bach chorales that come with music21, as the second corpus."""
    midi: Path | None = None
    """A folder of MIDI files in place of POP909."""
    cache: Path = Path("runs/cache")
    """Folder of parsed corpora."""
    config: Annotated[MusicTraining, tyro.conf.arg(name="")] = field(default_factory=MusicTraining)
    """Model and optimisation."""
    quick: bool = False
    """Twenty steps of eight clips: a smoke test."""

    def run(self) -> None:
        """Train, then write the model."""
        corpus = self._corpus()
        config = self.config
        if self.quick:
            loop = replace(config.loop, steps=20, batch=8, warmup=5, save_every=10, log_every=5)
            config = replace(config, loop=loop)
        state = finished(run_training(corpus, config, self.out), config.loop.steps)
        loss = held_out_loss(state.ema, corpus, config)
        ship(self.out / "model", config, state, held_out_loss=loss)
        print(f"held-out loss {loss:.4f}; wrote {self.out / 'model'}")

    def _corpus(self) -> Corpus:
        if self.pop909 is not None and self.midi is not None:
            raise ValueError("give --pop909 or --midi, not both: each is the first corpus")
        parts = []
        if self.pop909 is not None:
            parts.append(pop909(self.pop909, self.cache))
        if self.midi is not None:
            parts.append(midi_folder(self.midi, self.cache))
        if self.chorales:
            parts.append(chorales(self.cache, jobs=-1))
        if not parts:
            raise ValueError("nothing to train on; give --pop909, --midi or --chorales")
        for part in parts:
            for name, reason in part.skipped:
                tqdm.write(f"skipped {name}: {reason}")
        return Corpus.join(parts)
