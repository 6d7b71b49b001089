"""Regions of a sample whose pushes are made equally strong."""

import torch
from torch import Tensor

from guided.guidance.ops import axes


def equalised(
    delta: Tensor,
    masks: Tensor,
    channel: int | None = None,
    background: int | None = None,
    bounds: tuple[float, float] = (0.8, 3.0),
) -> Tensor:
    r"""Return the difference with the same mean size in every region.

    .. math:: \Delta \leftarrow \Delta \Big[1 + \sum_i m_i \Big(
              \frac{\mathrm{mean}_f |\Delta|}{\mathrm{mean}_{m_i} |\Delta|} - 1 \Big) \Big],

    with f the foreground. Entries of no region keep their difference.

    Args:
        delta: (B, ...).
        masks: m_i (B, R, ...), in [0, 1]; they broadcast against a sample.
        channel: axis of delta over which the size is the Euclidean norm; None = of each entry.
        background: index of a region that is not of the foreground; None = all regions are.
        bounds: smallest and largest ratio; (1, 1) is neutral.

    Raises:
        ValueError: for masks that do not fit, or no foreground.
    """
    size = delta.abs() if channel is None else delta.norm(dim=axes(delta, [channel]), keepdim=True)
    masks = _expanded(masks.to(size), size)
    mass = (masks * size[:, None]).flatten(2).sum(2)
    count = masks.flatten(2).sum(2)
    # A region without entries or without a difference ends at a bound, where it changes nothing.
    tiny = torch.finfo(size.dtype).tiny
    mean = (mass / count.clamp(min=tiny)).clamp(min=tiny)
    front = _foreground(masks.shape[1], background)
    foreground = mass[:, front].sum(1) / count[:, front].sum(1).clamp(min=tiny)
    ratio = (foreground[:, None] / mean).clamp(*bounds)
    gain = (masks * (ratio.reshape(*ratio.shape, *[1] * (size.ndim - 1)) - 1)).sum(1)
    return delta * (1 + gain)


def fitting(masks: Tensor, delta: Tensor) -> Tensor:
    """Return given masks as (B, R, ...), for a difference (B, ...).

    Args:
        masks: (R, ...) for all samples, or (Q, R, ...) of Q requests.
        delta: (B, ...), the samples of a request side by side.

    Raises:
        ValueError: for another rank, or Q requests that do not divide the batch.
    """
    if masks.ndim == delta.ndim:
        return masks[None]
    if masks.ndim == delta.ndim + 1 and len(masks) and len(delta) % len(masks) == 0:
        return masks.repeat_interleave(len(delta) // len(masks), dim=0)
    raise ValueError(
        f"masks are (R, ...) or (Q, R, ...) with Q a divisor of the batch, got "
        f"{tuple(masks.shape)} for x of shape {tuple(delta.shape)}"
    )


def require_shares(masks: Tensor) -> None:
    """Refuse masks (..., R, ...) that are no shares of an entry.

    Raises:
        ValueError: for a value outside [0, 1].
    """
    if not bool(((masks >= 0) & (masks <= 1)).all()):
        raise ValueError(
            f"the masks of regions are in [0, 1], got values from {masks.min().item():.3g} to "
            f"{masks.max().item():.3g}"
        )


def _foreground(count: int, background: int | None) -> list[int]:
    front = [region for region in range(count) if region != background]
    if not front or (background is not None and len(front) == count):
        raise ValueError(
            f"the background is one of several regions, counted from 0, got background="
            f"{background} of {count}"
        )
    return front


def _expanded(masks: Tensor, size: Tensor) -> Tensor:
    shape = (len(size), masks.shape[1], *size.shape[1:])
    try:
        return masks.expand(shape)
    except RuntimeError as error:
        raise ValueError(
            f"masks (B, R, ...) of shape {tuple(masks.shape)} do not fit sizes of shape "
            f"{tuple(size.shape)}; the axis of channels has the length 1"
        ) from error
