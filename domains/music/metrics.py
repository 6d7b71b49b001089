r"""How near a set of generated clips is to a set of real ones: overlap of feature distances.

Conventions
-----------
Clips are a :class:`Rolls` batch or a sequence of :class:`Roll`, all of one length. Features come
from the notes that the clips' MIDI files would hold (`Roll.notes`); times are in columns. The
overlap does not depend on a feature's unit. Figures are in double precision; order of clips does
not matter.

Measures
--------
============  ======================================================  ========================
overlap_area  overlap of two sets of distances, for one feature       1 ideal, 0 disjoint
overlap       mean over the features, repeated over draws of real     read it beside that of
              clips: mean and sd                                      other real clips
============  ======================================================  ========================

Even two sets of real clips do not reach 1: **print the overlap of real clips beside** that of
generated ones. Overlap rewards the right spread of features, not good music.

Source: Yang & Lerch 2020, On the evaluation of generative models in music, section 4, and its code
    mgeval, from which the interval of chords, the velocity weights and the limits of the integral
    are taken; the seven features are those of Huang et al. 2024, arXiv 2402.14285.
Differs: a pair of real clips counts once (mgeval: twice, which narrows its kernels by 13 %); the
    integral is a trapezoidal sum; a set of equal distances has a value, see `overlap_area`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.integrate import trapezoid
from scipy.spatial.distance import cdist, pdist
from scipy.stats import gaussian_kde

from domains.music.roll import Roll, Rolls

FEATURES = (
    "used_pitches",
    "pitch_range",
    "onset_interval",
    "pitch_histogram",
    "velocity",
    "duration",
    "note_rate",
)
GRID = 256  # points of the integral
FLAT = 1e-9  # distances that differ by less than this share are equal, whatever rounding did

Features = dict[str, np.ndarray]
"""By feature, a row per clip: (N, 1), and (N, 12) for the histogram."""


@dataclass(frozen=True)
class Overlap:
    """An overlap in [0, 1], repeated over draws of real clips.

    Args:
        mean: mean over features and draws.
        sd: standard deviation over draws of the mean over features.
        features: mean over draws, by feature.
    """

    mean: float
    sd: float
    features: dict[str, float]


def features(clips: Rolls | Sequence[Roll]) -> Features:
    """Return the seven features of every clip.

    Raises:
        ValueError: if there is no clip.
    """
    rolls = clips.rolls() if isinstance(clips, Rolls) else clips
    if not rolls:
        raise ValueError("features got no clips; give at least one")
    rows = [_of(roll) for roll in rolls]
    return {name: np.array([row[name] for row in rows], np.float64) for name in FEATURES}


def _of(roll: Roll) -> dict[str, np.ndarray | list[float]]:
    start, end, pitch, velocity = roll.notes()
    n = len(start)
    if n == 0:
        return {name: np.zeros(12 if name == "pitch_histogram" else 1) for name in FEATURES}
    duration = end - start
    share = np.bincount(pitch % 12, weights=velocity * duration.astype(float), minlength=12)
    return {
        "used_pitches": [len(np.unique(pitch))],
        "pitch_range": [np.ptp(pitch)],
        "onset_interval": [np.ptp(start) / max(n - 1, 1)],
        "pitch_histogram": share / share.sum(),
        "velocity": [velocity.mean()],
        "duration": [duration.mean()],
        "note_rate": [n / end.max()],
    }


def overlap(
    real: Features,
    generated: Features,
    rng: np.random.Generator,
    *,
    draws: int = 10,
    size: int | None = None,
) -> Overlap:
    """Return the overlap of generated with real clips.

    Equal seeds draw equal real clips, so that two methods can be compared draw by draw.

    Args:
        real: features of N real clips, from `features`.
        generated: features of M generated clips.
        rng: draws the real clips.
        draws: how many draws; their sd is 0 for one draw, and where `size` is N.
        size: real clips in a draw, without repeats, 2 to N; None is the smaller of M and N.

    Raises:
        ValueError: for fewer than 2 real clips in a draw, more than there are, or draws < 1.
    """
    count, made = len(real[FEATURES[0]]), len(generated[FEATURES[0]])
    size = max(2, min(count, made)) if size is None else size
    if not 2 <= size <= count or draws < 1 or made < 1:
        raise ValueError(
            f"overlap got {draws} draws of {size} from {count} real clips, and {made} generated; "
            "give 1 draw or more, of 2 or more of the real clips, and 1 generated clip or more"
        )
    areas = np.empty((draws, len(FEATURES)))
    for draw in range(draws):
        some = rng.choice(count, size, replace=False)
        for column, name in enumerate(FEATURES):
            distances = within(real[name][some]), between(real[name][some], generated[name])
            areas[draw, column] = overlap_area(*distances)
    means = areas.mean(1)
    return Overlap(
        float(means.mean()),
        float(means.std()),
        dict(zip(FEATURES, areas.mean(0).tolist(), strict=True)),
    )


def within(x: np.ndarray) -> np.ndarray:
    """Return the Euclidean distances of all pairs of different rows, (N (N - 1) / 2,)."""
    return pdist(x)


def between(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the Euclidean distances of every row of x to every row of y, (N M,)."""
    return cdist(x, y).ravel()


def overlap_area(a: np.ndarray, b: np.ndarray) -> float:
    r"""Return the area under the smaller of two densities.

    .. math:: \int_{\min(a, b)}^{\max(a, b)} \min(f_a(x), f_b(x))\, dx

    with Gaussian kernel estimates f of Scott's bandwidth, :math:`n^{-1/5}` times the sd (ddof 1).
    Equal distances have no such estimate. They are read as a point mass, the limit of it: its
    overlap with a density is 0, with a mass at the same point 1, elsewhere 0.

    Args:
        a: distances, (n,), at least one.
        b: distances, (m,), at least one.

    Raises:
        ValueError: for an empty set, or a number that is not finite.
    """
    both = np.concatenate([a, b])
    if not len(a) or not len(b) or not np.isfinite(both).all():
        raise ValueError(
            f"overlap_area got {len(a)} and {len(b)} distances, {np.isfinite(both).sum()} of them "
            "finite; give at least one of each, all finite"
        )
    tolerance = FLAT * np.abs(both).max()
    if np.ptp(both) <= tolerance:
        return 1.0
    if min(np.ptp(a), np.ptp(b)) <= tolerance:
        return 0.0
    x = np.linspace(both.min(), both.max(), GRID)
    smaller = np.minimum(gaussian_kde(a)(x), gaussian_kde(b)(x))
    return float(trapezoid(smaller, x))
