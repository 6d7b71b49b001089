"""The loops that are measured: ours, a bare one, and that of diffusers on the same network."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from guided.denoiser import Counted, Denoiser, NetDenoiser
from guided.energy import FunctionEnergy
from guided.guidance import CFG, SCG
from guided.rng import Rng
from guided.sampler import Sampler
from guided.samplers import DDIM, DDPM, DPMpp2M, Heun
from guided.schedule import VPLinear, uniform


@dataclass(frozen=True)
class Loop:
    """A run to be timed, and what it spends on the network.

    Args:
        run: the run.
        calls: network calls in it.
        rows: rows of one call (the largest).
    """

    run: Callable[[], object]
    calls: int
    rows: int


def ours(net: nn.Module, shape: tuple[int, ...], steps: int) -> dict[str, Loop]:
    """Return our samplers and methods over one network that predicts eps."""
    times = uniform(steps)
    energy = FunctionEnergy(lambda x0: x0.flatten(1).square().sum(1))
    makers: dict[str, Callable[[Denoiser], Sampler]] = {
        "DDIM": DDIM,
        "DDPM": DDPM,
        "Heun": Heun,
        "DPM++ 2M": DPMpp2M,
        "CFG(DDIM)": lambda d: DDIM(CFG(d, 2.0, null=lambda cond: cond)),
        "SCG 16": lambda d: SCG(DDPM(d), energy, candidates=16),
    }
    x = Rng(0).normal(shape)
    loops = {}
    for name, make in makers.items():
        counted = Counted(NetDenoiser(net, VPLinear(), "eps"))
        make(counted).sample(x, times, rng=Rng(0))
        sampler = make(NetDenoiser(net, VPLinear(), "eps"))
        loops[name] = Loop(_run(sampler, x, times), counted.calls, _rows(name, len(x)))
    return loops


def _run(sampler: Sampler, x: Tensor, times: list[float]) -> Callable[[], object]:
    return lambda: sampler.sample(x, times, rng=Rng(0))


def _rows(name: str, batch: int) -> int:
    return batch * {"SCG 16": 16, "CFG(DDIM)": 2}.get(name, 1)


def bare(net: nn.Module, shape: tuple[int, ...], steps: int) -> Loop:
    """Return the least a loop can do: one fused update a step, all numbers known before."""
    levels = VPLinear().levels(uniform(steps))
    x_start = Rng(0).normal(shape)
    times = [torch.full((shape[0],), level.t) for level in levels]
    keep = [s.alpha / t.alpha for t, s in pairwise(levels)]
    move = [s.sigma - t.sigma * k for (t, s), k in zip(pairwise(levels), keep, strict=True)]

    @torch.no_grad()
    def run() -> Tensor:
        x = x_start
        for i in range(steps):
            x = torch.add(x * keep[i], net(x, times[i], None), alpha=move[i])
        return x

    return Loop(run, steps, shape[0])


def diffusers(net: nn.Module, shape: tuple[int, ...], steps: int) -> Loop | None:
    """Return the DDIM loop of diffusers over the same network; None where it is not installed."""
    if find_spec("diffusers") is None:
        return None
    from diffusers import DDIMScheduler

    scheduler: Any = DDIMScheduler(num_train_timesteps=1000, clip_sample=False)
    x_start = Rng(0).normal(shape)

    @torch.no_grad()
    def run() -> Tensor:
        scheduler.set_timesteps(steps)
        x = x_start
        for t in scheduler.timesteps:
            eps = net(x, t.expand(shape[0]).float() / 1000, None)
            x = scheduler.step(eps, t, x).prev_sample
        return x

    return Loop(run, steps, shape[0])
