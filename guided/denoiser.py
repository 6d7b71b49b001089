r"""The innermost function: ``denoise(x, level, cond) -> Prediction(x0, eps)``.

Both entries are explicit. Methods that move the score keep the pair consistent, so that
:math:`x = \alpha x_0 + \sigma \varepsilon`; methods that move the clean estimate replace ``x0`` and
keep the network's ``eps``. These are different algorithms, and each method says which it is.
"""

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from guided.cond import rows
from guided.rng import Rng
from guided.schedule import Level, Schedule

Parameterization = Literal["x0", "eps", "v", "flow", "edm"]


class Prediction(NamedTuple):
    """The clean estimate E[x0 | x_t] and the noise estimate, both of the shape of x."""

    x0: Tensor
    eps: Tensor

    def take(self, index: Tensor) -> "Prediction":
        """Select rows of axis 0."""
        return Prediction(self.x0[index], self.eps[index])


class Denoiser(nn.Module):
    """Anything with a ``schedule`` that maps (x (B, ...), level, cond) to a :class:`Prediction`."""

    schedule: Schedule

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Predict the clean sample and the noise, each of shape (B, ...)."""
        raise TypeError(f"{type(self).__name__} is no denoiser: it does not define forward")

    def __call__(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """See :meth:`forward`."""
        return super().__call__(x, level, cond)


class DenoiserWrapper(Denoiser):
    """A denoiser made of another one. Sampler-level methods do not fit here and are refused.

    Raises:
        TypeError: if the wrapped object is no :class:`Denoiser`.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        if not isinstance(denoiser, Denoiser):
            raise TypeError(
                f"{type(self).__name__} wraps a Denoiser, got {type(denoiser).__name__}; denoise-"
                f"level methods go inside the sampler, e.g. SCG(DDIM(CFG(denoiser, ...)), ...)"
            )
        self.denoiser = denoiser
        self.schedule = denoiser.schedule


