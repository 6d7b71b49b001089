r"""Densities along a flow: Liouville's equation for samples that move with it.

Where samples move by :math:`dx/dt = f(x, t)`, the density along the path of each changes by

.. math:: \frac{d \log \rho(x(t), t)}{dt} = -\nabla \cdot f(x(t), t),

so that a sample carries its own log density, forwards and backwards in time. The steps are those
of an explicit Runge-Kutta method; nothing here is differentiable in the end.

Source: Chen et al. 2018, Neural ordinary differential equations, eq. 8; Grathwohl et al. 2019,
FFJORD, section 3.1 for the estimate by random vectors.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from guided.rng import Rng

Field = Callable[[Tensor, float], Tensor]
Slopes = Callable[[Tensor, float], tuple[Tensor, Tensor]]
Method = Literal["euler", "heun", "rk4"]

# Where the stages of a step lie, each reached with the slope of the one before, and their weights.
STAGES: dict[str, tuple[tuple[float, float], ...]] = {
    "euler": ((0.0, 1.0),),
    "heun": ((0.0, 0.5), (1.0, 0.5)),
    "rk4": ((0.0, 1 / 6), (0.5, 1 / 3), (0.5, 1 / 3), (1.0, 1 / 6)),
}


class Pushed(NamedTuple):
    """Samples (B, ...) and their log densities (B,) at time t."""

    x: Tensor
    log_density: Tensor
    t: float


def draw_probes(
    x: Tensor, count: int, rng: Rng, law: Literal["rademacher", "gaussian"] = "rademacher"
) -> Tensor:
    """Draw the random vectors with which :func:`divergence` estimates a trace.

    Args:
        x: samples (B, ...), for the shape, dtype and device.
        count: vectors a sample.
        rng: with a seed per sample, a sample's vectors do not depend on its batch.
        law: of their entries; signs have the lesser variance.

    Returns:
        Shape (count, B, ...).

    Raises:
        ValueError: for a count below 1 or an unknown law.
    """
    if count < 1:
        raise ValueError(f"a trace needs at least 1 random vector, got {count}; None is exact")
    shape = (count * len(x), *x.shape[1:])
    if law == "rademacher":
        drawn = 2 * rng.integers(0, 2, shape, x.device).to(x) - 1
    elif law == "gaussian":
        drawn = rng.normal(shape, x.dtype, x.device)
    else:
        raise ValueError(f"the law of probes is 'rademacher' or 'gaussian', got {law!r}")
    return drawn.unflatten(0, (len(x), count)).movedim(1, 0)


def divergence(f: Field, x: Tensor, t: float, probes: Tensor | None = None) -> Tensor:
    r"""Return :math:`\nabla \cdot f` at every sample, shape (B,).

    Exact by one vector-Jacobian product for each of the D numbers of a sample, or the mean of
    :math:`e^T J e` over random vectors e, which is unbiased.

    Args:
        f: maps (x (B, ...), t) to the velocity (B, ...), every sample by itself.
        x: samples (B, ...), left untouched.
        t: the time.
        probes: vectors (n, B, ...) of :func:`draw_probes`; None is exact.

    Raises:
        ValueError: for a field of another shape, or one through which no gradient flows.
    """
    return _slopes_by_autograd(f, x, t, probes)[1]


def walk(
    f: Field,
    x: Tensor,
    log_density: Tensor,
    times: Iterable[float],
    method: Method = "rk4",
    trace: Field | None = None,
    probes: Tensor | None = None,
) -> Iterator[Pushed]:
    """Move samples and their log densities, yielding them at every time after the first.

    Args:
        f: the velocity, as in :func:`divergence`.
        x: samples (B, ...) at the first time.
        log_density: theirs, (B,).
        times: rising, or falling to go back.
        method: of order 1 (``euler``), 2 (``heun``) or 4 (``rk4``), with as many calls a step.
        trace: the divergence in closed form, (x, t) -> (B,); None takes it by autograd.
        probes: vectors of :func:`draw_probes`, the same in all steps; None is exact.

    Raises:
        ValueError: for times that do not rise or fall, an unknown method, densities of another
            shape, or a trace and probes at once.
    """
    grid = _grid(times)
    if method not in STAGES:
        raise ValueError(f"unknown method {method!r}; expected one of {', '.join(STAGES)}")
    if log_density.shape != x.shape[:1]:
        raise ValueError(
            f"log_density needs one number per sample, shape ({len(x)},), got "
            f"{tuple(log_density.shape)}"
        )
    if trace is not None and probes is not None:
        raise ValueError("got a trace and probes, which estimate it; give one of them")
    return _walk(_slopes(f, trace, probes), Pushed(x, log_density, grid[0]), grid, method)


def push(
    f: Field,
    x: Tensor,
    log_density: Tensor,
    times: Iterable[float],
    method: Method = "rk4",
    trace: Field | None = None,
    probes: Tensor | None = None,
) -> Pushed:
    """Return samples and log densities at the last time; arguments as in :func:`walk`."""
    *_, last = walk(f, x, log_density, times, method, trace, probes)
    return last


def _walk(slopes: Slopes, at: Pushed, grid: Sequence[float], method: Method) -> Iterator[Pushed]:
    for t, s in itertools.pairwise(grid):
        with torch.no_grad():
            at = _step(slopes, at.x, at.log_density, t, s, method)
        yield at


def _step(
    slopes: Slopes, x: Tensor, log_density: Tensor, t: float, s: float, method: Method
) -> Pushed:
    h, velocity = s - t, torch.zeros_like(x)
    moved, lost = x, log_density
    for node, weight in STAGES[method]:
        velocity, trace = slopes(torch.add(x, velocity, alpha=node * h), t + node * h)
        moved = torch.add(moved, velocity, alpha=weight * h)
        lost = torch.sub(lost, trace, alpha=weight * h)
    return Pushed(moved, lost, s)


def _slopes(f: Field, trace: Field | None, probes: Tensor | None) -> Slopes:
    if trace is None:
        return lambda x, t: _slopes_by_autograd(f, x, t, probes)
    return lambda x, t: (f(x, t), trace(x, t))


def _slopes_by_autograd(
    f: Field, x: Tensor, t: float, probes: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the velocity and its divergence, for one call of the field."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        velocity = f(x, t)
    if velocity.shape != x.shape:
        raise ValueError(
            f"a field returns a velocity of the shape of x, {tuple(x.shape)}, got "
            f"{tuple(velocity.shape)}"
        )
    vectors: Iterable[Tensor] = _units(x) if probes is None else probes
    total = x.new_zeros(len(x))
    for vector in vectors:
        total = total + (vector * _pulled(velocity, x, vector)).flatten(1).sum(1)
    return velocity.detach(), total if probes is None else total / len(probes)


def _units(x: Tensor) -> Iterator[Tensor]:
    size = math.prod(x.shape[1:])
    for unit in torch.eye(size, dtype=x.dtype, device=x.device):
        yield unit.reshape(x.shape[1:]).expand_as(x)


def _pulled(velocity: Tensor, x: Tensor, vector: Tensor) -> Tensor:
    """Return the vector-Jacobian product of every sample."""
    slope = None
    if velocity.requires_grad:
        (slope,) = torch.autograd.grad(velocity, x, vector, retain_graph=True, allow_unused=True)
    if slope is None:
        raise ValueError(
            "no gradient flows from the field to x, so that its divergence is unknown; compute it "
            "with autograd on, or give the divergence as trace"
        )
    return slope


def _grid(times: Iterable[float]) -> list[float]:
    grid = [float(t) for t in times]
    gaps = [s - t for t, s in itertools.pairwise(grid)]
    if not gaps or not (all(g > 0 for g in gaps) or all(g < 0 for g in gaps)):
        shown = ", ".join(f"{t:.4g}" for t in grid[:6])
        raise ValueError(
            f"a push needs at least two times that all rise or all fall, got [{shown}"
            f"{', ...' if len(grid) > 6 else ''}]"
        )
    return grid
