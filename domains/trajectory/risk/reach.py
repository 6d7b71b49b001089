r"""Where an agent that tracks a plan may be: states with their densities, and the risk of contact.

The first state is uncertain, :math:`x \sim \rho_0 = N(m, S)`. States :math:`x_i` are drawn from a
wider law q, and move with the dynamics. Both densities change along a path by the same divergence,
so that the weight :math:`w_i = \rho / q` stays what it was, and

.. math:: P(\text{contact}) \approx \frac{1}{n} \sum_i w_i\, 1[x_i \text{ touches an obstacle}]

is unbiased; a wide q has states where rare contacts happen. Steps are checked, not what lies
between them. The numbers are estimates for the dynamics as given, and no proof of safety.

Source: Meng, Sun, Qiu, Waez and Fan 2021, Learning density distribution of reachable states for
autonomous systems (Liouville's equation along a path); Meng, Qiu, Waez and Fan 2022, Case studies
for computing density of reachable states for safe autonomous motion planning (risk of a plan).
Differs: the dynamics are known, so that states and densities are integrated and not learned, and
risk is a weighted mean over samples instead of a sum over cells of a reachable set.
"""

import math
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.distributions import MultivariateNormal

from domains.trajectory.risk.discs import Discs
from domains.trajectory.risk.dynamics import Tracker
from domains.trajectory.risk.path import Path
from guided.liouville import Field, walk
from guided.rng import Rng


class Reached(NamedTuple):
    """States along R plans.

    Args:
        states: (R, n, F, 4).
        log_density: their log density rho at each step, (R, n, F).
        weights: rho / q of each state, (n,), the same at all steps and for all plans.
    """

    states: Tensor
    log_density: Tensor
    weights: Tensor

    def covariances(self) -> NDArray[np.float64]:
        """Return the covariance of the position at each step, (R, F, 2, 2)."""
        share = (self.weights / self.weights.sum())[:, None, None]
        positions = self.states[..., :2]
        off = positions - (share * positions).sum(1, keepdim=True)
        return torch.einsum("n,rnfi,rnfj->rfij", share[:, 0, 0], off, off).numpy()


class Risk(NamedTuple):
    """Probabilities of contact of R plans, and the standard errors of their estimates.

    Args:
        step: at each step, (R, F).
        any: at any step, (R,).
        step_error: (R, F).
        any_error: (R,).
    """

    step: NDArray[np.float64]
    any: NDArray[np.float64]
    step_error: NDArray[np.float64]
    any_error: NDArray[np.float64]


