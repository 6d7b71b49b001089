r"""Self-attention as a function with an explicit ``control``, and rotary positions.

Shapes: q, k, v are (B, H, T, D): batch, heads, tokens, numbers per head.
Guidance by perturbed attention passes a control for one call; nothing is patched or remembered.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

Mode = Literal["identity", "uniform", "blur", "drop", "soft", "scale"]
MODES = ("identity", "uniform", "blur", "drop", "soft", "scale")


class LayerControl(Protocol):
    """What a control does in one layer; see :mod:`guided.nets.control`."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, grid: Sequence[int]) -> Tensor:
        """Return the layer's attention output (B, H, T, D)."""
        ...


@dataclass(frozen=True)
class AttentionControl:
    r"""What to do to the attention map :math:`A = \mathrm{softmax}(q k^T / \sqrt D)`.

    ============  ==========================================================================
    mode          the map becomes
    ============  ==========================================================================
    ``identity``  I: every token sees itself only, the output is v (PAG)
    ``uniform``   1/T: every token sees the mean of v
    ``blur``      A of queries blurred over the grid of tokens, ``amount`` the Gaussian's sigma
                  in tokens; math.inf gives every token the mean query (SEG)
    ``drop``      0: attention adds nothing
    ``soft``      (1 - u) A + u I with u = ``amount``: 0 is neutral, 1 is identity (SoftPAG)
    ``scale``     A with logits times ``amount``: 1 is neutral, 0 is uniform, above 1 is sharper
    ============  ==========================================================================

    Args:
        layers: indices of the blocks it acts on; empty is neutral.
        mode: one of the above.
        amount: see above; the other modes have none.

    Raises:
        ValueError: for an unknown mode, or an amount out of its range.

    Source: Ahn et al. 2024 (PAG), https://arxiv.org/abs/2403.17377; Hong 2024 (SEG),
        https://arxiv.org/abs/2408.00760.
    """

    layers: frozenset[int]
    mode: Mode = "identity"
    amount: float = 1.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(
                f"unknown attention control {self.mode!r}; expected one of {', '.join(MODES)}"
            )
        if self.mode == "soft" and not 0 <= self.amount <= 1:
            raise ValueError(f"the share of 'soft' is in [0, 1], got {self.amount}")
        if self.mode == "blur" and not self.amount > 0:
            raise ValueError(f"the sigma of 'blur' is above 0, got {self.amount}")

    def attend(self, q: Tensor, k: Tensor, v: Tensor, grid: Sequence[int]) -> Tensor:
        """Return what the control makes of attention; ``grid`` is the arrangement of the tokens.

        Raises:
            ValueError: for one token, whose attention cannot be perturbed, or a grid of another
                size.
        """
        if k.shape[-2] == 1:
            raise ValueError(
                "attention over one token cannot be perturbed: it sees only itself; use another "
                "weak branch, such as an early snapshot or a skipped layer"
            )
        if self.mode == "identity":
            return v
        if self.mode == "uniform":
            return v.mean(dim=-2, keepdim=True).expand_as(v)
        if self.mode == "drop":
            return torch.zeros_like(v)
        if self.mode == "scale":
            root = q.shape[-1] ** 0.5
            return functional.scaled_dot_product_attention(q, k, v, scale=self.amount / root)
        if self.mode == "blur" and self.amount == math.inf:
            # All tokens ask the same, so one is answered.
            return attend(q.mean(dim=-2, keepdim=True), k, v).expand_as(v)
        if self.mode == "blur":
            return attend(blurred(q, self.amount, grid), k, v)
        return torch.lerp(attend(q, k, v), v, self.amount)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    control: LayerControl | None = None,
    grid: Sequence[int] | None = None,
) -> Tensor:
    """Return softmax(q k^T / sqrt(D)) v, or what ``control`` makes of it; shape (B, H, T, D).

    Args:
        q: queries.
        k: keys.
        v: values.
        control: what to do to this layer; None = nothing.
        grid: how the T tokens lie, e.g. (rows, columns); None = in one row.
    """
    if control is not None:
        return control.attend(q, k, v, grid or (q.shape[-2],))
    if q.requires_grad and q.dtype == torch.bfloat16 and q.device.type == "cpu":
        # There the fused kernel's backward pass is five times slower than the formula's.
        return (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1) @ v
    return functional.scaled_dot_product_attention(q, k, v)


def blurred(tokens: Tensor, sigma: float, grid: Sequence[int]) -> Tensor:
    """Blur tokens (..., T, D) over their grid with a Gaussian of ``sigma`` tokens.

    At the edges the Gaussian is cut off and normalised again, so that a constant stays constant.

    Raises:
        ValueError: for a grid that does not hold T tokens.
    """
    if math.prod(grid) != tokens.shape[-2]:
        raise ValueError(
            f"{tokens.shape[-2]} tokens do not lie on a grid of {' x '.join(map(str, grid))}"
        )
    if sigma == math.inf:
        return tokens.mean(dim=-2, keepdim=True).expand_as(tokens)
    out = smoothed(tokens.unflatten(-2, tuple(grid)), sigma, range(-1 - len(grid), -1))
    return out.flatten(-1 - len(grid), -2)


def smoothed(x: Tensor, sigma: float, axes: Sequence[int]) -> Tensor:
    """Blur x over some axes with a Gaussian of ``sigma`` places, cut off at the edges.

    Raises:
        ValueError: for a sigma that is not positive.
    """
    if not sigma > 0:
        raise ValueError(f"the sigma of a blur is positive, got {sigma}")
    for axis in axes:
        weight = _gaussian(x.shape[axis], sigma, x.dtype, x.device)
        # From the left, so that what comes out lies in memory as what went in: attention to it is
        # twice as fast.
        x = (weight @ x.movedim(axis, -2)).movedim(-2, axis)
    return x


@functools.lru_cache(maxsize=32)
def _gaussian(size: int, sigma: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Kept, so it must not be born in inference mode, where a later gradient refuses it.
    with torch.inference_mode(False):
        return gaussian(size, sigma).to(device, dtype)


def gaussian(size: int, sigma: float) -> Tensor:
    """Return the matrix (size, size) of a Gaussian blur, rows cut off at the edges, in float64."""
    place = torch.arange(size, dtype=torch.float64)
    return (-0.5 * ((place[:, None] - place) / sigma) ** 2).softmax(dim=-1)


def rotations(length: int, dim: int, base: float = 10000.0) -> Tensor:
    r"""Return :math:`e^{i\, m\, b^{-2j/D}}` for position m and pair j, (T, D / 2) in complex128."""
    frequency = base ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    return torch.polar(torch.ones_like(angle), angle)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn the pairs (x[2j], x[2j + 1]) by position, so that q k^T depends on distance only.

    One complex product is 20 times faster on a CPU than the usual split and concatenation.

    Args:
        x: shape (..., D), float32 or float64.
        rotation: complex, broadcast against x as (..., D / 2).

    Source: Su et al. 2021 (RoFormer), https://arxiv.org/abs/2104.09864, equation 34.
    """
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2)
