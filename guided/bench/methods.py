"""The methods of ``guided-bench posterior``, each with one default for all problems."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from guided.bench.problems import Problem
from guided.denoiser import Prediction
from guided.guidance import (
    CPS,
    DPG,
    DPS,
    EKI,
    SCG,
    SIR,
    SMC,
    TDS,
    TMPD,
    EnKG,
    SplitGibbs,
    TemperedSMC,
    Waltz,
    ZeroOrderDPS,
)
from guided.operator import Likelihood, Operator
from guided.rng import Rng
from guided.samplers import DDIM, DPMpp2M
from guided.schedule import VE, Level, karras
from guided.wrappers import Counted

SCHEDULE = VE(sigma_max=5000.0)
SIGMA_MIN = 0.01
FAR = 7.0  # times the farthest mode: with less noise the start tells modes apart that it should not


class Clock(Counted):
    """Counts calls, and the seconds they take."""

    seconds = 0.0

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Time the call and pass it on."""
        began = time.perf_counter()
        prediction = super().forward(x, level, cond)
        self.seconds += time.perf_counter() - began
        return prediction


class TimedOperator(Operator):
    """Counts evaluations of the forward map, and the seconds they take."""

    def __init__(self, operator: Operator) -> None:
        super().__init__(operator.forward, operator.y, operator.noise)
        self.seconds, self.rows = 0.0, 0

    def __call__(self, x0: Tensor) -> Tensor:
        """Time the call and pass it on."""
        began = time.perf_counter()
        out = super().__call__(x0)
        self.seconds += time.perf_counter() - began
        self.rows += len(x0)
        return out


@dataclass(frozen=True)
class Task:
    """What a method has to do.

    Args:
        problem: the problem.
        denoiser: the exact denoiser of its prior, timed.
        operator: its operator, timed.
        particles: samples to return.
        sweeps: evaluations of the forward map that each may cost.
        rng: all randomness.
    """

    problem: Problem
    denoiser: Clock
    operator: TimedOperator
    particles: int
    sweeps: int
    rng: Rng

    @property
    def energy(self) -> Likelihood:
        """The likelihood as an energy."""
        return Likelihood(self.operator)

    def times(self, steps: int) -> list[float]:
        """Return a time grid that starts far outside the data."""
        farthest = float(self.problem.prior.means.flatten(1).norm(dim=1).max())
        return karras(SCHEDULE, steps, SIGMA_MIN, FAR * farthest)

    def start(self, times: list[float], count: int) -> Tensor:
        """Return x_T (count, D)."""
        sampler = DDIM(self.denoiser)
        return sampler.initial((count, *self.problem.prior.shape), times, self.rng)

    def draws(self, count: int) -> Tensor:
        """Return draws from the prior (count, D)."""
        return self.problem.prior.sample(count, self.rng).float()


@dataclass(frozen=True)
class Found:
    """Samples (n, D); the log evidence and the effective size of draws, where a method has them."""

    x: Tensor
    log_z: float | None = None
    effective: float | None = None


def unguided(task: Task) -> Found:
    """Return draws from the prior."""
    return Found(task.draws(task.particles))


def sir(task: Task) -> Found:
    """Spend the whole budget on draws from the prior."""
    draws = task.draws(task.particles * task.sweeps)
    found = SIR(DDIM(task.denoiser), task.energy, task.particles).choose(draws, task.rng)
    return Found(found.x0, found.log_z, found.effective)


def eki(task: Task) -> Found:
    """Move an ensemble of the prior."""
    x0 = task.draws(task.particles)
    return Found(EKI(task.operator, min(task.sweeps, 50)).sample(x0, rng=task.rng))


