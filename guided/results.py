"""Result files: figures as JSON, with the versions that they depend on, written in one piece."""

import json
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import guided

_PACKAGES = Path(guided.__file__).parents[1]


def require_writable(*paths: Path | None) -> None:
    """Make the folders of files that a command will write, before it starts its work.

    Args:
        paths: files; None is a file that nobody asked for.

    Raises:
        ValueError: if one cannot be written.
    """
    for path in paths:
        if path is None:
            continue
        try:
            if path.is_dir():
                raise IsADirectoryError(None, "it is a folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path.parent).close()
        except OSError as error:
            raise ValueError(f"cannot write {path} ({error.strerror}); choose another") from None


@contextmanager
def in_one_piece(path: Path) -> Iterator[Path]:
    """Give a temporary name, which is renamed to the path if all went well.

    Raises:
        ValueError: where the file cannot be written.
    """
    part = path.with_name(f".part-{path.name}")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise ValueError(f"cannot write {path} ({error.strerror}); choose another") from None
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, figures: Mapping[str, Any]) -> None:
    """Write figures in one piece.

    Raises:
        ValueError: where the file cannot be written.
    """
    with in_one_piece(path) as part:
        part.write_text(json.dumps(figures, indent=2) + "\n")


def plain(value: Any) -> Any:
    """Return options as JSON can hold them: paths as text, others as they are.

    A path of what is shipped is told from the folder of the packages on, so that no file names the
    machine that it was made on.
    """
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, Path):
        return str(value.relative_to(_PACKAGES) if value.is_relative_to(_PACKAGES) else value)
    return value


def versions() -> dict[str, Any]:
    """Return the versions and the machine that figures depend on."""
    return {
        "guided": guided.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }
