r"""Black boxes with known answers: y = g(B x) + noise, for any g and up to three features.

The features :math:`z = B x` of a mixture are a mixture in r dimensions, and x given z is one in
closed form. So the posterior of x given y, its mean, its evidence and exact draws need a sum over a
grid of z only, whatever the dimension of x is and however rough g is (floor, sign, a simulator).

The grid is refined where the posterior may have mass. A cell is dropped only where its mass is
negligible even with the prior blurred by the cell's width and with the noise widened by what g
varies in the cell, as seen from its corners.
"""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from guided.exact.mixture import Mixture
from guided.exact.noisy import FeatureEnergy, NoisyLikelihood, rows_at_once
from guided.exact.shared import is_number
from guided.rng import Rng
from guided.schedule import Level

MOST_FEATURES = 3
MOST_CELLS = 4_000_000
REACH = 7.0  # standard deviations of every component that the grid covers
NEGLIGIBLE = 25.0  # cells this many nats below the best are dropped
FINE_PRIOR, FINE_NOISE = 1 / 8, 1 / 4  # widest cell, in the prior's and in the noise's deviations
FINEST = 1 / 256  # of the prior's deviation: where g jumps, no cell is fine enough


class FeaturePosterior:
    r"""The law of x given y = g(B x) + noise, exact up to the grid.

    Args:
        prior: the law of x; one law, without rows.
        B: the features, shape (r, *shape) with r at most 3; independent rows.
        g: maps features (N, r) to outputs (N, m), in the prior's dtype; any function.
        y: the measurement, shape (m,).
        noise: its standard deviation, a number or one per output (m,); above 0.

    Attributes:
        cells: the centres of the grid, shape (C, r).
        log_weights: the posterior probability of every cell, normalised, (C,).
        log_z: the log evidence :math:`\log p(y)`, a number.

    Raises:
        ValueError: for shapes that do not fit, too many features, or noise that is not above 0.
    """

    def __init__(
        self,
        prior: Mixture,
        B: Tensor,
        g: Callable[[Tensor], Tensor],
        y: Tensor,
        noise: float | Tensor,
    ) -> None:
        self.prior, self.g = prior, g
        self.B, self.y = B.to(prior.centres).flatten(1), y.to(prior.centres)
        self.noise = torch.as_tensor(noise, dtype=self.y.dtype).to(self.y).expand(self.y.shape)
        self._check()
        self.features = self._pushed()
        self.cells, self.volume = self._grid()
        mass = self.features.log_prob(self.cells) + self._log_likelihood(g(self.cells))
        mass = mass + math.log(self.volume)
        self.log_z = float(mass.logsumexp(0))
        self.log_weights = mass - self.log_z

    def operator(self, x: Tensor) -> Tensor:
        """Return g(B x) of samples x (N, *shape), shape (N, m)."""
        return self.g(x.to(self.B).flatten(1) @ self.B.mT)

    def log_likelihood(self, x: Tensor) -> Tensor:
        """Return log p(y | x) of samples x (N, *shape), shape (N,)."""
        return self._log_likelihood(self.operator(x))

    def noisy_log_likelihood(self, x: Tensor, level: Level) -> Tensor:
        r"""Return log p(y | x_t) of x_t (N, *shape), shape (N,), differentiable in x_t.

        Its gradient is the exact guidance term, and :math:`E[x_0 | x_t, y] = E[x_0 | x_t] +
        \sigma^2 / \alpha \, \nabla \log p(y | x_t)`, although g is never differentiated. Holds at
        any x_t, with an error of about 1e-6 for smooth g and up to 1e-3 for one that jumps. At
        sigma = 0 it is log p(y | x_0), which has no gradient but that of g.

        Evaluates g hundreds of times a row and component for one feature, ten thousand times for
        two, and for three a million: seconds a row. Cells are no longer refined where there would
        be more than two million of them, which little noise and three features may come to.

        Raises:
            ValueError: for a level per row.
        """
        if not is_number(level):
            raise ValueError("a noisy likelihood needs one level for all rows; call it once a row")
        if level.sigma == 0:
            return self.log_likelihood(x / level.alpha)
        size = rows_at_once(len(self.prior.weights), len(self.B))
        return torch.cat([NoisyLikelihood(self, some, level)() for some in x.split(size)])

    def noisy_energy(self) -> FeatureEnergy:
        """Return -log p(y | x_t) as an energy for :class:`guided.guidance.ClassifierGuidance`."""
        return FeatureEnergy(self)

    def sample(self, n: int, rng: Rng) -> Tensor:
        r"""Draw n exact samples, shape (n, *shape).

        A cell, a point in it, a component given the point, and x by Matheron's rule:
        :math:`x = x' + S B^T (B S B^T)^{-1} (z - B x')` with x' from the component.
        """
        width = self.volume ** (1 / self.cells.shape[1])
        u = rng.uniform((n, 2), torch.float64)
        mass = self.log_weights.double().exp().cumsum(0)
        cell = torch.searchsorted(mass, mass[-1] * u[:, 0]).clamp(max=len(mass) - 1)
        z = self.cells[cell] + width * (rng.uniform((n, self.cells.shape[1]), self.B.dtype) - 0.5)
        shares = self.features.responsibilities(z).double().cumsum(-1)
        component = (u[:, 1:] * shares[:, -1:] >= shares).sum(-1).clamp(max=shares.shape[1] - 1)
        covariances = self.prior.covariances
        std = covariances.variances.sqrt()[component]
        x = self.prior.centres[component] + std * rng.normal(std.shape, std.dtype)
        x = covariances.restore_one(x, component)
        gain = self._gains()[component]
        x = x + torch.einsum("ndr,nr->nd", gain, z - x @ self.B.mT)
        return x.unflatten(-1, self.prior.shape)

    def mean(self) -> Tensor:
        """Return the posterior mean, of the sample's shape."""
        weights = self.log_weights.exp()
        shares = self.features.responsibilities(self.cells) * weights[:, None]  # (C, K)
        means = self.prior.means.flatten(1)
        offset = torch.einsum("ck,cr->kr", shares, self.cells)
        offset = offset - shares.sum(0)[:, None] * (means @ self.B.mT)
        total = shares.sum(0) @ means + torch.einsum("kdr,kr->d", self._gains(), offset)
        return total.unflatten(-1, self.prior.shape)

    def component_weights(self) -> Tensor:
        """Return the posterior probability of every component of the prior, shape (K,)."""
        return self.log_weights.exp() @ self.features.responsibilities(self.cells)

    def _check(self) -> None:
        r, size = self.B.shape
        if self.prior.rows or size != math.prod(self.prior.shape) or not 1 <= r <= MOST_FEATURES:
            raise ValueError(
                f"a feature posterior needs one prior without rows and B of shape (r, "
                f"{math.prod(self.prior.shape)}) with r = 1 to {MOST_FEATURES}, got rows "
                f"{tuple(self.prior.rows)} and B {tuple(self.B.shape)}"
            )
        if torch.linalg.matrix_rank(self.B) < r:
            raise ValueError("the rows of B depend on each other; drop those that do")
        if self.y.ndim != 1 or not bool((self.noise > 0).all()):
            raise ValueError(
                f"y needs shape (m,) and noise above 0, got {tuple(self.y.shape)} and "
                f"{self.noise.tolist()}"
            )

    def _projected(self) -> tuple[Tensor, Tensor]:
        """Return S_k B^T (K, D, r) and B S_k B^T (K, r, r)."""
        variances, basis = self.prior.covariances.variances, self.prior.covariances.basis
        if basis is None:
            cross = variances[:, :, None] * self.B.mT
        else:
            cross = basis @ (variances[:, :, None] * (basis.mT @ self.B.mT))
        return cross, self.B @ cross

    def _gains(self) -> Tensor:
        cross, square = self._projected()
        return torch.linalg.solve(square, cross, left=False)

    def _pushed(self) -> Mixture:
        _, square = self._projected()
        square = (square + square.mT) / 2
        return Mixture(self.prior.weights, self.prior.means.flatten(1) @ self.B.mT, square)

    def _log_likelihood(self, out: Tensor, extra: Tensor | float = 0.0) -> Tensor:
        noise = self.noise + extra
        squares = ((self.y - out) / noise).square() + 2 * noise.log() + math.log(2 * math.pi)
        return -0.5 * squares.sum(-1)

    def _grid(self) -> tuple[Tensor, float]:
        """Return the centres of the cells that matter, (C, r), and the volume of a cell."""
        means = self.features.means
        widths = self.features.covariances.variances.sqrt().amax(-1, keepdim=True)
        low, high = (means - REACH * widths).amin(0), (means + REACH * widths).amax(0)
        finest = float(self.features.covariances.variances.sqrt().min())
        width = 2 * finest
        axes = [torch.arange(a, b + width, width).to(means) for a, b in zip(low, high, strict=True)]
        cells = torch.cartesian_prod(*axes).reshape(-1, len(axes))
        halves = torch.tensor(list(itertools.product((-0.5, 0.5), repeat=len(axes)))).to(means)
        while True:
            cells, fine = self._prune(cells, width, halves)
            fine = fine and width <= FINE_PRIOR * finest
            if fine or width <= FINEST * finest or len(cells) * len(halves) > MOST_CELLS:
                return cells, width ** len(axes)
            width = width / 2
            cells = (cells[:, None] + width * halves).flatten(0, 1)

    def _prune(self, cells: Tensor, width: float, halves: Tensor) -> tuple[Tensor, bool]:
        """Drop what cannot matter, and tell whether the rest resolves g."""
        out = self.g(cells)
        corners = self.g((cells[:, None] + width * halves).flatten(0, 1))
        spread = (corners.unflatten(0, (len(cells), -1)) - out[:, None]).abs().amax(1)
        blurred = self.features.noised(Level(0.0, 1.0, width)).log_prob(cells)
        bound = blurred + self._log_likelihood(out, spread) + (self.noise + spread).log().sum(-1)
        found = self.features.log_prob(cells) + self._log_likelihood(out) + self.noise.log().sum()
        kept = bound > found.max() - NEGLIGIBLE
        if int(kept.sum()) * len(halves) > MOST_CELLS:  # then trust what is promised, not found
            kept = bound > bound.max() - NEGLIGIBLE
        return cells[kept], bool((spread[kept] <= FINE_NOISE * self.noise).all())
