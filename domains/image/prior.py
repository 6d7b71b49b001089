"""What is known of pictures before any is measured: a trained denoiser, or an exact law.

The exact law of the digits is a Gaussian about every training digit. It needs no training, and its
posterior under a linear operator is known in closed form, so that methods can be told from models.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from domains.image.data.source import load_images
from domains.image.model import SHIPPED, load_model
from guided.denoiser import Denoiser
from guided.exact import Mixture
from guided.schedule import VE

EXACT, DIGITS = "exact", "digits"
KERNEL = (
    0.3  # where held-out digits are likeliest: log p is -16.2 here, -16.8 at 0.25, -18.7 at .35
)
FARTHEST = 10.0  # sigma at t = 1


@dataclass(frozen=True)
class Prior:
    """A law of pictures.

    Args:
        denoiser: of pictures (B, C, H, W); its condition None is no label.
        shape: of one picture, (C, H, W).
        law: the same in closed form, where it has one.
    """

    denoiser: Denoiser
    shape: tuple[int, ...]
    law: Mixture | None = None


def prior_named(name: str) -> Prior:
    """Return a prior by its name.

    Args:
        name: ``digits``, the shipped model of digits; ``exact``, the exact law of the training
            digits; or the folder of a model.

    Raises:
        CheckpointError: for a folder that is no model of pictures.
    """
    if name == EXACT:
        return exact_prior(load_images("digits").train.x)
    denoiser, config = load_model(SHIPPED if name == DIGITS else Path(name))
    return Prior(denoiser, config.shape)


def exact_prior(x0: Tensor, std: float = KERNEL) -> Prior:
    """Return the law with a Gaussian about every one of some pictures (N, C, H, W).

    Args:
        x0: the pictures.
        std: of the Gaussians, in units of pixels.
    """
    law = Mixture(torch.ones(len(x0)), x0, std**2)
    return Prior(law.denoiser(VE(sigma_max=FARTHEST)), tuple(x0.shape[1:]), law)
