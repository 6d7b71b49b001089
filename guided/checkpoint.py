"""Checkpoints: a folder of ``config.json`` and one ``<name>.safetensors`` per set of weights.

No pickles. A checkpoint is written under a temporary name and renamed, so that whoever reads the
folder, or kills the writer, finds the old one or the new one and nothing between. (A kill between
the two renames of a replacement leaves the old one under another name, where :func:`load` looks.)
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

FORMAT = 1
RESERVED = {"format", "weights"}

Weights = dict[str, Tensor]


class CheckpointError(ValueError):
    """Raised when a folder does not hold a complete checkpoint; the message names the file."""


def save(
    folder: Path,
    config: Mapping[str, Any],
    *,
    dtype: torch.dtype | None = None,
    **weights: Mapping[str, Tensor],
) -> None:
    """Write a checkpoint, replacing one that is there.

    Args:
        folder: where to; its parents are made.
        config: anything JSON can hold.
        dtype: floating point type to store in; None keeps each tensor's own.
        weights: state dicts by name, e.g. ``model=net.state_dict()``.

    Raises:
        ValueError: if the config uses a name of this file's own, or the folder holds other things.
    """
    folder = Path(folder)
    if taken := RESERVED & config.keys():
        raise ValueError(f"the config must not have the keys {sorted(taken)}; rename them")
    if folder.exists() and not ((folder / "config.json").is_file() or _empty(folder)):
        raise ValueError(f"{folder} exists and is no checkpoint; choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for name, tensors in weights.items():
        save_file({key: _stored(t, dtype) for key, t in tensors.items()}, part / _file(name))
    about = {"format": FORMAT, "weights": sorted(weights), **config}
    (part / "config.json").write_text(json.dumps(about, indent=2) + "\n")
    _swap(part, folder)


def load(folder: Path) -> tuple[dict[str, Any], dict[str, Weights]]:
    """Read a checkpoint: its config, and its state dicts by name, in the types stored.

    Raises:
        CheckpointError: for a missing, truncated or foreign file.
    """
    folder = Path(folder)
    if not folder.exists() and _old(folder).exists():
        folder = _old(folder)
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
        names = config["weights"]
        version = config["format"]
    except OSError as error:
        raise CheckpointError(
            f"{folder} is no checkpoint: cannot read {path.name} ({error}); check the path"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is truncated or no checkpoint of this library ({error!r}); restore it"
        ) from None
    if version != FORMAT:
        raise CheckpointError(f"{path} has format {version!r}, expected {FORMAT}; convert it")
    return config, {name: _load_weights(folder / _file(name)) for name in names}


def _load_weights(path: Path) -> Weights:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} is missing, truncated or no safetensors file ({error}); restore it"
        ) from None


def _stored(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    kept = dtype if tensor.is_floating_point() else None
    # A copy, since safetensors refuses tensors that share memory.
    return tensor.detach().to("cpu", kept or tensor.dtype, copy=True).contiguous()


def _file(name: str) -> str:
    return f"{name}.safetensors"


def _swap(part: Path, folder: Path) -> None:
    """Put ``part`` in the place of ``folder``; a folder cannot be replaced in one call."""
    if folder.exists():
        # Not before: while there is no folder, old is the one complete checkpoint.
        shutil.rmtree(_old(folder), ignore_errors=True)
        folder.rename(_old(folder))
    part.rename(folder)
    shutil.rmtree(_old(folder), ignore_errors=True)


def _empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")
