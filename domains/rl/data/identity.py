"""What is kept of data: by a policy that was learned from them, and by a run that goes on."""

from typing import Any

from domains.rl.data.offline import OfflineData


def facts(data: OfflineData) -> dict[str, Any]:
    """Return what a policy tells of its data."""
    return {"data": data.name, "reference": data.reference, "origin": data.origin}


def identity(data: OfflineData) -> dict[str, Any]:
    """Return what tells data from other data of the same name, as JSON can hold it."""
    found = {"data": data.name, "steps": len(data), "rewards": data.rewards.double().sum().item()}
    told = {"costs": data.costs, "margins": data.margins}
    return found | {k: v.double().sum().item() for k, v in told.items() if v is not None}
