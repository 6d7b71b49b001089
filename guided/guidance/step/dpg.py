r"""Diffusion policy gradient: a direction from rewards of perturbed clean estimates."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from guided.denoiser import Prediction
from guided.operator import Operator
from guided.rng import Rng
from guided.sampler import Sampler, State, StepWrapper
from guided.schedule import Level

KEPT = 0.9  # of the mean misfit, from step to step


class Past(NamedTuple):
    """What a sample remembers of the step before.

    Args:
        inner: the memory of the sampler, a tree with axis 0 = sample.
        mean: Z, the running mean of the misfit (B,); NaN before the first that did not fail.
        slope: the gradient at x (B, ...), before it was mixed.
    """

    inner: Any
    mean: Tensor
    slope: Tensor


class DPG(StepWrapper):
    r"""Pulls every step towards the better of K perturbed clean estimates.

    With the misfit :math:`L(x_0) = \| y - G(x_0) \|^2`, its running mean Z, d numbers in a sample,

    .. math::
        z^k &= x_0(x_t) + r e^k, \quad e^k \sim N(0, I), \quad
            r = \max\big(\tfrac12 \sqrt{Z / d}, r_{min}\big), \\
        R_k &= e^{-(L(z^k) - L(x_0)) / Z}, \qquad
        g = -\nabla x_0(x_t)^T \tfrac{1}{K r} \sum_k \Big(R_k - \tfrac{1}{K - 1}
            \sum_{j \ne k} R_j\Big) e^k,

    an unbiased estimate of the slope of the smoothed reward, as others' rewards are a baseline that
    does not know of :math:`e^k`. Of the gradient one step before, a share is mixed in; the
    direction :math:`u = g / |g|` then moves the noise estimate, consistently with x0:

    .. math:: \varepsilon \leftarrow \varepsilon + \zeta \sqrt{d}\,
              \frac{\sigma}{\sqrt{\alpha^2 + \sigma^2}}\, u.

    The pull has one length whatever the misfit is, and the noise of y is used nowhere: it finds
    likely samples and converges to no posterior. The radius takes a misfit for a distance in x0, so
    that y has to be of the scale of x0, or r_min set.

    Costs one network call and one vector-Jacobian product of it a step, and K + 1 evaluations of
    the forward map per sample.

    Args:
        sampler: the sampler whose prediction is moved.
        operator: any forward map; an evaluation that fails contributes nothing, and a sample whose
            evaluations all fail is not moved.
        scale: zeta, in units of the length of typical noise; 0 is neutral. The source's are 0.16
            (black holes) to 0.7 (faces).
        queries: K, at least 2.
        momentum: share of the gradient one step before at t = 1; it falls to 0 with t.
        least_radius: r_min, in units of x0.

    Raises:
        ValueError: for numbers out of range.

    Source: Tang et al. 2024, Solving general noisy inverse problem via posterior sampling: a policy
        gradient viewpoint, section 4, and its code (momentum, radius, mean of the misfit).
    Differs: scale in units of noise, which makes it the same for every schedule (for variance
        preserving ones it is theirs over sqrt d); the time s for the remaining share of the steps.
    """

    def __init__(
        self,
        sampler: Sampler,
        operator: Operator,
        scale: float = 0.5,
        queries: int = 64,
        momentum: float = 0.1,
        least_radius: float = 0.0,
    ) -> None:
        super().__init__(sampler)
        if queries < 2 or not 0 <= momentum < 1 or least_radius < 0:
            raise ValueError(
                f"DPG needs queries >= 2, momentum in [0, 1) and least_radius >= 0, got {queries}, "
                f"{momentum} and {least_radius}"
            )
        self.operator, self.scale, self.queries = operator, scale, queries
        self.momentum, self.least_radius = momentum, least_radius

    def bare_memory(self, memory: Any) -> Any:
        """Return the part of the memory that is the sampler's."""
        return memory.inner if isinstance(memory, Past) else memory

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Move from t to s with a prediction that is pulled towards rewards."""
        if self.scale == 0:
            return self.sampler.step(state, t, s, cond, rng)
        past = state.memory if isinstance(state.memory, Past) else None
        inner = self.bare_memory(state.memory)
        with torch.enable_grad():
            x = state.x.detach().requires_grad_()
            prediction = self.denoiser(x, t, cond)
            pull, mean = self._pull(prediction.x0.detach(), past, rng)
            (slope,) = torch.autograd.grad((prediction.x0 * pull).sum(), x)
        share = 0.0 if past is None else self.momentum * s.t
        mixed = slope if past is None else torch.lerp(slope, past.slope, share)
        prediction = self._moved(Prediction(*(part.detach() for part in prediction)), mixed, t)
        moved = self.sampler.step(
            replace(state, prediction=prediction, memory=inner), t, s, cond, rng
        )
        return replace(moved, prediction=None, memory=Past(moved.memory, mean, slope), energy=mean)

    @torch.no_grad()
    def _pull(self, x0: Tensor, past: Past | None, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the slope of minus the reward at x0 (B, ...), and Z (B,)."""
        K, size = self.queries, x0[0].numel()
        here = self._misfit(x0)
        mean = here
        if past is not None:
            mean = past.mean.lerp(here, 1 - KEPT)
            mean = mean.where(mean.isfinite(), here.where(here.isfinite(), past.mean))
        r = ((mean / size).sqrt() / 2).nan_to_num(0.0).clamp(min=self.least_radius)
        many = x0.repeat_interleave(K, dim=0)
        e = rng.normal(many.shape, many.dtype, many.device)
        wide = r.to(x0).repeat_interleave(K).reshape(-1, *[1] * (x0.ndim - 1))
        found = self._misfit(many + wide * e).unflatten(0, (-1, K))
        reference = here.where(here.isfinite(), mean)[:, None]
        reward = torch.exp((reference - found) / mean[:, None])
        valid = found.isfinite() & reward.isfinite()
        reward = reward.where(valid, 0.0)
        count = valid.sum(1, keepdim=True)
        others = (reward.sum(1, keepdim=True) - reward) / (count - 1).clamp(min=1)
        advantage = (reward - others).where(valid & (count > 1), 0.0)
        weights = advantage / (count.clamp(min=1) * r[:, None].clamp(min=1e-30))
        pull = -(weights[..., None].to(x0) * e.flatten(1).unflatten(0, (-1, K))).sum(1)
        return pull.reshape(x0.shape), mean

    def _misfit(self, x0: Tensor) -> Tensor:
        out = self.operator(x0)
        return (out - self.operator.measured(len(out)).to(out)).square().sum(1)

    def _moved(self, prediction: Prediction, slope: Tensor, t: Level) -> Prediction:
        """Return the prediction down the slope, x staying where it is."""
        if t.alpha == 0:  # x0 does not depend on x in pure noise
            return prediction
        length = slope.flatten(1).norm(dim=1).clamp(min=1e-30)
        unit = slope / length.reshape(-1, *[1] * (slope.ndim - 1))
        push = self.scale * slope[0].numel() ** 0.5 * t.sigma / (t.alpha**2 + t.sigma**2) ** 0.5
        x0, eps = prediction
        return Prediction(
            torch.sub(x0, unit, alpha=push * t.sigma / t.alpha), torch.add(eps, unit, alpha=push)
        )