class NetDenoiser(Denoiser):
    r"""Puts a plain network ``net(x, time, cond)`` behind the denoiser contract.

    ===========  =============================================================================
    prediction   what the network returns
    ===========  =============================================================================
    ``x0``       the clean sample
    ``eps``      the noise (needs alpha > 0 at the levels used)
    ``v``        :math:`\alpha \varepsilon - \sigma x_0`
    ``flow``     :math:`\varepsilon - x_0`
    ``edm``      F of EDM: :math:`x_0 = c_{skip} \bar x + c_{out} F(c_{in} \bar x)`, with
                 :math:`\bar x = x / \alpha` and the ratio :math:`\sigma / \alpha` as its sigma
    ===========  =============================================================================

    The network's time input (B,) is t; for ``edm`` it is :math:`\tfrac14 \log(\sigma / \alpha)`.

    Args:
        net: a module called as ``net(x (B, ...), time (B,), cond) -> (B, ...)``.
        schedule: the noise schedule it is trained on.
        prediction: one of the above.
        sigma_data: the data's standard deviation (``edm`` only).
        log_sigma: mean and standard deviation of log(sigma / alpha) in training (``edm`` only);
            the other predictions train on uniform t.

    Source: Karras et al. 2022, table 1 (EDM); Salimans & Ho 2022 (v).
    """

    def __init__(
        self,
        net: nn.Module,
        schedule: Schedule,
        prediction: Parameterization = "eps",
        sigma_data: float = 1.0,
        log_sigma: tuple[float, float] = (-1.2, 1.2),
    ) -> None:
        super().__init__()
        if prediction not in ("x0", "eps", "v", "flow", "edm"):
            raise ValueError(
                f"unknown prediction {prediction!r}; expected 'x0', 'eps', 'v', 'flow' or 'edm'"
            )
        if prediction in ("eps", "edm") and schedule.level(1.0).alpha == 0:
            raise ValueError(
                f"a {prediction!r} network needs alpha > 0, but {type(schedule).__name__} ends in "
                f"pure noise; use prediction='flow', 'v' or 'x0'"
            )
        self.net = net
        self.schedule = schedule
        self.prediction = prediction
        self.sigma_data = sigma_data
        self.log_sigma = log_sigma

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Predict x0 and eps at a level with sigma > 0, which costs one network call."""
        _, alpha, sigma = level
        if self.prediction == "edm":
            skip, out, scale = self._edm(level)
            f = self.output(x * (scale / alpha), level, cond)
            x0 = f * out + x * (skip / alpha)
            return Prediction(x0, (x - alpha * x0) / sigma)
        out = self.output(x, level, cond)
        if self.prediction == "eps":
            return Prediction(_mixed(1 / alpha, x, -sigma / alpha, out), out)
        if self.prediction == "x0":
            return Prediction(out, _mixed(1 / sigma, x, -alpha / sigma, out))
        if self.prediction == "v":
            norm = alpha * alpha + sigma * sigma
            alpha, sigma = alpha / norm, sigma / norm
            return Prediction(_mixed(alpha, x, -sigma, out), _mixed(sigma, x, alpha, out))
        norm = alpha + sigma
        return Prediction(
            _mixed(1 / norm, x, -sigma / norm, out), _mixed(1 / norm, x, alpha / norm, out)
        )

    def output(self, x: Tensor, level: Level, cond: Any = None) -> Tensor:
        """Call the network on x (B, ...), scaled for it, at a level."""
        return self.net(x, self._time(x, level), cond)

    def loss(self, x0: Tensor, cond: Any, rng: Rng, weight: Tensor | None = None) -> Tensor:
        """Return the training loss of every sample at a random level.

        It is the mean square error of the network's own output (for ``edm`` that is the weighted
        loss of the source, table 1), averaged over all axes but the first.

        Args:
            x0: clean samples (B, ...).
            cond: their conditions.
            rng: draws the level and the noise.
            weight: optional weights that broadcast against x0, e.g. of rare channels.

        Returns:
            Shape (B,).
        """
        level = self._random_level(x0, rng)
        eps = rng.normal(x0.shape, x0.dtype, x0.device)
        _, alpha, sigma = level
        x = alpha * x0 + sigma * eps
        target = {
            "x0": lambda: x0,
            "eps": lambda: eps,
            "v": lambda: alpha * eps - sigma * x0,
            "flow": lambda: eps - x0,
            "edm": lambda: self._edm_target(x, x0, level),
        }[self.prediction]()
        scaled = x * (self._edm(level)[2] / alpha) if self.prediction == "edm" else x
        error = (self.output(scaled, level, cond) - target).square()
        if weight is not None:
            error = error * weight
        return error.flatten(1).mean(1)

    def _random_level(self, x0: Tensor, rng: Rng) -> Level:
        shape = (len(x0), *[1] * (x0.ndim - 1))
        if self.prediction == "edm":
            mean, std = self.log_sigma
            ratios = (mean + std * rng.normal((len(x0),), torch.float64)).exp().tolist()
            t = torch.tensor([self.schedule.time(r) for r in ratios], dtype=torch.float64)
        else:
            t = rng.uniform((len(x0),), torch.float64)
        # Keep away from t = 0, where the noise is not defined by x.
        return self.schedule.level(t.clamp(min=1e-4).to(x0).reshape(shape))

    def _time(self, x: Tensor, level: Level) -> Tensor:
        value: Any = level.t
        if self.prediction == "edm":
            ratio = level.noise_to_signal
            value = 0.25 * (ratio.log() if isinstance(ratio, Tensor) else math.log(ratio))
        return per_sample(value, x)

    def _edm(self, level: Level) -> tuple[Any, Any, Any]:
        ratio, d2 = level.noise_to_signal, self.sigma_data**2
        total = ratio * ratio + d2
        return d2 / total, ratio * self.sigma_data / total**0.5, 1 / total**0.5

    def _edm_target(self, x: Tensor, x0: Tensor, level: Level) -> Tensor:
        skip, out, _ = self._edm(level)
        return (x0 - x * (skip / level.alpha)) / out


class Counted(DenoiserWrapper):
    """Counts what a method spends: ``calls``, ``rows`` (samples evaluated) and ``vjps``.

    A vector-Jacobian product is counted when a gradient passes back through a prediction.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__(denoiser)
        self.reset()

    def reset(self) -> None:
        """Set all counters to zero."""
        self.calls = self.rows = self.vjps = 0

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Count the call and pass it on."""
        self.calls += 1
        self.rows += len(x)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return self.denoiser(x, level, cond)
        entrance = x.view_as(x)
        entrance.register_hook(self._count_vjp)
        return self.denoiser(entrance, level, cond)

    def _count_vjp(self, _: Tensor) -> None:
        self.vjps += 1


class Chunked(DenoiserWrapper):
    """Evaluates at most ``size`` rows at a time, for memory; the result is the same.

    Raises:
        ValueError: for a size below 1.
    """

    def __init__(self, denoiser: Denoiser, size: int) -> None:
        super().__init__(denoiser)
        if size < 1:
            raise ValueError(f"Chunked needs a size of at least 1, got {size}")
        self.size = size

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Predict chunk by chunk, the remainder included."""
        if len(x) <= self.size:
            return self.denoiser(x, level, cond)
        parts = []
        for start in range(0, len(x), self.size):
            stop = start + self.size
            part = Level(*(rows(c, start, stop) if _per_row(c) else c for c in level))
            parts.append(self.denoiser(x[start:stop], part, rows(cond, start, stop)))
        return Prediction(torch.cat([p.x0 for p in parts]), torch.cat([p.eps for p in parts]))


class Autocast(DenoiserWrapper):
    """Evaluates the network in half precision; about twice as fast where the processor has it.

    Levels, steps and results keep the precision of x. Not for an exact law, which it would blur.

    Raises:
        ValueError: for a type that is no half precision.
    """

    def __init__(self, denoiser: Denoiser, dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__(denoiser)
        if dtype not in (torch.bfloat16, torch.float16):
            raise ValueError(f"Autocast needs torch.bfloat16 or torch.float16, got {dtype}")
        self.dtype = dtype

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Predict in half precision."""
        with torch.autocast(x.device.type, self.dtype):
            x0, eps = self.denoiser(x, level, cond)
        return Prediction(x0.to(x), eps.to(x))


def per_sample(value: Any, x: Tensor) -> Tensor:
    """Return a time as (B,) in the type of x (B, ...): a number, or a tensor of B elements."""
    if isinstance(value, Tensor) and value.ndim:
        return value.reshape(len(x)).to(x)
    return torch.full((len(x),), float(value), dtype=x.dtype, device=x.device)


def _mixed(a: Any, x: Tensor, b: Any, y: Tensor) -> Tensor:
    """Return a x + b y; in a run a and b are numbers, and the sum is fused."""
    return a * x + b * y if isinstance(b, Tensor) else torch.add(a * x, y, alpha=b)


def _per_row(coefficient: Any) -> bool:
    return isinstance(coefficient, Tensor) and coefficient.ndim > 0 and len(coefficient) > 1
