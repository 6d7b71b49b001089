r"""The likelihood of data under a diffusion model, by its probability flow.

Every schedule is the same flow in the angle :math:`\theta = \operatorname{atan2}(\sigma, \alpha)`
and the variable :math:`\bar x = x / \sqrt{\alpha^2 + \sigma^2}`:

.. math:: \bar x = \cos\theta\, x_0 + \sin\theta\, \varepsilon, \qquad
          \frac{d \bar x}{d \theta} = \cos\theta\, E[\varepsilon | x] - \sin\theta\, E[x_0 | x],

with bounded slopes from data (0) to pure noise (:math:`\pi / 2`), alpha = 0 included.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from guided.denoiser import Denoiser
from guided.liouville import Method, draw_probes, push
from guided.rng import Rng
from guided.sampler import Gaussian
from guided.schedule import Level


def log_likelihood(
    denoiser: Denoiser,
    x0: Tensor,
    times: Sequence[float],
    cond: Any = None,
    probes: int | None = None,
    rng: Rng | None = None,
    method: Method = "rk4",
) -> Tensor:
    r"""Return the log density of data under the model, in nats, shape (B,).

    .. math:: \log p(x_0) = \log N(\bar x_T; 0, \sin^2\theta_T I) + D \log \cos\theta_0
              + \int_{\theta_0}^{\theta_T} \nabla \cdot \frac{d \bar x}{d \theta}\, d\theta

    The flow starts at the last level of the grid, with the ratio :math:`r = \sigma / \alpha`, and
    the result is the density at x0 of the model's data *with noise of that ratio*. What that
    changes is of order :math:`r^2 |\nabla^2 p| / p`: take r well below the smallest scale of the
    data. At the first level the model draws :math:`N(0, \sigma_T^2 I)`; the result is the density
    of what it makes of that, which differs from the data's law by what is left of the data there
    (about :math:`|x_0| / r_T`, nothing where alpha is 0).

    Args:
        denoiser: with a pair of predictions that belong together, :math:`x = \alpha x_0 + \sigma
            \varepsilon`, as guidance of the score leaves it.
        x0: data (B, ...), left untouched.
        times: decreasing, as for a sampler, but without the last 0.
        cond: any tree of tensors with leading axis B.
        probes: random vectors for the trace; None is exact, for D backward passes a call.
        rng: draws the vectors; with a seed per sample, no result depends on its batch.
        method: of :func:`guided.liouville.walk`.

    Raises:
        ValueError: for a bad grid, one that ends at sigma = 0, or probes without an rng.

    Source: Song et al. 2021, Score-based generative modeling through SDEs, eq. 39.
    Differs: integrates over the angle instead of t, the same flow for every schedule.
    """
    if probes is not None and rng is None:
        raise ValueError(f"{probes} random probes need an rng; pass rng=Rng(seed)")
    angles = _angles(denoiser, times)
    x = math.cos(angles[0]) * x0
    vectors = None if probes is None or rng is None else draw_probes(x, probes, rng)

    def velocity(x: Tensor, angle: float) -> Tensor:
        return _velocity(denoiser, x, _level(denoiser, angle), cond)

    noise = push(velocity, x, x.new_zeros(len(x)), angles, method, probes=vectors)
    end = Gaussian(torch.zeros_like(noise.x), math.sin(angles[-1])).log_prob(noise.x)
    size = math.prod(x0.shape[1:])
    return end - noise.log_density + size * math.log(math.cos(angles[0]))


def _angles(denoiser: Denoiser, times: Sequence[float]) -> list[float]:
    """Return the angles of a grid, data first."""
    levels = denoiser.schedule.levels(times)
    if levels[-1].sigma == 0:
        raise ValueError(
            f"a likelihood starts at a level with noise, got times that end at {levels[-1].t:g}; "
            f"leave that time out, e.g. karras(schedule, steps)[:-1]"
        )
    return [math.atan2(level.sigma, level.alpha) for level in reversed(levels)]


def _level(denoiser: Denoiser, angle: float) -> Level:
    return denoiser.schedule.level(denoiser.schedule.time(math.tan(angle)))


def _velocity(denoiser: Denoiser, x: Tensor, level: Level, cond: Any) -> Tensor:
    norm = math.hypot(level.alpha, level.sigma)
    found = denoiser(x * norm, level, cond)
    return (level.alpha / norm) * found.eps - (level.sigma / norm) * found.x0
