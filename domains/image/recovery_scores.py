"""How near recovered pictures are to the truth, and to what was measured.

Pixels are in [-1, 1]; what lies outside is cut before it is compared with the truth. Members are
(P, members, C, H, W), a truth (P, C, H, W); every figure is one number a picture, (P,).
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from domains.image.invert import Recovery
from domains.image.operators import Measurement

PEAK = 2.0  # white minus black


def psnr(x: Tensor, truth: Tensor) -> Tensor:
    r"""Return :math:`10 \log_{10} (4 / \mathrm{MSE})` in dB of pictures x (P, C, H, W), (P,)."""
    error = (x.clamp(-1, 1) - truth).square().flatten(1).mean(1)
    return 10 * (PEAK**2 / error).log10()


def relative_l2(x: Tensor, truth: Tensor) -> Tensor:
    """Return the norm of the error over that of the truth of pictures x (P, C, H, W), (P,)."""
    return (x.clamp(-1, 1) - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)


def misfit(members: Tensor, measurement: Measurement) -> Tensor:
    """Return the root mean square of y - G(x0) in units of the noise, (P,); that of the truth is 1.

    A member whose outputs are not finite counts as infinitely far.
    """
    flat = members.flatten(0, 1)
    y = measurement.y.repeat_interleave(members.shape[1], dim=0)
    residual = (measurement.degradation(flat) - y).flatten(1) / measurement.noise
    squares = residual.square().mean(1).nan_to_num(nan=float("inf"))
    return squares.unflatten(0, members.shape[:2]).mean(1).sqrt()


def scores(
    recovery: Recovery,
    measurement: Measurement,
    labels: Tensor | None = None,
    judge: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Any]:
    """Return the figures of a recovery, by name, each a list over the pictures.

    Args:
        recovery: what a method found.
        measurement: of what.
        labels: the classes of the truth (P,).
        judge: maps pictures to logits (N, classes) and guided nothing; with labels, it tells the
            share of members that still are what they were.
    """
    members, truth = recovery.members, measurement.truth
    many = members.shape[1]
    repeated = truth.repeat_interleave(many, dim=0)
    mean = members.mean(1)
    figures = {
        "psnr": psnr(mean, truth),
        "psnr_one": psnr(members.flatten(0, 1), repeated).unflatten(0, (-1, many)).mean(1),
        "rel_l2": relative_l2(mean, truth),
        "misfit": misfit(members, measurement),
        "spread": members.var(1, correction=0).flatten(1).mean(1).sqrt(),
    }
    if judge is not None and labels is not None:
        told = judge(members.flatten(0, 1)).argmax(1).unflatten(0, members.shape[:2])
        figures["accuracy"] = (told == labels[:, None]).double().mean(1)
    return {name: [round(value, 4) for value in each.tolist()] for name, each in figures.items()}
