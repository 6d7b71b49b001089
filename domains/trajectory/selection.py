"""A few worlds for many: clusters of samples, with the share of each as its probability.

Best-of-K metrics ask for K futures that together cover what may happen, not for K draws. Samples
are grouped by where everybody ends (k-means), and each group is stood for by its medoid, a sample
of the model; or, for metrics of each agent alone, agent by agent.

Source: Xu et al. 2022, SocialVAE, section 3.4 (final position clustering), for the grouping.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def worlds(samples: Array, count: int, seed: int = 0, rounds: int = 20) -> tuple[Array, Array]:
    """Return ``count`` joint samples and the share of all samples that each stands for.

    Args:
        samples: (S, N, F, 2).
        count: K; S or fewer samples than that are returned as they are.
        seed: of the first centres.
        rounds: of k-means, at most.

    Returns:
        Worlds (K, N, F, 2), likeliest first, and probabilities (K,).
    """
    if count >= len(samples):
        return samples, np.full(len(samples), 1 / len(samples))
    ends = samples[:, None, :, -1].reshape(1, len(samples), -1)
    label, gaps = _clustered(ends, count, seed, rounds)
    share = np.bincount(label[0], minlength=count) / len(samples)
    medoids = gaps[0].argmin(0)
    order = np.argsort(-share, kind="stable")
    return samples[medoids[order]], share[order]


def futures(samples: Array, count: int, seed: int = 0, rounds: int = 20) -> Array:
    """Return ``count`` futures of each agent, chosen for it alone: (K, N, F, 2).

    World k of the result is no joint sample: agents' futures are sorted by their own shares.

    Args:
        samples: (S, N, F, 2).
        count: K.
        seed: of the first centres.
        rounds: of k-means, at most.
    """
    if count >= len(samples):
        return samples
    label, gaps = _clustered(samples[:, :, -1].transpose(1, 0, 2), count, seed, rounds)
    agents = np.arange(samples.shape[1])
    share = (label[..., None] == np.arange(count)).sum(1)
    order = np.argsort(-share, axis=1, kind="stable")
    medoids = np.take_along_axis(gaps.argmin(1), order, axis=1)  # (N, K)
    return samples[medoids.T, agents]


def snapped(samples: Array, modes: Array, count: int) -> tuple[Array, Array]:
    """Return the ``count`` combinations of marginal modes that joint samples fall on most often.

    Each agent's sample becomes its mode with the nearest end; equal combinations are counted.

    Args:
        samples: (S, N, F, 2).
        modes: (M, N, F, 2).
        count: K, at most; fewer where samples fall on fewer combinations.

    Returns:
        Worlds (K, N, F, 2), likeliest first, and probabilities (K,).

    Source: Wang et al. 2024, Optimizing diffusion models for joint trajectory prediction and
        controllable generation, and its code.
    Differs: combinations within 2.5 m of a likelier one are kept.
    """
    ends = samples[:, None, :, -1] - modes[None, :, :, -1]
    nearest = (ends**2).sum(-1).argmin(1)  # (S, N)
    combined, counts = np.unique(nearest, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:count]
    chosen, share = combined[order], counts[order] / counts[order].sum()
    return modes[chosen, np.arange(modes.shape[1])], share


def _clustered(ends: Array, count: int, seed: int, rounds: int) -> tuple[NDArray[np.int64], Array]:
    """Cluster N sets of points (N, S, D); return labels (N, S) and squared gaps (N, S, K)."""
    centres = _first_centres(ends, count, np.random.default_rng(seed))
    label = np.full(ends.shape[:2], -1)
    for _ in range(rounds):
        gaps = _gaps(ends, centres)
        fresh = gaps.argmin(-1)
        if (fresh == label).all():
            break
        label = fresh
        member = (label[..., None] == np.arange(count)).astype(ends.dtype)  # (N, S, K)
        total = member.sum(1)[..., None]
        centres = np.where(total > 0, member.mT @ ends / np.maximum(total, 1), centres)
    gaps = _gaps(ends, centres)
    return gaps.argmin(-1), gaps


def _first_centres(ends: Array, count: int, random: np.random.Generator) -> Array:
    """Return points far from each other (N, K, D): k-means++ with the farthest of the drawn."""
    sets = np.arange(len(ends))
    chosen = [ends[sets, random.integers(ends.shape[1], size=len(ends))]]
    nearest = np.full(ends.shape[:2], np.inf)
    for _ in range(count - 1):
        nearest = np.minimum(nearest, ((ends - chosen[-1][:, None]) ** 2).sum(-1))
        edges = nearest.cumsum(1)
        at = random.random(len(ends))[:, None] * edges[:, -1:]
        chosen.append(ends[sets, (edges < at).sum(1).clip(max=ends.shape[1] - 1)])
    return np.stack(chosen, axis=1)


def _gaps(ends: Array, centres: Array) -> Array:
    cross = ends @ centres.mT
    return (ends**2).sum(-1)[..., None] - 2 * cross + (centres**2).sum(-1)[:, None]
