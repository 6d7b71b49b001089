r"""The key of a roll: the major or minor key whose profile correlates best with its pitch classes.

.. math:: r_k = \frac{\sum_c (w_{kc} - \bar w_k)(h_c - \bar h)}{\|w_k - \bar w_k\|\,\|h - \bar h\|}

with the sounding time :math:`h_c` of pitch class c, and Aarden-Essen profiles :math:`w_k`.
Key k is 0..11 for C to B major, 12..23 for C to B minor.

Source: Krumhansl, Cognitive Foundations of Musical Pitch, 1990, ch. 4 (the algorithm); B. Aarden,
    Dynamic Melodic Expectancy, 2003, and the Essen folksongs (the weights), as given by Humdrum's
    keycor, https://extras.humdrum.org/man/keycor/.
"""

import torch
from torch import Tensor

# Weights of the degrees above the tonic, in millionths: with whole numbers the products are exact,
# so equally good keys really tie, and the first one wins on every machine.
_MAJOR = [17766100, 145624, 14926500, 160186, 19804900, 11358700]
_MAJOR += [291248, 22062000, 145624, 8154940, 232998, 4951220]
_MINOR = [18264800, 737619, 14049900, 16859900, 702494, 14436200]
_MINOR += [702494, 18616100, 4566210, 1931860, 7376190, 1756230]
_WEIGHTS = torch.tensor([_MAJOR, _MINOR], dtype=torch.float64)
PROFILES = torch.cat([torch.stack([w.roll(tonic) for tonic in range(12)]) for w in _WEIGHTS])


def correlations(duration: Tensor) -> Tensor:
    """Return the correlation (B, 24) of every key with the durations (B, 12) of pitch classes.

    Durations are whole numbers of columns. Silence, or all classes alike, gives 0 for every key.
    """
    h = duration.double()
    w = PROFILES.to(h.device)
    covariance = 12 * (h @ w.T) - h.sum(dim=-1, keepdim=True) * w.sum(dim=-1)
    spread_h = (12 * h.square().sum(dim=-1) - h.sum(dim=-1).square()).clamp(min=0)
    spread_w = 12 * w.square().sum(dim=-1) - w.sum(dim=-1).square()
    norm = (spread_h[:, None] * spread_w).sqrt()
    return torch.where(norm > 0, covariance / norm, 0.0)


def best_key(duration: Tensor) -> Tensor:
    """Return the key (B,) int64 that correlates best with durations (B, 12); the first on ties."""
    return correlations(duration).argmax(dim=-1)
