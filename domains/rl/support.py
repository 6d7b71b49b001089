"""Support actions: what the behaviour would do in every state, drawn once for the later stages."""

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from domains.rl.model import times
from guided.checkpoint import CheckpointError
from guided.command import one_line
from guided.denoiser import NetDenoiser
from guided.hoist import HoistedDenoiser
from guided.rng import Rng, stream_seed
from guided.samplers import DPMpp2M

CHUNK = 2_048  # states whose support actions are drawn at once


@torch.no_grad()
def support_actions(
    denoiser: NetDenoiser, states: Tensor, actions: int, count: int, steps: int, seed: int
) -> Iterator[tuple[int, Tensor]]:
    """Draw actions of the behaviour for every normalised state, chunk by chunk.

    Args:
        denoiser: of the behaviour.
        states: shape (M, S).
        actions: numbers in an action.
        count: actions of each state.
        steps: network calls of an action.
        seed: of the draws.

    Yields:
        States done, and their scaled actions (chunk, count, A).
    """
    grid = times(steps)
    hoisted = HoistedDenoiser(denoiser.eval(), grid)
    sampler = DPMpp2M(hoisted)
    for first in range(0, len(states), CHUNK):
        part = states[first : first + CHUNK]
        rng = Rng(stream_seed(seed, first))
        cond = hoisted.embed(part).repeat_interleave(count, 0)
        noise = sampler.initial((len(cond), actions), grid, rng)
        drawn = sampler.sample(noise, grid, cond, rng=rng).clamp(-1, 1)
        yield first + len(part), drawn.unflatten(0, (len(part), count))


def read_support(path: Path) -> Tensor:
    """Return support actions (M, K, A) that a run wrote.

    Raises:
        CheckpointError: for a truncated file.
    """
    try:
        return load_file(path)["actions"]
    except (OSError, SafetensorError, KeyError) as error:
        raise CheckpointError(f"{path} is truncated ({one_line(error)}); delete it") from None
