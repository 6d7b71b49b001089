r"""Fourier features of the noise level, and of any vector.

Those of time are :math:`[\cos 2\pi f_i t, \sin 2\pi f_i t]`, f in a geometric row. The slowest wave
takes 8 units and is unambiguous on [-2, 2], the fastest takes 1/16 of a unit, so the same features
serve t in [0, 1] and the :math:`\tfrac14 \log \sigma` of EDM (about [-2, 2]).
"""

import math

import torch
from torch import Tensor, nn

SLOWEST, FASTEST = 1 / 8, 16.0  # cycles per unit of time


class FourierTime(nn.Module):
    """Maps time (B,) to fixed features (B, features), in the dtype of time.

    Args:
        features: how many; even, half of them cosines.

    Raises:
        ValueError: for an odd number of features, or fewer than 4.

    Source: Vaswani et al. 2017, section 3.5, with frequencies for the ranges above.
    """

    def __init__(self, features: int = 64) -> None:
        super().__init__()
        if features < 4 or features % 2:
            raise ValueError(f"FourierTime needs an even number of features >= 4, got {features}")
        # No buffer: a network cast to half precision must not round its frequencies.
        steps = [i / (features // 2 - 1) for i in range(features // 2)]
        self.frequencies = [2 * math.pi * SLOWEST * (FASTEST / SLOWEST) ** s for s in steps]

    def forward(self, time: Tensor) -> Tensor:
        """Return the features (B, features) of time (B,).

        Raises:
            ValueError: for times that are not one per sample.
        """
        if time.ndim != 1:
            raise ValueError(
                f"the network takes one time per sample, of shape (B,), got {tuple(time.shape)}; a "
                f"time per token needs a network that says so, such as Transformer"
            )
        dtype = torch.promote_types(time.dtype, torch.float32)
        angle = time[:, None] * torch.tensor(self.frequencies, dtype=dtype, device=time.device)
        return torch.cat([angle.cos(), angle.sin()], dim=-1).to(time.dtype)


class RandomFourier(nn.Module):
    r"""Maps x (B, dim) to :math:`[x, \sin 2\pi x W, \cos 2\pi x W]`, (B, dim + 2 waves), W fixed.

    W is drawn when the module is built, as the weights of other modules are: build it under
    :func:`guided.rng.initial_weights`. It is saved with them.

    A perceptron of x alone learns slow changes first, and jumps such as the two sides of a wall
    last or never; with waves beside x it learns them sooner. Too fast waves, and it learns the
    data by heart.

    Args:
        dim: numbers in x.
        waves: how many.
        scale: standard deviation of their frequencies, in cycles per unit of x.

    Attributes:
        out: numbers in the result.

    Raises:
        ValueError: for fewer waves than 1 or a scale that is not positive.

    Source: Tancik et al. 2020, Fourier features let networks learn high frequency functions in low
        dimensional domains, eq. 5; Yang, Ajay & Agrawal 2022 on value functions.
    """

    frequencies: Tensor

    def __init__(self, dim: int, waves: int, scale: float) -> None:
        super().__init__()
        if waves < 1 or not scale > 0:
            raise ValueError(
                f"random Fourier features need waves >= 1 and a scale > 0, got {waves} and {scale}"
            )
        self.register_buffer("frequencies", scale * torch.randn(dim, waves))
        self.out = dim + 2 * waves

    def forward(self, x: Tensor) -> Tensor:
        """Return x with its features beside it."""
        angle = 2 * math.pi * x @ self.frequencies
        return torch.cat([x, angle.sin(), angle.cos()], dim=-1)
