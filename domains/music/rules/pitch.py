r"""Pitch histogram: how much each of the 12 pitch classes sounds.

.. math:: h_c = \frac{\sum_{t,\, p \in c} v_{tp}}{\sum_{t,p} v_{tp} + 10^{-12}}

with the velocity :math:`v_{tp}`: every note counts by velocity times length.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from domains.music.roll import Rolls
from domains.music.rules.names import PITCH_CLASSES, pitch_class
from domains.music.rules.rule import Rule
from domains.music.rules.sounding import pitch_classes


@dataclass(frozen=True)
class PitchHistogram(Rule):
    """Features (B, 12), C first: they sum to 1, or are all 0 for an empty roll.

    The loss is the mean over the 12 classes of the squared error, between 0 and 1/6. Every audible
    and inaudible velocity counts: there is no threshold.

    Source: Huang et al. 2024, "Symbolic Music Generation with Non-Differentiable Rule Guided
        Diffusion", https://arxiv.org/abs/2402.14285, and its code (total_pitch_class_histogram).
    """

    name: ClassVar[str] = "pitch_histogram"
    weight: ClassVar[float] = 40.0

    def measure(self, rolls: Rolls) -> Tensor:
        """Return the histograms (B, 12)."""
        total = pitch_classes(rolls.velocity.sum(dim=1))
        return total / (total.sum(dim=-1, keepdim=True) + 1e-12)

    def parse(self, text: str, columns: int) -> Tensor:
        """Read "C:.5,E:.25,G:.25" or 12 numbers from C to B; the target is normalised to sum 1.

        Raises:
            ValueError: if the text is neither, or has a negative share or only zeros.
        """
        target = torch.tensor(_named(text) if ":" in text else _listed(text))
        if not target.isfinite().all() or (target < 0).any() or target.sum() == 0:
            raise ValueError(
                f"pitch_histogram got {text!r}; give shares of 0 or more, at least one above 0"
            )
        return target / target.sum()

    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared error (B,)."""
        return (features - target).square().mean(dim=-1)

    def show(self, features: Tensor) -> str:
        """Return the classes that sound with their shares, the strongest first."""
        order = features.argsort(descending=True, stable=True).tolist()
        parts = [f"{PITCH_CLASSES[c]}:{features[c]:.2f}" for c in order if features[c] >= 0.005]
        return ",".join(parts) or "silent"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"pitch_histogram got {text!r} where a share such as .5 belongs") from None


def _named(text: str) -> list[float]:
    shares = [0.0] * 12
    for part in text.split(","):
        name, _, share = part.partition(":")
        shares[pitch_class(name)] += _number(share)
    return shares


def _listed(text: str) -> list[float]:
    shares = [_number(part) for part in text.replace(",", " ").split()]
    if len(shares) != 12:
        raise ValueError(
            f"pitch_histogram got {len(shares)} numbers; give 12 (C to B), or C:.5,E:.25,G:.25"
        )
    return shares
