"""Flat data kept in one safetensors file, facts included, so that it is there whole or not."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from domains.rl.data.offline import OfflineData

TENSORS = ("states", "actions", "rewards", "terminals", "timeouts", "starts", "low", "high")
OPTIONAL = ("costs", "margins")
FORMAT = 3


def keep(path: Path, data: OfflineData, stamp: Mapping[str, Any]) -> None:
    """Write data under a temporary name that is then renamed.

    Args:
        path: of the file; its folder is made.
        data: what to keep.
        stamp: what the data were made from, as JSON can hold it.
    """
    facts = {
        "format": FORMAT,
        "stamp": stamp,
        "name": data.name,
        "environment": data.environment,
        "keys": data.keys,
        "reference": data.reference,
        "shapes": data.shapes,
        "origin": data.origin,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    names = (*TENSORS, *(name for name in OPTIONAL if getattr(data, name) is not None))
    tensors = {name: getattr(data, name).contiguous() for name in names}
    save_file(tensors, part, metadata={"facts": json.dumps(facts)})
    part.replace(path)


def kept(path: Path, stamp: Mapping[str, Any]) -> OfflineData | None:
    """Return the data of a file, or None if it is not there, damaged, or has another stamp."""
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
            if facts.pop("format", None) != FORMAT:
                return None
            if facts.pop("stamp") != json.loads(json.dumps(stamp)):
                return None
            names = (*TENSORS, *(name for name in OPTIONAL if name in file.keys()))
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError):
        return None
    for name in ("keys", "reference"):
        facts[name] = None if facts[name] is None else tuple(facts[name])
    if facts["shapes"] is not None:
        facts["shapes"] = tuple(tuple(shape) for shape in facts["shapes"])
    return OfflineData(**tensors, **facts)
