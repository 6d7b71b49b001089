r"""A Gaussian prior per request, from which a run may start at any noise level.

Let p(x0) have mean :math:`\mu_d` and covariance :math:`\Sigma_d`, and let the forward kernel draw
its noise from a covariance of our choice, :math:`x_t = \alpha x_0 + \sigma \varepsilon` with
:math:`\varepsilon \sim N(0, S)`. A run from level T that begins with N(m, C) instead of
:math:`p_T` errs by :math:`KL(p_T \| N(m, C))` at most (data processing), besides the network's own
error. Over all Gaussians that is least where the moments match,

.. math:: m = \alpha \mu_d, \qquad C = \alpha^2 \Sigma_d + \sigma^2 S.

With :math:`S = \Sigma_d` that is :math:`C = (\alpha^2 + \sigma^2) \Sigma_d` at every T (it is
:math:`\Sigma_d` on a variance-preserving schedule): one model, trained once, starts anywhere. For
small T less is left to do, and fewer steps do it, but more of what is not Gaussian in p is lost.

The same model is a plain diffusion of :math:`u = (x_0 - \mu_d) / \mathrm{std}` for a diagonal
:math:`\Sigma_d`; only where the forward mean shrinks to differs: to u = 0, the prior's mean, rather
than to x = 0. All of it is then in :class:`GaussianPrior`: ``encode`` the training data, draw
``initial`` at the first of the run's times, e.g. ``guided.schedule.uniform(steps, start=0.4)``, and
``decode`` the samples. Mean and std may be guesses that depend on the condition.

Source: Wang et al. 2024, Optimizing diffusion models for joint trajectory prediction and
    controllable generation (arXiv 2408.00766), Optimal Gaussian Diffusion.
Differs: whitened coordinates; the moments by the modes' probabilities, which the code leaves out.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from guided.rng import Rng
from guided.schedule import Level

ROUNDING = 1e-3  # of a sum of probabilities


@dataclass(frozen=True)
class GaussianPrior:
    """A diagonal Gaussian for each of R requests, each of which serves B / R rows side by side.

    Args:
        mean: shape (R, ...), in the units of the data.
        std: of the same shape, positive.

    Raises:
        ValueError: for two shapes, or a std that is not positive; in use, for rows that R does not
            divide or of another shape.
    """

    mean: Tensor
    std: Tensor

    def __post_init__(self) -> None:
        if self.mean.ndim == 0 or self.mean.shape != self.std.shape:
            raise ValueError(
                f"a prior needs mean and std of one shape (R, ...), got {tuple(self.mean.shape)} "
                f"and {tuple(self.std.shape)}"
            )
        if self.std.numel() and not (self.std > 0).all():
            raise ValueError(
                f"a prior needs a positive std, got a least one of {float(self.std.min()):.4g}; "
                f"give GaussianPrior.of_modes a floor"
            )

    @classmethod
    def of_modes(
        cls,
        modes: Tensor,
        probabilities: Tensor | None = None,
        floor: float = 0.0,
        within: float | Tensor = 0.0,
    ) -> "GaussianPrior":
        r"""Match the moments of M modes, e.g. those of a marginal predictor.

        .. math:: \mu = \sum_m \pi_m y_m, \qquad
                  \mathrm{std}^2 = \sum_m \pi_m \big((y_m - \mu)^2 + w_m^2\big).

        Args:
            modes: y, shape (R, M, ...).
            probabilities: pi, of the modes' shape or of its first axes, e.g. (R, M) or, for one law
                a part, (R, M, A); the sum over axis 1 is 1. None is 1 / M for all.
            floor: the least std, in the units of the modes; positive where modes may agree.
            within: w, the std of each mode by itself; broadcasts against the modes. 0 is neutral.

        Raises:
            ValueError: for shapes that do not fit, probabilities that are negative or do not sum
                to 1, or a std of 0.
        """
        if modes.ndim < 2 or modes.shape[1] == 0:
            raise ValueError(
                f"modes need shape (R, M, ...) with M at least 1, got {tuple(modes.shape)}"
            )
        if probabilities is None:
            probabilities = modes.new_full(modes.shape[:2], 1 / modes.shape[1])
        weights = _weights(probabilities, modes)
        mean = (weights * modes).sum(1)
        square = (modes - mean[:, None]).square() + torch.as_tensor(within).to(modes) ** 2
        return cls(mean, (weights * square).sum(1).sqrt().clamp(min=floor))

    def encode(self, x: Tensor) -> Tensor:
        """Return u = (x - mean) / std of rows (B, ...)."""
        prior = self.of_rows(x)
        return (x - prior.mean) / prior.std

    def decode(self, u: Tensor) -> Tensor:
        """Return x = mean + std u of rows (B, ...)."""
        prior = self.of_rows(u)
        return prior.mean + prior.std * u

    def of_rows(self, x: Tensor) -> "GaussianPrior":
        """Return the prior with one request a row of x (B, ...), in the type of x.

        Its std is the ``spread`` of :class:`guided.guidance.ECM` for a run in u.
        """
        requests = len(self.mean)
        if x.shape[1:] != self.mean.shape[1:] or not requests or len(x) % requests:
            raise ValueError(
                f"a prior of shape {tuple(self.mean.shape)} serves samples of the same shape but "
                f"for a multiple of its rows, got {tuple(x.shape)}"
            )
        n = len(x) // requests
        mean, std = (part.to(x).repeat_interleave(n, 0) for part in (self.mean, self.std))
        return GaussianPrior(mean, std)

    def initial(self, rows: int, level: Level, rng: Rng) -> Tensor:
        r"""Draw the start of a run in u at any level: N(0, (alpha^2 + sigma^2) I).

        Args:
            rows: n, samples a request, side by side.
            level: where the run starts, e.g. ``schedule.level(times[0])``.
            rng: with a seed a request, no request's start depends on another's.

        Returns:
            Shape (R n, ...), in the type and on the device of the mean.
        """
        shape = (len(self.mean) * rows, *self.mean.shape[1:])
        noise = rng.normal(shape, self.mean.dtype, self.mean.device)
        return math.hypot(level.alpha, level.sigma) * noise


def _weights(probabilities: Tensor, modes: Tensor) -> Tensor:
    """Return probabilities with the axes of the modes."""
    given = probabilities.shape
    if probabilities.ndim < 2 or given != modes.shape[: probabilities.ndim]:
        raise ValueError(
            f"probabilities need the first axes of the modes' shape {tuple(modes.shape)}, at least "
            f"(R, M), got {tuple(given)}"
        )
    off = float((probabilities.sum(1) - 1).abs().max()) if probabilities.numel() else 0.0
    if not (off <= ROUNDING and bool((probabilities >= 0).all())):
        raise ValueError(
            f"probabilities are at least 0 and sum to 1 over the modes (axis 1), got a least one of"
            f" {float(probabilities.min()):.4g} and sums that are off by up to {off:.4g}; divide "
            f"them by their sum"
        )
    return probabilities.to(modes).reshape(*given, *[1] * (modes.ndim - len(given)))