@dataclass(frozen=True)
class ReachDensity:
    """The reachable states of an agent whose first state is uncertain.

    Args:
        dynamics: how it tracks a plan, e.g. :class:`domains.trajectory.risk.dynamics.Unicycle`.
        mean: m, the first state (4,) in the numbers of the dynamics.
        cov: S, (4, 4), positive definite.
        samples: n, states drawn; the same for all plans, so that their risks compare well.
        wider: standard deviations of q in those of rho, at least 1; 1 is plain Monte Carlo. Around
            2 serves risks of 1e-2 and below, at the cost of some noise in greater ones.
        substeps: Runge-Kutta steps in a step of the plan.
        seed: of the states.

    Raises:
        ValueError: for a mean or covariance of another shape, one that is not positive definite,
            or numbers out of their range.
    """

    dynamics: Tracker
    mean: ArrayLike
    cov: ArrayLike
    samples: int = 2000
    wider: float = 1.0
    substeps: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        mean, cov = np.asarray(self.mean), np.asarray(self.cov)
        if mean.shape != (4,) or cov.shape != (4, 4):
            raise ValueError(
                f"the first state needs a mean (4,) and a covariance (4, 4), got {mean.shape} and "
                f"{cov.shape}"
            )
        lowest = np.linalg.eigvalsh(cov).min() if np.allclose(cov, cov.T) else -math.inf
        if not lowest > 0:
            raise ValueError(
                "the covariance of the first state is not symmetric and positive definite, so that "
                "there is no density; give every number some variance"
            )
        if self.samples < 2 or not self.wider >= 1 or self.substeps < 1:
            raise ValueError(
                f"reachable densities need samples >= 2, wider >= 1 and substeps >= 1, got "
                f"{self.samples}, {self.wider} and {self.substeps}"
            )

    def path(self, plans: ArrayLike, dt: float) -> Path:
        """Return the plans (R, F, 2) as smooth motions from the mean of the first state."""
        mean = torch.as_tensor(np.asarray(self.mean, float))
        return Path(plans, dt, mean[:2].numpy(), self.dynamics.motion(mean).numpy())

    def reach(self, plans: ArrayLike, dt: float) -> Reached:
        """Return states, densities and weights along plans (R, F, 2), dt seconds apart."""
        path = self.path(plans, dt)
        count, steps = path.plans.shape[:2]
        rho, q = self._law(1.0), self._law(self.wider)
        noise = Rng(self.seed).normal((self.samples, 4), torch.float64)
        first = q.loc + noise @ q.scale_tril.mT
        log_rho = rho.log_prob(first)
        f, trace = self._fields(path)
        times = np.linspace(0, steps * dt, steps * self.substeps + 1)
        moving = walk(f, first.repeat(count, 1), log_rho.repeat(count), times, trace=trace)
        kept = list(islice(moving, self.substeps - 1, None, self.substeps))
        states = torch.stack([at.x for at in kept], 1)
        log_density = torch.stack([at.log_density for at in kept], 1)
        shape = (count, self.samples)
        weights = (log_rho - q.log_prob(first)).exp()
        return Reached(states.unflatten(0, shape), log_density.unflatten(0, shape), weights)

    def log_density(self, states: Tensor, plan: ArrayLike, dt: float, step: int) -> Tensor:
        """Return log rho of any states (n, 4) at a step of one plan (F, 2), shape (n,).

        The states go back to the start, where the density is known.

        Raises:
            ValueError: for a step that the plan does not have.
        """
        path = self.path(np.asarray(plan, float)[None], dt)
        if not 0 <= step < path.plans.shape[1]:
            raise ValueError(f"the plan has the steps 0 to {path.plans.shape[1] - 1}, got {step}")
        f, trace = self._fields(path)
        times = np.linspace((step + 1) * dt, 0, (step + 1) * self.substeps + 1)
        *_, first = walk(f, states, torch.zeros_like(states[:, 0]), times, trace=trace)
        return self._law(1.0).log_prob(first.x) - first.log_density

    def risk(self, plans: ArrayLike, dt: float, obstacles: Discs) -> Risk:
        """Return the probability that the agent touches an obstacle on each plan (R, F, 2).

        Estimates above 1, which weights allow, are cut to 1.

        Raises:
            ValueError: for obstacles with another number of steps.
        """
        reached = self.reach(plans, dt)
        touched = obstacles.touched(reached.states[..., :2])
        worlds = torch.as_tensor(obstacles.probabilities)
        step = torch.einsum("k,krnf->rnf", worlds, touched.double())
        ever = torch.einsum("k,krn->rn", worlds, touched.any(-1).double())
        at_step, step_error = _mean(step * reached.weights[:, None])
        at_any, any_error = _mean(ever * reached.weights)
        return Risk(at_step, at_any, step_error, any_error)

    def _law(self, wider: float) -> MultivariateNormal:
        mean, cov = (torch.as_tensor(np.asarray(a, float)) for a in (self.mean, self.cov))
        return MultivariateNormal(mean, wider**2 * cov)

    def _fields(self, path: Path) -> tuple[Field, Field]:
        """Return the velocity and the divergence of states (R n, 4), those of a plan together."""
        plans = len(path.plans)

        def f(x: Tensor, t: float) -> Tensor:
            return self.dynamics.velocity(x.unflatten(0, (plans, -1)), path.at(t)).flatten(0, 1)

        def trace(x: Tensor, t: float) -> Tensor:
            return self.dynamics.divergence(x.unflatten(0, (plans, -1)), path.at(t)).flatten(0, 1)

        return f, trace


def _mean(values: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the means over axis 1 and their standard errors."""
    error = values.std(1) / math.sqrt(values.shape[1])
    return values.mean(1).clamp(max=1).numpy(), error.numpy()
