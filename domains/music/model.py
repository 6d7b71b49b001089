"""The shipped denoiser of piano rolls: a transformer with one token a column."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from domains.music.codec import Codec
from guided.checkpoint import load, save
from guided.denoiser import NetDenoiser
from guided.nets import Transformer
from guided.schedule import VE
from guided.snapshot import groups

CORPORA = ("pop909", "chorales")
"""What a label of the condition means; ``len(CORPORA)`` is the null label."""

SHIPPED = Path(__file__).parent / "weights" / "base"


@dataclass(frozen=True)
class ModelConfig:
    """The architecture; saved with the weights."""

    columns: int = 128
    """Columns of a training clip."""
    width: int = 224
    """Width of a token."""
    depth: int = 6
    """Transformer blocks."""
    heads: int = 4
    """Attention heads."""
    sigma_max: float = 80.0
    """Noise at t = 1, in units of the standardised data."""
    log_sigma: tuple[float, float] = (0.3, 1.4)
    """Mean and standard deviation of log sigma in training."""
    codec: Codec = field(default_factory=Codec)
    """How rolls become numbers."""


def build(config: ModelConfig) -> NetDenoiser:
    """Return an untrained denoiser of x0 (B, T, 176); cond is a LongTensor (B,) of labels."""
    net = Transformer(
        channels=176,
        width=config.width,
        depth=config.depth,
        heads=config.heads,
        labels=len(CORPORA),
        period=config.codec.columns_per_bar,
    )
    schedule = VE(sigma_max=config.sigma_max)
    return NetDenoiser(net, schedule, "edm", sigma_data=1.0, log_sigma=config.log_sigma)


def null_label(cond: Tensor) -> Tensor:
    """Return the null condition for :class:`guided.CFG`."""
    return torch.full_like(cond, len(CORPORA))


def label(corpus: str | None, count: int) -> Tensor:
    """Return the condition of ``count`` samples in the style of a corpus; None is the null label.

    Raises:
        ValueError: for an unknown corpus.
    """
    if corpus is not None and corpus not in CORPORA:
        raise ValueError(f"unknown corpus {corpus!r}; expected one of {', '.join(CORPORA)}")
    index = len(CORPORA) if corpus is None else CORPORA.index(corpus)
    return torch.full((count,), index, dtype=torch.long)


def save_model(
    folder: Path,
    config: ModelConfig,
    weights: dict[str, Tensor],
    weak: dict[str, Tensor] | None = None,
    **about: Any,
) -> None:
    """Write weights in half precision with the architecture and any facts worth keeping.

    Args:
        folder: where to.
        config: the architecture.
        weights: of the model.
        weak: of an early snapshot of it, for autoguidance; None = none.
        about: anything JSON can hold.
    """
    tensors = groups(weights, weak)
    save(folder, {"model": asdict(config), **about}, dtype=torch.float16, **tensors)


def load_model(folder: Path = SHIPPED) -> tuple[NetDenoiser, ModelConfig]:
    """Return the denoiser, ready to sample, and its configuration.

    Raises:
        CheckpointError: for a missing, truncated or foreign checkpoint.
    """
    denoisers, config = load_models(folder)
    return denoisers["model"], config


def load_models(folder: Path = SHIPPED) -> tuple[dict[str, NetDenoiser], ModelConfig]:
    """Return the denoiser as ``model``, its early snapshot as ``weak`` if kept, the configuration.

    Raises:
        CheckpointError: for a missing, truncated or foreign checkpoint.
    """
    stored, tensors = load(folder)
    fields = dict(stored["model"])
    codec: dict[str, Any] = {k: _tupled(v) for k, v in fields.pop("codec").items()}
    config = ModelConfig(codec=Codec(**codec), **{k: _tupled(v) for k, v in fields.items()})
    found = {}
    for name, weights in tensors.items():
        denoiser = build(config)
        denoiser.load_state_dict({k: v.float() for k, v in weights.items()})
        found[name] = denoiser.eval().requires_grad_(False)
    return found, config


def _tupled(value: Any) -> Any:
    """Undo what JSON does to tuples."""
    return tuple(value) if isinstance(value, list) else value
