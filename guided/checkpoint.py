"""Checkpoints: a folder of ``config.json`` and one ``<name>.safetensors`` per set of weights.

No pickles. A checkpoint is written under a temporary name and renamed, so that whoever reads the
folder, or kills the writer, finds the old one or the new one and nothing between.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

FORMAT = 1

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
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for name, tensors in weights.items():
        save_file({key: _stored(t, dtype) for key, t in tensors.items()}, part / _file(name))
    about = {"format": FORMAT, "weights": sorted(weights), **config}
    (part / "config.json").write_text(json.dumps(about, indent=2) + "\n")
    _swap(part, folder)


def load(folder: Path) -> tuple[dict[str, Any], dict[str, Weights]]:
    """Read a checkpoint: its config, and its state dicts by name.

    Raises:
        CheckpointError: for a missing, truncated or foreign file.
    """
    folder = Path(folder)
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
        names = config["weights"]
        version = config["format"]
    except OSError as error:
        raise CheckpointError(
            f"{folder} is no checkpoint: cannot read {path.name} ({error})"
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
    tensor = tensor.detach().cpu().contiguous()
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


def _file(name: str) -> str:
    return f"{name}.safetensors"


def _swap(part: Path, folder: Path) -> None:
    """Put ``part`` in the place of ``folder``; a folder cannot be replaced in one call."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
