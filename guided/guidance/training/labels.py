"""Self-guided labels: clusters of features of the data as conditions, for data without labels."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.cluster.vq import ClusterError, kmeans2, vq
from torch import Tensor

from guided.rng import Rng

TRIES = 4  # starts of k-means, of which the best is kept


@dataclass(frozen=True)
class SelfLabels:
    """Clusters whose indices serve as labels 0, ..., k - 1.

    Args:
        centres: shape (k, F).
        counts: how many samples of the data each holds, shape (k,).
    """

    centres: Tensor
    counts: Tensor

    @property
    def null(self) -> int:
        """Return k, the label of no cluster, as the networks of :mod:`guided.nets` count."""
        return len(self.centres)

    def labels(self, features: Tensor) -> Tensor:
        """Return the nearest cluster of features (N, F), shape (N,).

        Raises:
            ValueError: for features of another width.
        """
        if features.ndim != 2 or features.shape[1] != self.centres.shape[1]:
            raise ValueError(
                f"the clusters are of features (N, {self.centres.shape[1]}), got "
                f"{tuple(features.shape)}"
            )
        nearest, _ = vq(_numbers(features), _numbers(self.centres))
        return torch.from_numpy(nearest.astype(np.int64)).to(features.device)

    def sample(self, n: int, rng: Rng) -> Tensor:
        """Draw n labels from the histogram of the data, shape (n,).

        A run must draw them so: equally likely clusters would not give the law of the data.
        """
        cdf = self.counts.double().cumsum(0)
        u = rng.uniform((n,), torch.float64, self.counts.device) * cdf[-1]
        return torch.searchsorted(cdf, u, right=True)

    def dropped(self, labels: Tensor) -> Tensor:
        """Return the null label for each of labels (B,): the ``null`` of CFG and of dropout."""
        return torch.full_like(labels, self.null)


def cluster(features: Tensor, k: int, seed: int) -> SelfLabels:
    """Cluster features (N, F) by k-means, started by k-means++; the best of a few starts.

    Args:
        features: of the data, from any encoder; columns of one scale.
        k: how many clusters; 1 is neutral (one label for all: the unconditional model). Too many
            leave each label with too few samples.
        seed: of the starts.

    Raises:
        ValueError: for features that are not (N, F), or a k that they cannot fill.

    Source: Hu et al. 2023, Self-guided diffusion models (self-labeled guidance); Arthur
        & Vassilvitskii 2007 (k-means++).
    """
    if features.ndim != 2 or not 1 <= k <= len(features):
        raise ValueError(
            f"clustering needs features (N, F) and k in 1, ..., N, got {tuple(features.shape)} and "
            f"k = {k}"
        )
    data, rng = _numbers(features), np.random.default_rng(seed)
    distinct = len(np.unique(data, axis=0))
    tries = [_means(data, k, rng) for _ in range(TRIES)] if k <= distinct else []
    if not (tries := [found for found in tries if found]):
        raise ValueError(
            f"{len(features)} features, {distinct} of them distinct, do not fill k = {k} clusters; "
            f"give fewer"
        )
    _, centres = min(tries, key=lambda found: found[0])
    counts = np.bincount(vq(data, centres)[0], minlength=k)
    kept = torch.from_numpy(centres).to(features)
    return SelfLabels(kept, torch.from_numpy(counts).to(features.device))


def _means(data: np.ndarray, k: int, rng: np.random.Generator) -> tuple[float, np.ndarray] | None:
    """Return the distortion and the centres of one start; None if a cluster ran empty."""
    try:
        centres, _ = kmeans2(data, k, iter=50, minit="++", missing="raise", seed=rng)
    except ClusterError:
        return None
    return float((vq(data, centres)[1] ** 2).sum()), centres


def _numbers(features: Tensor) -> np.ndarray:
    return features.detach().double().cpu().numpy()
