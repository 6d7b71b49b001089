"""Contrast with the average over all classes, weighted by a classifier."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from guided.denoiser import Denoiser, DenoiserWrapper, Prediction
from guided.guidance.branches import Call, evaluate, network
from guided.guidance.denoise.contrast import Contrast, Term
from guided.guidance.scale import Scale
from guided.schedule import Level


class PosteriorICG(Contrast):
    r"""Contrast with the average over all classes, weighted by a classifier: CFG without training.

    .. math:: \hat D = \bar D + w (D(x; c) - \bar D), \qquad
              \bar D = \sum_k p(k | x_t)\, D(x; k)

    Exactly CFG where the classifier and the network are exact, since :math:`\bar D` is then the
    unconditional prediction. Two network calls: one row a sample, and K.

    Args:
        denoiser: a conditional denoiser.
        scale: w, a number, one per request (R,), or a function of the level; 1 is neutral.
        conditions: maps a condition to those of all K classes, each of its batch size; e.g.
            :func:`all_classes`.
        classifier: maps (x (B, ...), level) to the logits (B, K) of p(k | x_t).

    Raises:
        ValueError: in the call, for logits of another shape.

    Source: ours, after Sadat et al. 2025 (ICG).
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: Scale,
        conditions: Callable[[Any], Sequence[Any]],
        classifier: Callable[[Tensor, Level], Tensor],
    ) -> None:
        average = ClassAverage(denoiser, conditions, classifier)
        super().__init__(denoiser, [Term(network(average), scale)])
        self.average = average


class ClassAverage(DenoiserWrapper):
    r"""The unconditional denoiser of a conditional one, :math:`\sum_k p(k | x_t) D(x; k)`.

    One stacked call of K rows a sample.

    Args:
        denoiser: a conditional denoiser.
        conditions: maps a condition to those of all K classes.
        classifier: maps (x (B, ...), level) to the logits (B, K) of p(k | x_t).

    Raises:
        ValueError: in the call, for logits of another shape.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        conditions: Callable[[Any], Sequence[Any]],
        classifier: Callable[[Tensor, Level], Tensor],
    ) -> None:
        super().__init__(denoiser)
        self.conditions, self.classifier = conditions, classifier

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Predict without regard to cond, which only tells ``conditions`` the batch size."""
        conditions = self.conditions(cond)
        logits = self.classifier(x, level)
        if logits.shape != (len(x), len(conditions)):
            raise ValueError(
                f"the classifier must return logits of {len(conditions)} classes for {len(x)} "
                f"rows, got {tuple(logits.shape)}"
            )
        found = evaluate([Call(self.denoiser, x, level, own) for own in conditions])
        shape = (len(conditions), len(x), *[1] * (x.ndim - 1))
        weights = logits.softmax(-1).to(x).T.reshape(shape)
        return Prediction(
            (weights * torch.stack([p.x0 for p in found])).sum(0),
            (weights * torch.stack([p.eps for p in found])).sum(0),
        )


def all_classes(classes: int) -> Callable[[Tensor], list[Tensor]]:
    """Return the conditions of all labels 0, ..., classes - 1, for :class:`PosteriorICG`."""
    return lambda cond: [torch.full_like(cond, k) for k in range(classes)]
