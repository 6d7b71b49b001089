"""The files of a training run, which survive a kill at any moment: ``resume.pt`` and ``log.jsonl``.

``resume.pt`` (weights, averages, optimisers; no pickled code) is replaced in one rename.
``log.jsonl`` has one line per yielded state; a resume drops the lines of steps it does again.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from guided.checkpoint import CheckpointError
from guided.results import write_json

Line = dict[str, float]


class RunFolder:
    """Keeps one training run.

    Args:
        folder: where; made if it is not there.
        config: the numbers of the run: only a run of the same config is continued.
        writes: False in processes that leave the writing to another.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], writes: bool = True) -> None:
        self.path, self.writes = folder / "resume.pt", writes
        self.config = json.dumps(dict(config))
        self._log = folder / "log.jsonl"
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the resumable state: tensors, numbers, strings, and dicts or lists of them."""
        if self.writes:
            part = self.path.with_name(".resume.part")
            torch.save({"config": self.config, **state}, part)
            part.replace(self.path)

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, on the CPU, and cut the log to it; None if nothing was saved.

        Raises:
            CheckpointError: for a damaged state, or one of another config.
        """
        if not self.path.exists():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            config = json.loads(state["config"])
        except Exception as error:  # torch raises many kinds for a damaged file
            raise CheckpointError(
                f"{self.path} is truncated or no training state ({type(error).__name__}); delete "
                f"it to start again"
            ) from None
        _require_same(self.path, json.loads(self.config), config)
        if self.writes:
            part = self._log.with_name(".log.part")
            part.write_text("".join(json.dumps(line) + "\n" for line in self.lines(state["step"])))
            part.replace(self._log)
        return state

    def log(self, line: Line) -> None:
        """Append a line, which needs the entry ``step``."""
        if self.writes:
            with self._log.open("a") as file:
                file.write(json.dumps(line) + "\n")

    def last_line(self, step: int) -> Line:
        """Return the last line of the log up to ``step``.

        Raises:
            CheckpointError: if there is none.
        """
        lines = self.lines(step)
        if not lines:
            raise CheckpointError(
                f"{self._log} is gone or empty; restore it, or delete {self.path}"
            )
        return lines[-1]

    def lines(self, step: int) -> list[Line]:
        """Return the lines of the log up to ``step``."""
        if not self._log.exists():
            return []
        # A kill may have cut the last line short.
        lines = [json.loads(x) for x in self._log.read_text().splitlines() if x.endswith("}")]
        return [line for line in lines if line["step"] <= step]


def claim(path: Path, config: Mapping[str, Any]) -> None:
    """Write what a folder is for to a JSON file in it, or check that it is for the same.

    Args:
        path: of the file; its folder is made.
        config: all that the content of the folder depends on, as JSON can hold it.

    Raises:
        CheckpointError: if the file is damaged, or holds another configuration.
    """
    mine = json.loads(json.dumps(config))
    if path.exists():
        try:
            theirs = dict(json.loads(path.read_text()))
        except (ValueError, TypeError):
            raise CheckpointError(
                f"{path} is truncated or no configuration; delete {path.parent} to start again"
            ) from None
        _require_same(path.parent, mine, theirs)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, mine)


def _require_same(place: Path, mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    own, other = _flat(mine), _flat(theirs)
    changed = sorted(k for k in own.keys() | other.keys() if own.get(k) != other.get(k))
    if changed:
        differ = ", ".join(f"{k} {other.get(k)!r}, not {own.get(k)!r}" for k in changed)
        raise CheckpointError(
            f"{place} belongs to a run with another configuration ({differ}); use another folder, "
            f"or delete it to start again"
        )


def _flat(tree: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """Return the leaves of nested dicts by dotted names."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{name}{key}.") if isinstance(value, dict) else {name + key: value}
    return leaves
