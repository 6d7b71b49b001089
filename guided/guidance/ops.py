r"""Operations on the push of a contrast, each of (strong - weak, strong, weak); all are pure.

They are given to a ``Term``, in the order in which they are applied.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from guided.guidance.denoise.contrast import DeltaOp


def cap(radius: float, dims: Sequence[int] | None = None) -> DeltaOp:
    r"""Shorten differences whose root mean square is above a radius.

    .. math:: \Delta \leftarrow \Delta \min(1, r / \mathrm{rms}(\Delta))

    Args:
        radius: r, in units of one entry of the space; inf is neutral. A radius of the Euclidean
            norm, as papers give it, is this times the root of the number of entries.
        dims: axes over which the root mean square is taken; None = all but axis 0.

    Raises:
        ValueError: for a radius that is not positive, or axis 0 among ``dims``.
    """
    require_dims(dims)
    if not radius > 0:
        raise ValueError(f"the radius of a cap is positive, and inf is no cap; got {radius}")
    if radius == math.inf:
        return lambda delta, strong, weak: delta

    def op(delta: Tensor, strong: Tensor, weak: Tensor) -> Tensor:
        square = delta.double().square().mean(axes(delta, dims), keepdim=True)
        long = square > radius * radius
        # A root is taken of long ones alone: at 0, where branches agree, it has no slope.
        factor = (radius / square.where(long, 1.0).sqrt()).where(long, 1.0)
        return delta * factor.to(delta)

    return op


def project(
    eta: float = 0.0, dims: Sequence[int] | None = None, centre: float | Tensor = 0.0
) -> DeltaOp:
    r"""Keep the share eta of a difference along the strong prediction, and all of the rest.

    .. math:: \Delta \leftarrow \Delta - (1 - \eta)
              \frac{\langle \Delta, D_s - m \rangle}{|D_s - m|^2} (D_s - m)

    Computed in float64.

    Args:
        eta: the share; 1 is neutral.
        dims: axes over which the products are taken; None = all but axis 0.
        centre: m, the mean of the data, a number or what broadcasts against x.

    Raises:
        ValueError: for an eta that is not finite, or axis 0 among ``dims``.
    """
    require_dims(dims)
    if not math.isfinite(eta):
        raise ValueError(f"the share of a projection is finite, and 1 is neutral; got eta={eta}")
    if eta == 1:
        return lambda delta, strong, weak: delta

    def op(delta: Tensor, strong: Tensor, weak: Tensor) -> Tensor:
        over, full, along = axes(delta, dims), delta.double(), (strong - centre).double()
        square = along.square().sum(over, keepdim=True)
        # Where the strong prediction is 0 so is the product, and nothing is taken away.
        share = (full * along).sum(over, keepdim=True) / square.where(square > 0, 1.0)
        return (full - (1 - eta) * share * along).to(delta)

    return op


def axes(x: Tensor, dims: Sequence[int] | None) -> tuple[int, ...]:
    """Return the axes of x (B, ...) that are meant, counted from 0; None = all but axis 0.

    Raises:
        ValueError: for axis 0, one that does not exist, or none at all.
    """
    found = tuple(range(1, x.ndim)) if dims is None else tuple(d % x.ndim for d in dims)
    exist = dims is None or all(-x.ndim <= d < x.ndim for d in dims)
    if not found or 0 in found or not exist:
        raise ValueError(
            f"the axes of a sample are 1 to {x.ndim - 1} for x of shape {tuple(x.shape)}, or "
            f"counted from the end, got {None if dims is None else list(dims)}"
        )
    return found


def require_dims(dims: Sequence[int] | None) -> None:
    """Refuse axes that cannot be right for any shape.

    Raises:
        ValueError: for axis 0, or none.
    """
    if dims is not None and (0 in dims or not len(dims)):
        raise ValueError(
            f"axis 0 is the sample, and the axes of a method are others, such as (-1,); got "
            f"dims={list(dims)}"
        )
