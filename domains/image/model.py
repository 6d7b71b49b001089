"""Denoisers of pictures: a transformer over patches, or a U-Net."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tyro.conf import Suppress

from domains.image.data.images import Images
from guided.checkpoint import CheckpointError, Weights, load, save
from guided.denoiser import NetDenoiser
from guided.nets import PatchTransformer, UNet
from guided.schedule import VE
from guided.snapshot import groups

WEIGHTS = Path(__file__).parent / "weights"
SHIPPED = WEIGHTS / "digits"
SMALL = WEIGHTS / "digits-small"
"""Too small a model for its data, as most models are: it shows what guidance does."""


@dataclass(frozen=True)
class ModelConfig:
    """The architecture; saved with the weights. What the data tell is no option."""

    net: Literal["transformer", "unet"] = "transformer"
    """A transformer over patches, or a U-Net, which needs --loop.optimizer adamw."""
    patch: int = 2
    """Side of a patch, in pixels."""
    width: int = 48
    """Width of a token (transformer)."""
    depth: int = 4
    """Blocks of the transformer; residual blocks of a level of the U-Net."""
    heads: int = 4
    """Attention heads; of the U-Net at its lowest level, where 0 is no attention."""
    widths: tuple[int, ...] = (32, 64)
    """Channels of the levels (U-Net)."""
    sigma_max: float = 10.0
    """Noise at t = 1, in units of the pixels, which are in [-1, 1]."""
    log_sigma: tuple[float, float] = (-0.8, 1.2)
    """Mean and standard deviation of log sigma in training."""
    shape: Suppress[tuple[int, int, int]] = (1, 8, 8)
    """Channels, height and width of a picture."""
    names: Suppress[tuple[str, ...]] = ()
    """Names of the classes; none = a model without labels."""
    sigma_data: Suppress[float] = 0.75
    """Standard deviation of the pixels."""
    mean: Suppress[float] = 0.0
    """Mean of the pixels."""

    def __post_init__(self) -> None:
        sizes = (self.patch, self.width, self.depth, *self.widths, *self.shape)
        if min(sizes) < 1 or not self.widths:
            raise ValueError(
                f"a model needs sizes of at least 1, got patch={self.patch}, width={self.width}, "
                f"depth={self.depth}, widths={self.widths} and a shape of {self.shape}"
            )
        fewest = 0 if self.net == "unet" else 1
        if self.heads < fewest:
            noun = "heads" if fewest == 0 else "head"
            raise ValueError(f"a {self.net} needs at least {fewest} {noun}, got {self.heads}")
        if not min(self.sigma_max, self.log_sigma[1], self.sigma_data) > 0:
            raise ValueError(
                f"sigma_max, sigma_data and the deviation of log_sigma are positive, got "
                f"{self.sigma_max}, {self.sigma_data} and {self.log_sigma[1]}"
            )


def fitted(config: ModelConfig, images: Images) -> ModelConfig:
    """Return the configuration with all that the pictures to train on tell.

    Raises:
        ValueError: for no pictures, or pictures that are all one grey.
    """
    if not len(images) or not images.x.std(correction=0) > 0:
        raise ValueError(f"{len(images)} pictures of one grey leave nothing to learn; give others")
    channels, height, width = images.x.shape[1:]
    sigma_data = round(images.x.std(correction=0).item(), 4)
    mean, shape = round(images.x.mean().item(), 4), (channels, height, width)
    return replace(config, shape=shape, names=images.names, sigma_data=sigma_data, mean=mean)


def build(config: ModelConfig) -> NetDenoiser:
    """Return an untrained denoiser of x0 (B, C, H, W); cond is a LongTensor (B,) of labels.

    Raises:
        ValueError: for a network that does not fit the pictures.
    """
    channels, height, width = config.shape
    labels, net = len(config.names), config.net
    built: nn.Module
    if net == "transformer":
        size = (height, width)
        built = PatchTransformer(
            channels, size, config.patch, config.width, config.depth, config.heads, labels
        )
    elif net == "unet":
        built = UNet(
            channels,
            config.widths,
            config.depth,
            config.patch,
            labels=labels,
            attention=config.heads,
        )
    else:
        raise ValueError(f"unknown net {net!r}; expected 'transformer' or 'unet'")
    schedule, sigma_data = VE(sigma_max=config.sigma_max), config.sigma_data
    return NetDenoiser(built, schedule, "edm", sigma_data=sigma_data, log_sigma=config.log_sigma)


def null_label(cond: Tensor, names: Sequence[str]) -> Tensor:
    """Return the null condition of the same shape, for :class:`guided.CFG`; names are the model's.

    It is the one label more that a model learns.
    """
    return torch.full_like(cond, len(names))


def save_model(
    folder: Path,
    config: ModelConfig,
    weights: Weights,
    weak: Weights | None = None,
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
    return _loaded(folder, "model")


def load_weak(folder: Path = SHIPPED) -> NetDenoiser:
    """Return the early snapshot of the denoiser that its folder holds, ready to sample.

    Raises:
        CheckpointError: for a checkpoint without one, or a missing, truncated or foreign one.
    """
    return _loaded(folder, "weak")[0]


def _loaded(folder: Path, group: str) -> tuple[NetDenoiser, ModelConfig]:
    stored, tensors = load(folder)
    if group not in tensors:
        raise CheckpointError(
            f"{folder} holds no weights named {group!r}, only {', '.join(sorted(tensors))}; train "
            f"it again, or use another folder"
        )
    try:
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in stored["model"].items()
        }
        config = ModelConfig(**fields)
    except (KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{folder} holds no model of pictures; use another folder") from None
    denoiser = build(config)
    try:
        denoiser.load_state_dict({k: v.float() for k, v in tensors[group].items()})
    except RuntimeError:
        raise CheckpointError(
            f"the weights of {folder} do not fit its config.json; restore it"
        ) from None
    return denoiser.eval().requires_grad_(False), config
