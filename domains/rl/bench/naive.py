r"""Acting the plain way: all that a step needs is worked out in that step.

The networks, grid, solver and scale of a :class:`domains.rl.policy.DiffusionPolicy`, in the manner
of the reference code of CEP: times and coefficients are tensors, every coefficient is worked out
where it is used, both networks embed time and state in every call, and autograd differentiates the
energy. Each of these may be taken out, which shows what it costs.
"""

import math
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.rl.policy import DiffusionPolicy
from guided.rng import Rng
from guided.schedule import Level, VPLinear

Saving = Literal["gradient", "schedule", "times", "states"]


class TensorSchedule:
    """Coefficients (B, 1) of times (B,) by tensor arithmetic, again at every use."""

    def __init__(self, schedule: VPLinear) -> None:
        self.schedule = schedule

    def log_alpha(self, t: Tensor) -> Tensor:
        """Return log alpha."""
        low, high = self.schedule.beta_min, self.schedule.beta_max
        return (-0.25 * t**2 * (high - low) - 0.5 * t * low)[:, None]

    def alpha(self, t: Tensor) -> Tensor:
        """Return alpha."""
        return self.log_alpha(t).exp()

    def sigma(self, t: Tensor) -> Tensor:
        """Return sigma."""
        return (-torch.expm1(2 * self.log_alpha(t))).sqrt()

    def log_snr(self, t: Tensor) -> Tensor:
        """Return log(alpha / sigma)."""
        return self.log_alpha(t) - self.sigma(t).log()

    def expm1(self, x: Tensor) -> Tensor:
        """Return exp(x) - 1."""
        return x.expm1()


class FloatSchedule:
    """The same coefficients as Python floats, of times that are indices of a grid."""

    def __init__(self, levels: list[Level]) -> None:
        self.levels = levels

    def alpha(self, i: int) -> float:
        """Return alpha."""
        return self.levels[i].alpha

    def sigma(self, i: int) -> float:
        """Return sigma."""
        return self.levels[i].sigma

    def log_snr(self, i: int) -> float:
        """Return log(alpha / sigma)."""
        _, alpha, sigma = self.levels[i]
        return math.log(alpha / sigma) if sigma else math.inf

    def expm1(self, x: float) -> float:
        """Return exp(x) - 1."""
        return math.expm1(x)


class PlainPolicy:
    """Acts as the given policy does, less the savings that it is not told to make.

    Args:
        policy: with an energy; its networks, grid and scale are used.
        savings: ``gradient``: that of the energy's network is written out, without autograd;
            ``schedule``: coefficients are floats; ``times``: time embeddings come from a table;
            ``states``: states are embedded once an action.
        guided: whether the energy is evaluated at all, be it to multiply its gradient by 0.

    Raises:
        ValueError: for an unknown saving, or a policy without an energy.
    """

    def __init__(
        self, policy: DiffusionPolicy, savings: Collection[Saving] = (), guided: bool = True
    ) -> None:
        unknown = sorted(set(savings) - set(get_args(Saving)))
        if unknown:
            choices = ", ".join(get_args(Saving))
            raise ValueError(f"unknown savings {', '.join(unknown)}; expected some of {choices}")
        if policy.networks.energy is None:
            raise ValueError("guided acting needs an energy, and this policy has none; train one")
        self.savings, self.scale = frozenset(savings), policy.sampling.scale
        self.guided = guided
        self.normaliser = policy.networks.normaliser
        nets: tuple[Any, Any] = policy.networks.behaviour.net, policy.networks.energy.net
        self.behaviour, self.energy = nets
        schedule = policy.denoiser.schedule
        assert isinstance(schedule, VPLinear)
        self.tensors = TensorSchedule(schedule)
        self.floats = FloatSchedule(schedule.levels(policy.times))
        self.grid = torch.tensor(policy.times)
        self.rows: dict[Any, tuple[Tensor, ...]] = {}
        if "times" in savings:
            with torch.no_grad():
                for net in nets:
                    self.rows[net] = net.embed_time(self.grid).split(1)

    def act(self, obs: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        """Return actions (N, A) in the environment's units for observations (N, S)."""
        x0 = self.sample(torch.as_tensor(obs), Rng(seed)).clamp(-1, 1)
        return self.normaliser.actions_back(x0).numpy()

    @torch.no_grad()
    def sample(self, states: Tensor, rng: Rng) -> Tensor:
        """Return scaled actions (N, A), not clipped, for raw states (N, S)."""
        vectors = [t.expand(len(states)) for t in self.grid]
        c: Any = self.tensors
        moments: Sequence[Any] = vectors
        if "schedule" in self.savings:
            c, moments = self.floats, range(len(vectors))
        embed = self._embedder(self.normaliser.states(states), vectors)
        x = c.sigma(moments[0]) * rng.normal((len(states), len(self.normaliser.low)))
        before: Tensor | None = None
        for i, (t, s) in enumerate(pairwise(moments)):
            eps = self.behaviour.body(x, embed(self.behaviour, i))
            if self.guided:
                slope = self._slope(x, embed(self.energy, i))
                eps = eps - self.scale * c.sigma(t) * slope
            x0 = (x - c.sigma(t) * eps) / c.alpha(t)
            h = c.log_snr(s) - c.log_snr(t)
            gone = c.expm1(-h)
            x = c.sigma(s) / c.sigma(t) * x - c.alpha(s) * gone * x0
            if before is not None and i < len(moments) - 2:
                ratio = (c.log_snr(t) - c.log_snr(moments[i - 1])) / h
                x = x - 0.5 * c.alpha(s) * gone / ratio * (x0 - before)
            before = x0
        return x

    def _embedder(self, state: Tensor, vectors: list[Tensor]) -> Callable[[Any, int], Tensor]:
        """Return what embeds the i-th time and the states for a network."""
        once: dict[Any, Tensor] = {}
        if "states" in self.savings:
            once = {net: net.embed_cond(state) for net in (self.behaviour, self.energy)}

        def embed(net: Any, i: int) -> Tensor:
            time = self.rows[net][i] if self.rows else net.embed_time(vectors[i])
            return time + (once[net] if once else net.embed_cond(state))

        return embed

    def _slope(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return the gradient of f at x."""
        if "gradient" in self.savings:
            return self.energy.body_slope(x, embedding)
        with torch.enable_grad():
            y = x.detach().requires_grad_()
            return torch.autograd.grad(self.energy.body(y, embedding).sum(), y)[0]
