"""The loops that are measured: ours, a bare one, and that of diffusers, over one network.

The network predicts eps. Every call sees the same number of rows, so a method that evaluates
several rows for each sample starts from fewer samples: a call costs all loops the same (but the
first one of SCG, which has no candidates yet).
"""

from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, get_args

import torch
from torch import Tensor, nn

from guided.denoiser import Denoiser, NetDenoiser, Parameterization
from guided.energy import FunctionEnergy
from guided.guidance import CFG, SCG
from guided.rng import Rng
from guided.sampler import Sampler
from guided.samplers import DDIM, DPMpp2M, Heun
from guided.schedule import VPLinear, uniform

Run = Callable[[], Tensor]


def samplers(net: nn.Module, x: Tensor, steps: int) -> dict[str, Run]:
    """Return runs of our samplers and methods; x (B, ...) is the noise, B a multiple of 16."""
    energy = FunctionEnergy(lambda x0: x0.flatten(1)[:, 0])
    makers: dict[str, tuple[int, Callable[[Denoiser], Sampler]]] = {
        "DDIM, eta 0": (1, DDIM),
        "DDIM, eta 1": (1, lambda d: DDIM(d, eta=1.0)),
        "Heun": (1, Heun),
        "DPM++ 2M": (1, DPMpp2M),
        "CFG(DDIM)": (2, lambda d: DDIM(CFG(d, 2.0, null=lambda cond: cond))),
        "SCG 16": (16, lambda d: SCG(DDIM(d, eta=1.0), energy, candidates=16)),
    }
    denoiser, times = NetDenoiser(net, VPLinear(), "eps"), uniform(steps)

    def run(rows: int, make: Callable[[Denoiser], Sampler]) -> Run:
        sampler, start = make(denoiser), x[: len(x) // rows]
        return lambda: sampler.sample(start, times, rng=Rng(0))

    return {name: run(*how) for name, how in makers.items()}


def denoisers(net: nn.Module, x: Tensor, steps: int) -> dict[str, Run]:
    """Return as many calls of NetDenoiser as a run has, for every kind of prediction."""
    levels = VPLinear().levels(uniform(steps))[:-1]

    def run(prediction: Parameterization) -> Run:
        denoiser = NetDenoiser(net, VPLinear(), prediction)

        @torch.no_grad()
        def calls() -> Tensor:
            for level in levels:
                x0 = denoiser(x, level).x0
            return x0

        return calls

    return {f"NetDenoiser {kind}": run(kind) for kind in get_args(Parameterization)}


def alone(net: nn.Module, x: Tensor, steps: int) -> Run:
    """Return as many calls of the network as a run has, and nothing else."""
    time = torch.full((len(x),), 0.5)

    @torch.no_grad()
    def run() -> Tensor:
        for _ in range(steps):
            out = net(x, time, None)
        return out

    return run


def bare(net: nn.Module, x: Tensor, steps: int) -> Run:
    r"""Return the least that a sampler can do: DDIM as one linear update, all numbers known before.

    .. math:: x_s = \frac{\alpha_s}{\alpha_t} x_t
                  + (\sigma_s - \frac{\alpha_s}{\alpha_t} \sigma_t)\, \varepsilon
    """
    levels = VPLinear().levels(uniform(steps))
    plan = []
    for t, s in pairwise(levels):
        keep = s.alpha / t.alpha
        plan.append((torch.full((len(x),), t.t), keep, s.sigma - keep * t.sigma))

    @torch.no_grad()
    def run() -> Tensor:
        sample = x
        for time, keep, move in plan:
            sample = torch.add(sample * keep, net(sample, time, None), alpha=move)
        return sample

    return run


def diffusers(net: nn.Module, x: Tensor, steps: int) -> Run | None:
    """Return the DDIM loop of diffusers; None where it is not installed."""
    if find_spec("diffusers") is None:
        return None
    from diffusers import DDIMScheduler

    scheduler: Any = DDIMScheduler(clip_sample=False)

    @torch.no_grad()
    def run() -> Tensor:
        scheduler.set_timesteps(steps)
        sample = x
        for t in scheduler.timesteps:
            eps = net(sample, t.expand(len(x)), None)
            sample = scheduler.step(eps, t, sample).prev_sample
        return sample

    return run