def enkg(task: Task) -> Found:
    """Run the ensemble with its adaptive step."""
    times = task.times(task.sweeps // 2)
    method = EnKG(DDIM(task.denoiser), task.operator, updates=2)
    return Found(method.sample(task.start(times, task.particles), times, rng=task.rng))


def enkg_scaled(task: Task) -> Found:
    """Run the ensemble with the step of the paper."""
    times = task.times(task.sweeps // 2)
    method = EnKG(DDIM(task.denoiser), task.operator, step="scaled", updates=2)
    return Found(method.sample(task.start(times, task.particles), times, rng=task.rng))


def scg(task: Task) -> Found:
    """Choose between four candidates a step."""
    times = task.times(task.sweeps // 4)
    method = SCG(DDIM(task.denoiser, eta=1.0), task.energy, candidates=4)
    return Found(method.sample(task.start(times, task.particles), times, rng=task.rng))


def cps(task: Task) -> Found:
    """Fit the noise of every step to sixteen candidates."""
    times = task.times(max(2, task.sweeps // 16))
    method = CPS(DDIM(task.denoiser, eta=1.0), task.operator, candidates=16, restarts=1)
    return Found(method.sample(task.start(times, task.particles), times, rng=task.rng))


def smc(task: Task) -> Found:
    """Weigh along one run of many steps."""
    times = task.times(task.sweeps)
    method = SMC(DPMpp2M(task.denoiser, eta=1.0), task.energy, task.particles, temper=True)
    *_, state = method.iterate(task.start(times, task.particles), times, rng=task.rng)
    return Found(state.x, float(state.memory.log_z[0]))


def tds(task: Task) -> Found:
    """Weigh and pull along one run; the twist at its start costs one evaluation."""
    times = task.times(task.sweeps - 1)
    method = TDS(DPMpp2M(task.denoiser, eta=1.0), task.energy, task.particles)
    *_, state = method.iterate(task.start(times, task.particles), times, rng=task.rng)
    return Found(state.x, float(state.memory.log_z[0]))


def dpg(task: Task) -> Found:
    """Follow the rewards of seven perturbed estimates a step."""
    times = task.times(max(2, task.sweeps // 8))
    method = DPG(DDIM(task.denoiser, eta=1.0), task.operator, queries=7)
    return Found(method.sample(task.start(times, task.particles), times, rng=task.rng))


def zeroth_order(task: Task) -> Found:
    """Follow the gradient of the misfit from three pairs of differences a step."""
    times = task.times(max(2, task.sweeps // 7))
    method = ZeroOrderDPS(DDIM(task.denoiser, eta=1.0), task.operator, queries=3)
    return Found(method.sample(task.start(times, task.particles), times, rng=task.rng))


def dps(task: Task) -> Found:
    """Follow the gradient of the misfit."""
    times = task.times(task.sweeps)
    method = DPS(DDIM(task.denoiser, eta=1.0), task.operator, scale=1.0)
    return Found(method.sample(task.start(times, task.particles), times, rng=task.rng))


def tmpd(task: Task) -> Found:
    """Match moments."""
    times = task.times(task.sweeps)
    method = DPMpp2M(TMPD(task.denoiser, task.operator), eta=1.0)
    return Found(method.sample(task.start(times, task.particles), times, rng=task.rng))


def tempered(task: Task) -> Found:
    """Move from the prior to the posterior through temperatures, by Waltz."""
    method = TemperedSMC(_waltz(task), task.particles, task.sweeps)
    times = task.times(60)
    start = task.start(times, task.sweeps // 2 * task.particles)
    population = method.sample(start, times, rng=task.rng)
    return Found(population.chain.x0, population.log_z)


def enkg_waltz(task: Task) -> Found:
    """Spend half the budget on EnKG and repair it with the other half."""
    times = task.times(task.sweeps // 4)
    method = EnKG(DDIM(task.denoiser), task.operator, updates=2)
    x = method.sample(task.start(times, task.particles), times, rng=task.rng)
    return Found(_waltz(task).sample(x, task.sweeps // 2, rng=task.rng))


def split_gibbs(task: Task) -> Found:
    """Alternate between data and prior, three steps of the first at every coupling."""
    sampler = DPMpp2M(task.denoiser, eta=1.0)
    method = SplitGibbs(sampler, task.operator, levels=(task.sweeps + 1) // 5, langevin=3)
    return Found(method.sample(task.draws(task.particles), rng=task.rng))


def repaired(task: Task, x: Tensor, moves: int) -> Tensor:
    """Return samples (n, D) of any method after so many moves of Waltz."""
    return _waltz(task).sample(x.float(), moves, rng=task.rng)


def _waltz(task: Task) -> Waltz:
    sampler = DPMpp2M(task.denoiser, eta=1.0)
    return Waltz(sampler, task.energy, steps=25, sigma_min=SIGMA_MIN, ratio=10.0)


METHODS: dict[str, Callable[[Task], Found]] = {
    "prior": unguided,
    "SIR": sir,
    "EKI": eki,
    "EnKG": enkg,
    "EnKG, scaled": enkg_scaled,
    "EnKG + Waltz": enkg_waltz,
    "SCG": scg,
    "CPS": cps,
    "SMC": smc,
    "TDS": tds,
    "DPG": dpg,
    "zeroth DPS": zeroth_order,
    "DPS": dps,
    "TMPD": tmpd,
    "tempered SMC": tempered,
    "SplitGibbs": split_gibbs,
}
GRADIENTS = {"DPS", "TDS", "TMPD"}  # not for maps without a slope
LINEAR = {"TMPD"}
