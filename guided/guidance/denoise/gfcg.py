"""Gradient-free classifier guidance: guided away from the class it is taken for."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guided.denoiser import Denoiser, Prediction
from guided.guidance.branches import Call, Following, Weighed
from guided.guidance.denoise.contrast import Contrast, Term, require_schedule
from guided.guidance.scale import Scale


class GFCG(Contrast):
    r"""Contrast with the network under the class that a classifier confuses the sample with.

    .. math::
        p &= \mathrm{softmax}\, f(\hat x_0), \qquad r = \arg\max_{k \ne c} p_k, \qquad
        u = \Big[1 - \frac{p_c}{g}\Big]_+ \\
        \hat D &= D(x; c) + (w - 1)\, u\, (D(x; c) - D(x; r))

    The classifier f sees the clean estimate of every call, in inference only. From the source are:
    a classifier without its gradient, that chooses a reference class and a scale at each step; the
    most probable wrong class as that reference; use beside CFG, and with the weak network of
    autoguidance under the reference class, at no further call. Ours is the formula of the scale:
    the push falls linearly in the classifier's confidence :math:`p_c`, is capped by w where it
    is 0, and is off from the gate g on. Both limits are needed: a wrong class repels with full
    force, however little confused the sample is, and the confidence at a clean estimate is not
    :math:`p(c | x_t)`.

    With a weak network the push is whole: from the gate on it is autoguidance, the weak network
    under c; below the gate the weak network is under r, which repels it from both. A weak network
    that has not learned to read its condition makes this plain autoguidance.

    Two network calls a step, the second at the strong prediction. Beside CFG:
    ``together(CFG(net, 2.0, null), GFCG(net, 3.0, classifier))``, three rows in two calls.

    Args:
        denoiser: a conditional denoiser.
        scale: w, the greatest: a number, one per request (R,), or a function of the level; 1 is
            neutral, and the classifier is then not asked.
        classifier: maps x0 (B, ...) to logits (B, K), row by row.
        labels: maps a condition to the classes c (B,) in the classifier's order; None = the
            condition itself is that tensor.
        swap: maps (a condition, classes r (B,)) to the condition of those classes; None = the
            classes themselves.
        gate: g in (0, 1], the confidence from which on no class is pushed away from.
        weak: the network of the weak branch, of the same schedule; None = the same one.

    Raises:
        ValueError: for a gate out of its range, or a weak network of another schedule; in the call,
            for logits or labels of another shape.

    Source: Shenoy et al. 2024, Gradient-free classifier guidance for diffusion model sampling,
        https://arxiv.org/abs/2411.15393 (abstract).
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: Scale,
        classifier: Callable[[Tensor], Tensor],
        labels: Callable[[Any], Tensor] | None = None,
        swap: Callable[[Any, Tensor], Any] | None = None,
        gate: float = 0.9,
        weak: Denoiser | None = None,
    ) -> None:
        super().__init__(denoiser, [Term(Following(self._weak), scale)])
        if not 0 < gate <= 1:
            raise ValueError(f"the gate of GFCG is a confidence in (0, 1], got {gate}")
        if weak is not None:
            require_schedule(weak, denoiser)
        self.classifier, self.labels, self.swap = classifier, labels, swap
        self.gate, self.weak = gate, weak

    def _weak(self, call: Call, strong: Prediction) -> Weighed:
        with torch.no_grad():
            logits = self.classifier(strong.x0.detach())
        labels = self.labels(call.cond) if self.labels else call.cond
        rival, share = confusion(logits, labels, self.gate)
        if self.weak is not None:
            # Autoguidance, but away from the rival as well while there is one.
            rival, share = torch.where(share > 0, rival, labels), torch.ones_like(share)
        cond = self.swap(call.cond, rival) if self.swap else rival
        call = call.unwatched()._replace(cond=cond, denoiser=self.weak or call.denoiser)
        return Weighed(call, share.to(strong.x0))


def confusion(logits: Tensor, labels: Tensor, gate: float) -> tuple[Tensor, Tensor]:
    """Return the most probable wrong class (B,), and the share of the push in [0, 1] (B,).

    Args:
        logits: of K classes, (B, K).
        labels: the right classes (B,).
        gate: the confidence in the right class from which on the share is 0.

    Raises:
        ValueError: for fewer than two classes, or labels that are not one of them a row.
    """
    whole = isinstance(labels, Tensor) and not labels.is_floating_point()
    if logits.ndim != 2 or logits.shape[1] < 2 or not whole or labels.shape != logits.shape[:1]:
        got = tuple(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        raise ValueError(
            f"GFCG needs logits (B, K) of at least two classes and whole labels (B,), got logits "
            f"{tuple(logits.shape)} and labels {got}; say with labels= what class a condition is"
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
        raise ValueError(
            f"GFCG needs labels of the classifier's classes, 0 to {logits.shape[1] - 1}, got "
            f"{int(labels.min())} to {int(labels.max())}; give every sample a class, not the null "
            f"condition"
        )
    own = labels[:, None].to(logits.device).long()
    confidence = logits.softmax(-1).gather(1, own)[:, 0]
    rival = logits.scatter(1, own, -torch.inf).argmax(1)
    return rival.to(labels), (1 - confidence / gate).clamp(min=0)
