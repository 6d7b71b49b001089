"""The early snapshot that training keeps, as the weak network of autoguidance."""

from dataclasses import replace

from guided.checkpoint import Weights
from guided.train import TrainConfig

SHARE = 16
"""It is taken after a sixteenth of the steps, unless told (Karras et al. 2024, table 1)."""


def with_snapshot(config: TrainConfig) -> TrainConfig:
    """Return the configuration with ``snapshot_at`` set, where it is not."""
    if config.snapshot_at is not None:
        return config
    return replace(config, snapshot_at=max(1, config.steps // SHARE))


def groups(weights: Weights, weak: Weights | None) -> dict[str, Weights]:
    """Return what a checkpoint holds: ``model``, and ``weak`` where a snapshot was kept."""
    return {"model": weights} if weak is None else {"model": weights, "weak": weak}
