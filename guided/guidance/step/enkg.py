r"""Ensemble Kalman guidance: particles that learn the slope of a black box from each other."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from guided.operator import Operator
from guided.rng import Rng
from guided.sampler import Sampler, State, StepWrapper
from guided.samplers.ddim import DDIM
from guided.schedule import Level, karras

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0  # the grid of EDM, of which a rollout walks the rest


class EnKG(StepWrapper):
    r"""Moves an ensemble by a gradient that statistical linearisation of the forward map replaces.

    At level t, J particles x of a problem, with :math:`\bar x = x / \alpha_t`:

    .. math::
        x_0^j &= \Phi(x^j, t), \quad y^j = G(x_0^j), \quad r^j = y^j - y, \\
        C_{jk} &= \tfrac1J \langle r^j, y^k - \bar y \rangle, \qquad
        \bar x^j \leftarrow \bar x^j - \tilde w \sum_k C_{jk} (\bar x^k - \bar x^{mean}),

    then the sampler's own step, a deterministic one in the source. :math:`\Phi` walks along the
    probability flow to data, so that a simulator sees samples, not blurred means.

    It finds high likelihood without a gradient, but does not sample the posterior: the spread of
    the ensemble comes from its start alone, and with a constant step the noise level of y is used
    nowhere. The adaptive step uses it to know when to stop. Repair with :class:`guided.Waltz`.

    Costs, per particle: one evaluation of the forward map and up to ``rollout`` network calls an
    update, and one network call a step. Particles of one problem move together; axis 0 of a run is
    (P J, ...), and several problems (rows of y) do not see each other.

    Args:
        sampler: ``DDIM(denoiser)``, i.e. Euler, in the source.
        operator: the forward map and what was measured, with a Gaussian noise.
        step: ``scaled`` takes :math:`\tilde w = w / \|C\|_F` with the tuned constant w = ``scale``;
            ``adaptive`` the step that minimises the misfit that the ensemble predicts, cut where
            the mean misfit would fall below that of noise (m / 2); it takes no constant.
        scale: w of ``scaled``; 0 is neutral.
        updates: per step.
        rollout: largest number of steps of :math:`\Phi`, from pure noise; near data it is 1. Or a
            function of the level.
        low: no update below this noise-to-signal ratio.
        high: no update above this one.

    Raises:
        ValueError: for an unknown step, numbers out of range, or (in a run) an ensemble of 1.

    Source: Zheng et al. 2024, Ensemble Kalman diffusion guidance, algorithm 2 (arXiv 2409.20175),
        and its code, which fixes what the paper leaves open (the norm of C, the rollout).
    Differs: the adaptive step; misfits in units of the noise.
    """

    def __init__(
        self,
        sampler: Sampler,
        operator: Operator,
        step: Literal["scaled", "adaptive"] = "adaptive",
        scale: float = 2.0,
        updates: int = 1,
        rollout: int | Callable[[Level], int] = 20,
        low: float = 0.0,
        high: float = math.inf,
    ) -> None:
        super().__init__(sampler)
        if step not in ("scaled", "adaptive"):
            raise ValueError(f"unknown step {step!r}; expected 'scaled' or 'adaptive'")
        if scale < 0 or updates < 0 or (isinstance(rollout, int) and rollout < 1):
            raise ValueError(
                f"EnKG needs scale >= 0, updates >= 0 and rollout >= 1, got {scale}, {updates} and "
                f"{rollout}"
            )
        self.operator, self.kind, self.scale, self.updates = operator, step, scale, updates
        self.rollout, self.low, self.high = rollout, low, high
        self.flow = DDIM(sampler.denoiser)

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Move the ensembles, then step from t to s."""
        inside = self.low < t.noise_to_signal <= self.high
        if inside and not (self.kind == "scaled" and self.scale == 0):
            for _ in range(self.updates):
                x0 = self._walked(state.x, t, cond, rng)
                x, misfit = self._moved(state.x, self.operator(x0))
                state = replace(state, x=x, prediction=None, energy=misfit)
        moved = self.sampler.step(state, t, s, cond, rng)
        return replace(moved, energy=state.energy)

    def _walked(self, x: Tensor, t: Level, cond: Any, rng: Rng) -> Tensor:
        """Return where the probability flow leads from x (B, ...) at level t."""
        schedule = self.denoiser.schedule
        ratio, least = t.noise_to_signal, SIGMA_MIN
        steps = self.rollout(t) if callable(self.rollout) else self._nodes(t)
        if steps == 1 or ratio <= least:
            return self.denoiser(x, t, cond).x0
        times = [t.t, *karras(schedule, steps, least, ratio, RHO)[1:]]
        return self.flow.sample(x, times, cond, rng=rng)

    def _nodes(self, t: Level) -> int:
        """Return the steps of the rollout: in proportion to what is left of an EDM grid."""
        assert isinstance(self.rollout, int)
        left = min(t.noise_to_signal, SIGMA_MAX) ** (1 / RHO) - SIGMA_MIN ** (1 / RHO)
        whole = SIGMA_MAX ** (1 / RHO) - SIGMA_MIN ** (1 / RHO)
        return min(1 + int(self.rollout * max(left, 0.0) / whole), self.rollout)

    def _moved(self, x: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        """Return the updated particles, and the misfits (B,) of the old ones."""
        shape, problems = x.shape, len(self.operator.y)
        out = out.double()  # products of four misfits, which may be far off
        noise = self.operator.noise.to(out)
        y = self.operator.measured(len(out)).to(out)
        if len(out) == problems:
            raise ValueError(
                "EnKG learns from the spread of an ensemble and needs 2 members, got 1"
            )
        residual = ((out - y) / noise).unflatten(0, (problems, -1))  # (P, J, m)
        # A failed member moves with the mean of the others, and teaches them nothing. Where all
        # have failed, none moves.
        failed = residual.isnan().any(-1, keepdim=True)
        residual = residual.where(~failed, residual.nanmean(1, keepdim=True).nan_to_num())
        # An output that all members share teaches nothing, and its mean may round to another one.
        shared = (residual == residual[:, :1]).all(1, keepdim=True)
        centred = (residual - residual.mean(1, keepdim=True)).where(~shared, 0.0)
        particles = x.unflatten(0, (problems, -1)).flatten(2)
        offsets = (particles - particles.mean(1, keepdim=True)).double()
        C = residual @ centred.mT / residual.shape[1]  # (P, J, J)
        x = particles - (self._step(C, residual, centred) * (C @ offsets)).to(particles)
        misfit = 0.5 * residual.square().sum(-1).flatten()
        return x.reshape(shape), misfit.to(x)

    def _step(self, C: Tensor, residual: Tensor, centred: Tensor) -> Tensor:
        """Return w~ of every problem, (P, 1, 1)."""
        if self.kind == "scaled":
            norm = C.flatten(1).norm(dim=1).clamp(min=torch.finfo(C.dtype).tiny)
            return (self.scale / norm)[:, None, None]
        # The ensemble predicts the residuals r - w q with q = C (y - mean y), a parabola in w.
        q = C @ centred
        a, b = q.square().sum((1, 2)), (residual * q).sum((1, 2))
        best = b / a.clamp(min=torch.finfo(a.dtype).tiny)
        excess = residual.square().sum((1, 2)) - residual.shape[1] * residual.shape[2]
        root = (b.square() - a * excess).clamp(min=0).sqrt()
        until_noise = excess.clamp(min=0) / (b + root).clamp(min=torch.finfo(a.dtype).tiny)
        return torch.minimum(best, until_noise)[:, None, None]
