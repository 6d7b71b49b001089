r"""How near samples are to data in a feature space: Fréchet distance, precision and recall.

Every figure depends on the features: name them beside it. Figures of samples of different sizes do
not compare, as all of them are biased by the number of samples.
"""

from typing import NamedTuple

import torch
from torch import Tensor


def frechet_distance(x: Tensor, y: Tensor) -> float:
    r"""Return the squared Fréchet distance of the normal laws with the moments of two samples.

    .. math:: |\mu_x - \mu_y|^2 + \mathrm{tr}(C_x + C_y - 2 (C_x^{1/2} C_y C_x^{1/2})^{1/2})

    With the features of Inception-v3 this is the FID.

    Args:
        x: features (N, F).
        y: features (M, F).

    Raises:
        ValueError: for fewer than two samples, or features of different sizes.

    Source: Heusel et al. 2017, GANs trained by a two time-scale update rule, eq. 6.
    """
    x, y = _features(x, y, 2)
    gap = (x.mean(0) - y.mean(0)).square().sum()
    a, b = torch.cov(x.T).reshape(2 * x.shape[1:]), torch.cov(y.T).reshape(2 * y.shape[1:])
    values, vectors = torch.linalg.eigh(a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()
    return float((gap + a.trace() + b.trace() - 2 * cross).clamp(min=0))


class Coverage(NamedTuple):
    """How two samples cover each other, each number a share.

    Args:
        precision: of the generated samples, those in the reach of the data.
        recall: of the data, those in the reach of the generated samples.
        density: neighbourhoods of the data that a generated sample lies in, over k; may exceed 1.
        coverage: of the neighbourhoods of the data, those with a generated sample in them.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def coverage(generated: Tensor, data: Tensor, k: int = 3) -> Coverage:
    r"""Return precision, recall, density and coverage by k nearest neighbours.

    A point reaches as far as its k-th neighbour in its own sample. Samples that lie far apart reach
    far, so that recall flatters generated samples that scatter; coverage does not.

    Args:
        generated: features (N, F).
        data: features (M, F).
        k: neighbours that make up the reach.

    Raises:
        ValueError: for samples of k or fewer points, or features of different sizes.

    Source: Kynkäänniemi et al. 2019, Improved precision and recall metric for assessing generative
        models; Naeem et al. 2020, Reliable fidelity and diversity metrics for generative models.
    """
    generated, data = _features(generated, data, k + 1)
    between = torch.cdist(generated, data)
    of_data, of_generated = _reach(data, k), _reach(generated, k)
    inside = between <= of_data
    return Coverage(
        precision=float(inside.any(1).double().mean()),
        recall=float((between <= of_generated[:, None]).any(0).double().mean()),
        density=float(inside.sum() / (k * len(generated))),
        coverage=float((between.min(0).values <= of_data).double().mean()),
    )


def saturation(x: Tensor, bound: float) -> float:
    """Return the share of entries of samples (B, ...) beyond +-bound, where data hardly are."""
    return float((x.abs() > bound).double().mean())


def _reach(x: Tensor, k: int) -> Tensor:
    """Return every point's distance to its k-th neighbour, itself left out, (N,)."""
    return torch.cdist(x, x).kthvalue(k + 1, dim=1).values


def _features(x: Tensor, y: Tensor, least: int) -> tuple[Tensor, Tensor]:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < least:
        raise ValueError(
            f"features are (N, F) and (M, F) of at least {least} samples each, got "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    return x.double(), y.double()
