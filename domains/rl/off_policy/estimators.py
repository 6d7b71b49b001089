r"""The value of a policy from the log of another one: inverse propensity weights, three ways.

Symbols: outcomes :math:`r_i` (rewards or losses) of n logged actions, log densities of these
actions under the logging policy and under the target, both with respect to the same reference; that
law may be unknown, as it cancels in the weights :math:`w_i = \pi(a_i | x_i) / d_i`.

=================  ==============================================================================
``ips``            :math:`\frac1n \sum w_i r_i`: unbiased
``snips``          :math:`\sum w_i r_i / \sum w_i`: a bias of order 1/n, blind to a common factor
``doubly_robust``  :math:`\frac1n \sum (b_i + w_i (r_i - \hat r_i))`: unbiased, and the better the
                   prediction :math:`\hat r` the more exact; :math:`b_i = E_\pi[\hat r | x_i]`
=================  ==============================================================================

Source: Horvitz, Thompson 1952; Swaminathan, Joachims 2015, The self-normalized estimator for
counterfactual learning; Dudík, Langford, Li 2011, Doubly robust policy evaluation and learning.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Estimate:
    """A value from a log.

    Args:
        value: it.
        error: its standard error: of a mean, or by the delta method of a ratio.
        size: how many equally weighted actions the weighted ones are worth.
        rounds: how many there are.
    """

    value: float
    error: float
    size: float
    rounds: int


def ips(outcomes: ArrayLike, logged: ArrayLike, target: ArrayLike) -> Estimate:
    """Return the inverse propensity estimate.

    Args:
        outcomes: r, (n,).
        logged: log densities of the logging policy, (n,).
        target: log densities of the target, (n,); -inf is an action that it never takes.

    Raises:
        ValueError: for shapes that differ, fewer than 2 actions, numbers that are not finite, or a
            logging policy without support.
    """
    r, w = _weighted(outcomes, logged, target)
    return _mean(w * r, w)


def snips(outcomes: ArrayLike, logged: ArrayLike, target: ArrayLike) -> Estimate:
    """Return the self-normalised estimate; arguments as of :func:`ips`.

    Raises:
        ValueError: as :func:`ips`, and if the target takes none of the logged actions.
    """
    r, w = _weighted(outcomes, logged, target)
    total = w.sum()
    if total == 0:
        raise ValueError(
            f"the target takes none of the {len(w)} logged actions, so that nothing is known of "
            f"it; log more, or closer to it"
        )
    value = float((w * r).sum() / total)
    error = float(np.sqrt(np.square(w * (r - value)).sum()) / total)
    return Estimate(value, error, _size(w), len(w))


def doubly_robust(
    outcomes: ArrayLike,
    logged: ArrayLike,
    target: ArrayLike,
    predicted: ArrayLike,
    baseline: ArrayLike,
) -> Estimate:
    """Return the doubly robust estimate; the first arguments as of :func:`ips`.

    Args:
        outcomes: r, (n,).
        logged: see there.
        target: see there.
        predicted: outcomes of the logged actions, by a model that did not see them, (n,).
        baseline: the mean prediction over actions of the target, in each context, (n,).

    Raises:
        ValueError: as :func:`ips`.
    """
    r, w = _weighted(outcomes, logged, target)
    model, base = _finite("predicted", predicted, r.shape), _finite("baseline", baseline, r.shape)
    return _mean(base + w * (r - model), w)


def _mean(terms: np.ndarray, weights: np.ndarray) -> Estimate:
    error = terms.std(ddof=1) / np.sqrt(len(terms))
    return Estimate(float(terms.mean()), float(error), _size(weights), len(terms))


def _size(weights: np.ndarray) -> float:
    squares = float(np.square(weights).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def _weighted(
    outcomes: ArrayLike, logged: ArrayLike, target: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    r = np.asarray(outcomes, dtype=float)
    if r.ndim != 1 or len(r) < 2:
        raise ValueError(f"an estimate needs outcomes (n,) of at least 2 actions, got {r.shape}")
    r = _finite("outcomes", r, r.shape)
    own, other = np.asarray(logged, dtype=float), np.asarray(target, dtype=float)
    if own.shape != r.shape or other.shape != r.shape:
        raise ValueError(
            f"an estimate needs a log density of each of {len(r)} actions, logged and target, got "
            f"{own.shape} and {other.shape}"
        )
    if not np.isfinite(own).all():
        raise ValueError(
            f"{int((~np.isfinite(own)).sum())} logged log densities are not finite: actions that "
            f"the logging policy cannot have taken; log the density it really had"
        )
    if (np.isnan(other) | (other == np.inf)).any():
        raise ValueError("log densities of the target have to be finite or -inf, got NaN or inf")
    with np.errstate(over="ignore"):
        weights = np.exp(other - own)
    if not np.isfinite(weights).all():
        raise ValueError(
            f"importance weights up to exp({(other - own).max():.0f}) overflow; the logging policy "
            f"has no support where the target acts"
        )
    return r, weights


def _finite(name: str, values: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    found = np.asarray(values, dtype=float)
    if found.shape != shape or not np.isfinite(found).all():
        raise ValueError(
            f"an estimate needs {name} that are finite, one for each of {shape[0]} actions, got "
            f"shape {found.shape} with {int((~np.isfinite(found)).sum())} that are not"
        )
    return found
