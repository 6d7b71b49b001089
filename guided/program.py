"""A program of any language as a function of one array."""

import shutil
import subprocess
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

INPUT, OUTPUT = "{input}", "{output}"


class Program:
    r"""Starts a program for every array: ``Simulator(Program(["./solver"], (16,)), (16,))``.

    The array goes to the program's standard input and the result comes from its standard output, as
    text: one line of numbers for every row of the last axis. Where a word of the command holds
    ``{input}`` or ``{output}``, the name of a file takes its place, which is written before or read
    after. Every evaluation has a folder of its own to work in, which is removed afterwards.

    Args:
        command: the program and its arguments; no shell reads them.
        shape: of the result.
        kind: of the files: ``txt``, or NumPy's ``npy``. Standard input and output are text.

    Raises:
        ValueError: for a program that is not to be found, or an unknown kind.
    """

    def __init__(
        self,
        command: Sequence[str],
        shape: tuple[int, ...],
        kind: Literal["txt", "npy"] = "txt",
    ) -> None:
        found = shutil.which(command[0]) if command else None
        if found is None:
            raise ValueError(
                f"cannot find the program of the command {list(command)}; give its path, or a name "
                f"that the search path holds"
            )
        if kind not in ("txt", "npy"):
            raise ValueError(f"unknown kind of file {kind!r}; expected 'txt' or 'npy'")
        # Evaluations work elsewhere, where a relative path would lead to nothing.
        self.command = [str(Path(found).absolute()), *command[1:]]
        self.shape, self.kind = shape, kind

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the program's result for one array, in float64.

        Raises:
            RuntimeError: where it ends with an error; with the last line that it wrote of it.
            ValueError: for a result that is no numbers, or as many as ``shape`` has.
        """
        with TemporaryDirectory() as folder:
            files = {
                word: Path(folder) / f"{name}.{self.kind}"
                for word, name in ((INPUT, "input"), (OUTPUT, "output"))
                if any(word in part for part in self.command)
            }
            command = self.command
            for word, path in files.items():
                command = [part.replace(word, str(path)) for part in command]
            if INPUT in files:
                _write(x, files[INPUT])
            done = subprocess.run(
                command,
                input=None if INPUT in files else _text(x),
                capture_output=True,
                text=True,
                cwd=folder,
                stdin=subprocess.DEVNULL if INPUT in files else None,
            )
            if done.returncode:
                told = done.stderr.strip().splitlines() or ["it wrote nothing to standard error"]
                raise RuntimeError(
                    f"{Path(command[0]).name} ended with {done.returncode}: {told[-1]}"
                )
            return self._read(files.get(OUTPUT), done.stdout)

    def _read(self, path: Path | None, printed: str) -> np.ndarray:
        if path is not None and not path.exists():
            raise ValueError(f"the program wrote no {path.name}")
        if path is not None and self.kind == "npy":
            found = np.load(path, allow_pickle=False)
        else:
            text = printed if path is None else path.read_text()
            found = np.array([float(word) for word in text.split()])
        if found.size != np.prod(self.shape, dtype=int):
            raise ValueError(f"the program gave {found.size} numbers, not the shape {self.shape}")
        return np.asarray(found, np.float64).reshape(self.shape)


def _text(x: np.ndarray) -> str:
    out = StringIO()
    np.savetxt(out, x.reshape(-1, x.shape[-1] if x.ndim else 1), fmt="%.17g")
    return out.getvalue()


def _write(x: np.ndarray, path: Path) -> None:
    if path.suffix == ".npy":
        np.save(path, x)
    else:
        path.write_text(_text(x))
