"""Sequences longer than the window of a model: segment by segment, each continues the last one."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from guided.denoiser import Denoiser
from guided.guidance.denoise.history import HistoryGuidance
from guided.guidance.denoise.history_levels import Branches
from guided.rng import Rng, stream_seed
from guided.sampler import Sampler


def roll_out(
    denoiser: Denoiser,
    sampler: Callable[[Denoiser], Sampler],
    context: Tensor,
    tokens: int,
    window: int,
    times: Sequence[float],
    branches: Callable[[int], Branches],
    cond: Any = None,
    *,
    rng: Rng,
    given: float = 0.0,
    generated: float = 0.02,
    seed: int = 0,
) -> Tensor:
    """Continue sequences.

    Every segment sees the last H tokens, as many as the context has, and generates window - H more.

    Args:
        denoiser: see :class:`HistoryGuidance`.
        sampler: makes the sampler of a guided denoiser, e.g. ``DDIM``.
        context: clean history (B, H, ...).
        tokens: how many to generate; what the last segment has too many is cut off.
        window: T, the tokens of a segment.
        times: decreasing times of every segment's run.
        branches: maps the number of history tokens to branches, e.g.
            ``lambda n: vanilla(n, 1.5)``.
        cond: the condition of all segments.
        rng: the source of all randomness but the history's noise.
        given: level at which the context is shown; 0 = clean.
        generated: level at which generated history is shown, so that errors do not add up.
        seed: of the history's noise, another for each segment.

    Returns:
        The context and what follows it, (B, H + tokens, ...).

    Raises:
        ValueError: for a context that leaves no room in the window, or less than one token.

    Source: Song et al. 2025, History-guided video diffusion (stabilisation, sliding window).
    """
    held = context.shape[1]
    if not 1 <= held < window or tokens < 1:
        raise ValueError(
            f"a roll-out needs a context of 1 to window - 1 tokens and at least 1 to generate, got "
            f"{held} of a window of {window} and {tokens}"
        )
    found, segment = context, 0
    history = torch.arange(window, device=context.device) < held
    while (missing := held + tokens - found.shape[1]) > 0:
        start = found.shape[1] - held
        past = found[:, start:]
        known = torch.cat([past, past.new_zeros(len(past), window - held, *past.shape[2:])], 1)
        levels = [given if start + i < held else generated for i in range(held)]
        guided = HistoryGuidance(
            denoiser, known, history, branches(held), levels, stream_seed(seed, segment)
        )
        run = sampler(guided)
        x = run.initial(known.shape, times, rng, known.dtype, known.device)
        end = run.sample(x, times, cond, rng=rng)
        found = torch.cat([found, end[:, held : held + missing]], 1)
        segment += 1
    return found
