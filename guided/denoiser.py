r"""The innermost function: ``denoise(x, level, cond) -> Prediction(x0, eps)``.

Both entries are explicit. Methods that move the score keep the pair consistent, so that
:math:`x = \alpha x_0 + \sigma \varepsilon`; methods that move the clean estimate replace ``x0`` and
keep the network's ``eps``. These are different algorithms, and each method says which it is.
"""

import math
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

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

    @property
    def layers(self) -> int:
        """Return how many blocks of its network a control can act on; 0 = it takes no control."""
        return 0

    @property
    def of_requests(self) -> bool:
        """Return whether this one, apart from those inside, has numbers of its own per request."""
        return False

    @cached_property
    def by_place(self) -> bool:
        """Return whether rows are told apart by their place, so that branches are not stacked."""
        return any(isinstance(part, Denoiser) and part.of_requests for part in self.modules())

    def controlled(self, x: Tensor, level: Level, cond: Any, control: Any) -> Prediction:
        """Predict with something done inside the network, as :mod:`guided.nets.control` says.

        Args:
            x: noisy samples (B, ...).
            level: of them.
            cond: their conditions.
            control: a ``Control``, or a ``Stacked`` one of B rows.

        Raises:
            TypeError: for a denoiser that takes no control.
        """
        raise TypeError(
            f"{type(self).__name__} takes no control, so nothing inside it can be perturbed; put "
            f"perturbing methods around the network's own denoiser, e.g. CEP(PAG(denoiser, ...))"
        )


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


class Example(NamedTuple):
    """What a network is shown in training, and what it is to answer.

    Args:
        x: noised samples (B, ...), scaled for the network.
        level: of them, tensors of shape (B, 1, ...) or (B, T, 1, ...).
        target: the answer, of the shape of x.
    """

    x: Tensor
    level: Level
    target: Tensor


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
    Levels of shape (B, T, 1, ...), one per token, make it (B, T), for networks that take that.

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

    @property
    def layers(self) -> int:
        """Return how many blocks of the network a control can act on."""
        count = getattr(self.net, "layers", 0)
        # Perceptrons keep their modules under the same name, and take no control.
        return count if isinstance(count, int) else 0

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Predict x0 and eps at a level with sigma > 0, which costs one network call."""
        return self.controlled(x, level, cond, None)

    def controlled(self, x: Tensor, level: Level, cond: Any, control: Any) -> Prediction:
        """Predict with something done inside the network; None = nothing."""
        _, alpha, sigma = level
        if self.prediction == "edm":
            skip, out, scale = self._edm(level)
            f = self.output(x * (scale / alpha), level, cond, control)
            x0 = f * out + x * (skip / alpha)
            return Prediction(x0, (x - alpha * x0) / sigma)
        out = self.output(x, level, cond, control)
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

    def output(self, x: Tensor, level: Level, cond: Any = None, control: Any = None) -> Tensor:
        """Call the network on x (B, ...), scaled for it, at a level."""
        if control is None:
            return self.net(x, self._time(x, level), cond)
        if not self.layers:
            raise TypeError(
                f"{type(self.net).__name__} takes no control, so nothing inside it can be "
                f"perturbed; use a network of guided.nets that does, or guided.adapters.hooks"
            )
        return self.net(x, self._time(x, level), cond, control)

    def loss(
        self, x0: Tensor, cond: Any, rng: Rng, weight: Tensor | None = None, axes: int = 1
    ) -> Tensor:
        """Return the training loss of every sample at a random level.

        It is the mean square error of the network's own output (for ``edm`` that is the weighted
        loss of the source, table 1), averaged over all axes but the first.

        Args:
            x0: clean samples (B, ...).
            cond: their conditions.
            rng: draws the level and the noise.
            weight: optional weights that broadcast against x0, e.g. of rare channels.
            axes: see :meth:`example`.

        Returns:
            Shape (B,).
        """
        shown = self.example(x0, rng, axes)
        error = (self.output(shown.x, shown.level, cond) - shown.target).square()
        if weight is not None:
            error = error * weight
        return error.flatten(1).mean(1)

    def example(self, x0: Tensor, rng: Rng, axes: int = 1) -> Example:
        """Noise clean samples (B, ...), each at a random level.

        Args:
            x0: clean samples.
            rng: draws the levels, then the noise.
            axes: how many of the first axes have levels of their own: 1 = samples, 2 = tokens.
        """
        level = self._random_level(x0, rng, axes)
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
        return Example(scaled, level, target)

    def _random_level(self, x0: Tensor, rng: Rng, axes: int) -> Level:
        drawn = x0.shape[:axes]
        shape = (*drawn, *[1] * (x0.ndim - axes))
        if self.prediction == "edm":
            mean, std = self.log_sigma
            ratios = (mean + std * rng.normal(drawn, torch.float64)).exp().flatten().tolist()
            t = torch.tensor([self.schedule.time(r) for r in ratios], dtype=torch.float64)
        else:
            t = rng.uniform(drawn, torch.float64)
        # Keep away from t = 0, where the noise is not defined by x.
        return self.schedule.level(t.clamp(min=1e-4).to(x0).reshape(shape))

    def _time(self, x: Tensor, level: Level) -> Tensor:
        value: Any = level.t
        if self.prediction == "edm":
            ratio = level.noise_to_signal
            value = 0.25 * (ratio.log() if isinstance(ratio, Tensor) else math.log(ratio))
        per_token = isinstance(value, Tensor) and value.numel() > len(x)
        return value.reshape(x.shape[:2]).to(x) if per_token else per_sample(value, x)

    def _edm(self, level: Level) -> tuple[Any, Any, Any]:
        ratio, d2 = level.noise_to_signal, self.sigma_data**2
        total = ratio * ratio + d2
        return d2 / total, ratio * self.sigma_data / total**0.5, 1 / total**0.5

    def _edm_target(self, x: Tensor, x0: Tensor, level: Level) -> Tensor:
        skip, out, _ = self._edm(level)
        return (x0 - x * (skip / level.alpha)) / out


def predicted(denoiser: Denoiser, x: Tensor, level: Level, cond: Any, control: Any) -> Prediction:
    """Return the denoiser's prediction, under a control unless it is None."""
    if control is None:
        return denoiser(x, level, cond)
    return denoiser.controlled(x, level, cond, control)


def per_sample(value: Any, x: Tensor) -> Tensor:
    """Return a time as (B,) in the type of x (B, ...): a number, or a tensor of B elements."""
    if isinstance(value, Tensor) and value.ndim:
        return value.reshape(len(x)).to(x)
    return torch.full((len(x),), float(value), dtype=x.dtype, device=x.device)


def _mixed(a: Any, x: Tensor, b: Any, y: Tensor) -> Tensor:
    """Return a x + b y; in a run a and b are numbers, and the sum is fused."""
    return a * x + b * y if isinstance(b, Tensor) else torch.add(a * x, y, alpha=b)
