r"""The branches of history guidance: how noisy each history token is shown, and with what weight.

A branch is a tuple of one noise level t in [0, 1] for every history token: 0 shows it clean, 1
hides it. With s(k) the prediction that sees the history at level k and s(H_i) the one that sees the
tokens H_i alone,

==============  ============================================================================
vanilla         :math:`s(1) + w\, [s(0) - s(1)]`
fractional      :math:`s(0) + (w - 1)\, [s(k) - s(1)]`, with :math:`0 \le k \le 1`
temporal        :math:`s(1) + \sum_i w_i\, [s(H_i) - s(1)]`
==============  ============================================================================

Source: Song et al. 2025, History-guided video diffusion (history guidance).
"""

from collections.abc import Collection, Iterable, Sequence

Branches = dict[tuple[float, ...], float]

NOTHING = 1e-12  # weights below are sums of floats that cancel


def vanilla(count: int, scale: float) -> Branches:
    """Return the contrast of the clean with the hidden history.

    Args:
        count: history tokens.
        scale: w; 1 is neutral (one branch, the conditional model).
    """
    return merged([((0.0,) * count, scale), ((1.0,) * count, 1 - scale)])


def fractional(count: int, scale: float, level: float) -> Branches:
    """Return the conditional model, pushed by what a noisy history tells more than none.

    Noise hides the fine detail of the history first, so that the push is by its coarse part, and
    motion is not frozen.

    Args:
        count: history tokens.
        scale: w; 1 is neutral.
        level: k; 1 is neutral too, 0 is :func:`vanilla`.
    """
    push = scale - 1
    terms = [((0.0,) * count, 1.0), ((level,) * count, push), ((1.0,) * count, -push)]
    return merged(terms)


def temporal(count: int, parts: Sequence[tuple[Collection[int], float]]) -> Branches:
    """Return the sum of pushes by parts of the history.

    Args:
        count: history tokens.
        parts: the indices, among the history tokens, of each part, and its weight w_i. One part of
            all tokens is :func:`vanilla`.

    Raises:
        ValueError: for an index that is no history token.
    """
    terms = [((1.0,) * count, 1 - sum(scale for _, scale in parts))]
    for tokens, scale in parts:
        if not set(tokens) <= set(range(count)):
            raise ValueError(
                f"the history has tokens 0 to {count - 1}, got a part of {sorted(tokens)}"
            )
        terms.append((tuple(0.0 if i in tokens else 1.0 for i in range(count)), scale))
    return merged(terms)


def merged(terms: Iterable[tuple[Sequence[float], float]]) -> Branches:
    """Return the sum of weighted branches: equal ones merged, those of weight 0 dropped.

    Args:
        terms: levels and weight of each.

    Raises:
        ValueError: for levels outside [0, 1], branches of unequal length, or weights that do not
            add up to 1.
    """
    total: Branches = {}
    for levels, weight in terms:
        key = tuple(float(t) for t in levels)
        if not all(0 <= t <= 1 for t in key):
            raise ValueError(f"noise levels of a history are in [0, 1], got {key}")
        total[key] = total.get(key, 0.0) + weight
    kept = {key: weight for key, weight in total.items() if abs(weight) > NOTHING}
    if len({len(key) for key in kept}) > 1:
        raise ValueError(
            f"the branches of a history have one level for every token, got the lengths "
            f"{sorted({len(key) for key in kept})}"
        )
    if not abs(sum(kept.values()) - 1) < 1e-9:
        raise ValueError(
            f"the weights of the branches add up to 1, got {sum(kept.values()):g}; give the rest "
            f"to the branch of the hidden history"
        )
    return kept
