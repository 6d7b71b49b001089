"""Scenes to train on: made ones, a fold of ETH/UCY, or files."""

from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from domains.trajectory.batch import Window
from domains.trajectory.scene import Scene
from domains.trajectory.sources import generated, is_made, open_scenes

HELD_OUT = 1_000_003  # added to the seed of generated scenes that are kept for testing


@dataclass(frozen=True)
class Scenes:
    """What to train on."""

    source: str = "mixed"
    """A kind of the built-in generator (mixed, highway, crossing, plaza), ``highway-env:ENV_ID``,
    ``FOLDER:FOLD`` for the training part of a fold of ETH/UCY, or files as of the other commands.
    """
    count: int = 4_000
    """Generated scenes."""
    held_out: int = 200
    """Generated scenes that are kept to measure the loss."""
    seed: int = 0
    """Of the generator."""

    def load(self, window: Window) -> tuple[list[Scene], list[Scene]]:
        """Return the scenes to train on, and those held out: for files the last tenth.

        Windows of one recording overlap, so those that share a frame with what is held out, as
        many as a window has frames, are in neither part.

        Raises:
            ValueError: for a source that cannot be read or has too few scenes.
        """
        if is_made(self.source):
            return self._generated(self.count, self.seed, window), self._generated(
                self.held_out, self.seed + HELD_OUT, window
            )
        folder, _, fold = self.source.partition(":")
        if fold:
            from domains.trajectory.readers.eth_ucy import training_windows

            root = Path(folder)
            return training_windows(root, fold), training_windows(root, fold, "val")
        found = open_scenes(self.source, count=0, window=window)
        end = len(found) - len(found) // 10
        kept = found[: max(end - _shared(self.source), 0)]
        if len(found) < 10 or not kept:
            raise ValueError(f"{self.source} holds {len(found)} scenes, too few to train on")
        return kept, found[end:]

    def _generated(self, count: int, seed: int, window: Window) -> list[Scene]:
        if count < 1:
            raise ValueError(f"training needs 1 or more generated scenes, got {count}")
        scenes = generated(self.source, count, seed, window)
        return list(tqdm(scenes, total=count, desc="generating", unit="scene"))

    def few(self) -> "Scenes":
        """Return a handful of the same, for smoke tests."""
        return replace(self, count=12, held_out=4)


def _shared(source: str) -> int:
    """Return how many scenes before one may share a frame with it: none of other files."""
    from domains.trajectory.readers.eth_ucy import FUTURE, HISTORY

    return HISTORY + FUTURE if source.endswith(".txt") else 0
