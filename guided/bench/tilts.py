r"""Targets p(x0) exp(-E(x0)) in closed form, and what a learned guidance makes of them.

The guidance is :math:`-\nabla E_t`, which is the score of the noised target less that of the noised
prior. Three measurements of it: a fit within its exact family, the law of samples, its error.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from guided.energy import gradient
from guided.exact import Mixture, QuadraticEnergy, gaussian
from guided.guidance import ClassifierGuidance, EnergyNet, NoisyEnergy, cep_loss
from guided.guidance.denoise.cep import Target
from guided.nets import ScalarMLP
from guided.rng import Rng, initial_weights, stream_seed
from guided.samplers import DPMpp2M
from guided.schedule import Level, Schedule, VPLinear
from guided.train import TrainConfig, train

F64 = torch.float64


@dataclass(frozen=True)
class Tilt:
    """A prior over vectors, an energy, and the target that they make."""

    prior: Mixture
    energy: QuadraticEnergy

    @property
    def target(self) -> Mixture:
        """The law proportional to p exp(-E)."""
        return self.energy.tilt(self.prior)[0]

    def exact(self) -> NoisyEnergy:
        """Return the exact noise-aware energy."""
        return self.prior.noisy_energy(self.energy)

    def guidance(self, x: Tensor, level: Level) -> Tensor:
        """Return the exact guidance at x_t (B, D)."""
        return self.target.noised(level).score(x) - self.prior.noised(level).score(x)


def _vector(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=F64)


GAUSSIAN = Tilt(gaussian(_vector(0.0), 1.0), QuadraticEnergy(4.0, _vector(1.5)))
LINE = Tilt(
    Mixture(_vector(0.6, 0.4), _vector(-1.0, 1.0)[:, None], _vector(0.16, 0.36)),
    QuadraticEnergy(2.0, _vector(0.5)),
)
PLANE = Tilt(
    Mixture(
        _vector(0.4, 0.3, 0.3),
        torch.stack([_vector(-1.0, -0.5), _vector(1.0, -0.5), _vector(0.0, 1.0)]),
        _vector(0.25, 0.16, 0.36),
    ),
    QuadraticEnergy(1.5, _vector(0.5, 0.5)),
)


@dataclass(frozen=True)
class Still(Schedule):
    """A schedule that stands at one time of another, so that a loss is of that time alone."""

    schedule: Schedule
    at: float

    def _coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = self.schedule(self.at)
        return torch.full_like(t, alpha), torch.full_like(t, sigma)

    def time(self, ratio: float) -> float:
        """Return the one time there is."""
        return self.at


class Parabola(nn.Module):
    """f(x) = b x + a x^2 / 2, whose gradient is b + a x: the exact family on a Gaussian."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Parameter(torch.zeros(2, dtype=F64))  # b, a

    def forward(self, x: Tensor, time: Tensor, cond: Any = None) -> Tensor:
        """Return f, (B,), for x (B, 1)."""
        intercept, slope = self.line
        return (intercept * x + 0.5 * slope * x.square())[:, 0]


def fitted_line(target: Target, K: int, at: float, points: int, seed: int) -> tuple[float, float]:
    """Return slope and intercept of the guidance of ``GAUSSIAN`` that minimises the loss.

    Args:
        target: of :func:`guided.guidance.cep_loss`, one that contrasts.
        K: samples in a contrast.
        at: the time.
        points: samples in all; the minimum over them is found by Newton's method, to rounding.
        seed: of the samples.

    Raises:
        ValueError: if that does not converge, for want of samples.
    """
    model = EnergyNet(Parabola(), Still(VPLinear(), at)).eval()
    x0 = GAUSSIAN.prior.sample(points // K * K, Rng(seed)).reshape(-1, K, 1)
    energies = GAUSSIAN.energy(x0.flatten(0, 1)).reshape(-1, K)
    line = model.net.get_parameter("line")
    for _ in range(100):
        loss = cep_loss(model, x0, energies, None, Rng(stream_seed(seed, 1)), target).mean()
        (slope,) = torch.autograd.grad(loss, line, create_graph=True)
        rows = [torch.autograd.grad(s, line, retain_graph=True)[0] for s in slope]
        step = torch.linalg.solve(torch.stack(rows), slope.detach())
        with torch.no_grad():
            line.sub_(step)
        if float(step.abs().max()) < 1e-9:
            return line[1].item(), line[0].item()
    raise ValueError(
        f"the {target} loss of K = {K} has no minimum on {points} samples; give more points"
    )


def moments(tilt: Tilt, energy: NoisyEnergy, times: list[float], n: int) -> tuple[float, float]:
    """Return mean and variance of guided samples in one dimension, without random numbers.

    The n starts are the middles of equal shares of the normal law, carried to data by the
    probability flow; their variance is brought to that of the law.
    """
    schedule = VPLinear()
    shares = (torch.arange(n, dtype=F64) + 0.5) / n
    z = math.sqrt(2) * torch.erfinv(2 * shares - 1)
    start = schedule.level(times[0]).sigma * z / z.square().mean().sqrt()
    guided = ClassifierGuidance(tilt.prior.denoiser(schedule), energy)
    x = DPMpp2M(guided).sample(start[:, None], times, rng=Rng(0))
    return float(x.mean()), float(x.var(correction=0))


def untrained(tilt: Tilt, schedule: Schedule, seed: int) -> EnergyNet:
    """Return a small energy net for samples of the tilt's prior."""
    (size,) = tilt.prior.shape
    with initial_weights(seed):
        return EnergyNet(ScalarMLP(size, width=64, depth=3), schedule)


def training(
    model: EnergyNet, tilt: Tilt, target: Target, config: TrainConfig, K: int
) -> Iterator[int]:
    """Train a net in place on fresh samples, yielding the steps done.

    At the end it has its averaged weights and is ready for use.
    """

    def batch(_: int, generator: torch.Generator) -> Any:
        x0 = tilt.prior.sample(config.batch * K, Rng.wrap(generator))
        shape = (config.batch, K)
        return x0.float().unflatten(0, shape), tilt.energy(x0).float().unflatten(0, shape)

    def loss(x0: Tensor, energies: Tensor, rng: Rng) -> Tensor:
        return cep_loss(model, x0, energies, None, rng, target)

    for state in train(model, batch, config, loss=loss):
        yield state.step
    model.load_state_dict(state.ema)
    model.eval().requires_grad_(False)


def field_error(tilt: Tilt, energy: NoisyEnergy, level: Level, n: int, seed: int) -> float:
    r"""Return the relative error of a guidance, root mean square over the noised target.

    .. math:: \sqrt{E_{p_t} |\hat g - g|^2 / E_{p_t} |g|^2}
    """
    x = tilt.target.noised(level).sample(n, Rng(seed))
    exact = tilt.guidance(x, level)
    slope: Callable[..., Tensor] | None = getattr(energy, "slope", None)
    if slope is None:
        found = -gradient(lambda y: energy(y, level), x)[1]
    else:
        found = -slope(x.float(), level)
    return float(((found - exact).square().sum() / exact.square().sum()).sqrt())
