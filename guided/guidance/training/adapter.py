r"""AGD, the student: a small network that adds to a frozen one what guidance would have added."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from guided.denoiser import Denoiser, DenoiserWrapper, Prediction, per_sample
from guided.guidance.scale import Scale, checked, neutral, per_row, weight
from guided.guidance.space import coordinates, moved
from guided.guidance.training.silent import silenced
from guided.nets import MLP, FourierTime
from guided.schedule import Level

FEATURES = 32  # of the scale


class Adapter(nn.Module):
    """What is added for a sample, its noise level, its condition and the scale of guidance.

    It starts as the constant 0.

    Args:
        dim: numbers in one sample; samples of higher rank are flattened.
        cond_dim: numbers in an encoded condition; 0 = none.
        encode: maps a condition to numbers (B, cond_dim), e.g. labels to one-hot rows; None: it is
            that already.
        largest: the largest absolute scale, for its embedding.
        hidden: widths of the hidden layers.
    """

    def __init__(
        self,
        dim: int,
        cond_dim: int = 0,
        encode: Callable[[Any], Tensor] | None = None,
        largest: float = 10.0,
        hidden: Sequence[int] = (128, 128),
    ) -> None:
        super().__init__()
        self.cond_dim, self.encode, self.largest = cond_dim, encode, largest
        self.scale = FourierTime(FEATURES)
        self.net = silenced(MLP(2 * dim, dim, hidden, cond_dim=FEATURES + cond_dim))

    def forward(self, x: Tensor, base: Tensor, time: Tensor, cond: Any, scale: Tensor) -> Tensor:
        """Return g, of the shape of x.

        Args:
            x: noisy samples (B, ...).
            base: what the frozen network predicts, of the shape of x.
            time: shape (B,).
            cond: conditions of B rows.
            scale: w, shape (B,).
        """
        parts = [self.scale(scale.to(x) / self.largest)]
        if self.cond_dim:
            parts.append((self.encode(cond) if self.encode else cond).to(x))
        seen = torch.cat([x.flatten(1), base.flatten(1)], 1)
        return self.net(seen, time, torch.cat(parts, 1)).reshape(x.shape)


class Distilled(DenoiserWrapper):
    r"""A frozen denoiser with an adapter: guided predictions for one network call.

    .. math:: \hat v = v(x_t, t, c) + (w - 1)\, g(x_t, v, t, c, w)

    x0 and eps stay consistent. An untrained adapter changes nothing.

    Args:
        denoiser: the frozen base.
        adapter: g, trained by ``distil_loss``.
        scale: w, a number, one per request (R,), or a function of the level; 1 is neutral (the
            base, bit for bit, and the adapter is not evaluated).

    Source: Jensen & Sadat 2025, Efficient distillation of classifier-free guidance using adapters.
    Differs: the adapter adds to the prediction instead of to the attention of every block, so that
        any network can have one; the factor w - 1 makes scale 1 neutral.
    """

    def __init__(self, denoiser: Denoiser, adapter: Adapter, scale: Scale = 1.0) -> None:
        super().__init__(denoiser)
        self.adapter, self.scale = adapter, checked(scale, "Distilled")
        self.neutral = neutral(self.scale)

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Return the guided prediction."""
        base = self.denoiser(x, level, cond)
        w = 1.0 if self.neutral else weight(self.scale, level)
        if not isinstance(w, Tensor) and w == 1:
            return base
        rows = per_row(w, x)
        return self.added(base, x, level, cond, per_sample(rows, x))

    def added(
        self, base: Prediction, x: Tensor, level: Level, cond: Any, scales: Tensor
    ) -> Prediction:
        """Return the base's prediction with what the adapter adds at scales w (B,)."""
        v = coordinates(base, level, "v")
        push = self.adapter(x, v, per_sample(level.t, x), cond, scales)
        factor = (scales.to(x) - 1).reshape(-1, *[1] * (x.ndim - 1))
        return moved(base, factor * push, level, "v")
