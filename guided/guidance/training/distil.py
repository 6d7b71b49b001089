r"""AGD, the training: the student learns on the guided runs of its teacher, at random scales.

The teacher's runs leave the noised data, the more the larger the scale, and the student's own runs
will be where the teacher's were. So the examples are states of guided runs, recorded once.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from guided.cond import concat, take
from guided.denoiser import Denoiser, DenoiserWrapper, Prediction
from guided.guidance.space import coordinates
from guided.guidance.training.adapter import Distilled
from guided.rng import Rng
from guided.sampler import Sampler
from guided.schedule import Level
from guided.train import Batch, Loss


class Record(NamedTuple):
    """States of guided runs, and what the teacher predicted there.

    Args:
        x: noisy samples (N, ...).
        t: their times (N,).
        v: the teacher's prediction, of the shape of x.
        scale: w of their runs (N,).
        cond: their conditions, a tree of N rows.
    """

    x: Tensor
    t: Tensor
    v: Tensor
    scale: Tensor
    cond: Any


def record(
    teacher: Callable[[Tensor], Denoiser],
    sampler: Callable[[Denoiser], Sampler],
    x: Tensor,
    times: Sequence[float],
    cond: Any,
    scales: Tensor,
    rng: Rng,
) -> Record:
    """Run the teacher, and keep every state in which it was asked for a prediction.

    Args:
        teacher: makes the guided denoiser of scales (B,), e.g. ``lambda w: CFG(model, w, null)``.
        sampler: makes the sampler of a denoiser, e.g. ``DDIM``.
        x: x_T (B, ...).
        times: decreasing times.
        cond: the conditions of the B runs.
        scales: w of the B runs; random ones teach the whole range.
        rng: the source of all randomness of the runs.
    """
    watched = _Watched(teacher(scales))
    sampler(watched).sample(x, times, cond, rng=rng)
    states, each = watched.states, len(watched.states)
    return Record(
        torch.cat([x for x, _, _ in states]),
        torch.tensor([t for _, t, _ in states], dtype=x.dtype).repeat_interleave(len(x)),
        torch.cat([v for _, _, v in states]),
        scales.repeat(each),
        concat([cond] * each),
    )


def recorded(examples: Record, size: int) -> Batch:
    """Return batches of ``size`` rows drawn from a record, for :func:`guided.train.train`."""

    def batch(step: int, generator: Generator) -> tuple[Tensor, Any]:
        rows = torch.randint(0, len(examples.x), (size,), generator=generator)
        x, t, v, scale, cond = examples
        given = {"t": t[rows], "v": v[rows], "scale": scale[rows], "cond": take(cond, rows)}
        return x[rows], given

    return batch


def distil_loss(student: Distilled) -> Loss:
    """Return the loss of a student's adapter, which is what ``train`` is to be given to train.

    It is the mean square error in v. The base is evaluated without a gradient and stays as it is.

    Args:
        student: whose adapter learns; its scale does not matter.

    Source: Jensen & Sadat 2025, Efficient distillation of classifier-free guidance using adapters.
    """

    def loss(x: Tensor, given: Any, rng: Rng) -> Tensor:
        level = student.schedule.level(given["t"].reshape(-1, *[1] * (x.ndim - 1)))
        with torch.no_grad():
            base = student.denoiser(x, level, given["cond"])
        found = student.added(base, x, level, given["cond"], given["scale"])
        return (coordinates(found, level, "v") - given["v"]).square().flatten(1).mean(1)

    return loss


class _Watched(DenoiserWrapper):
    """Remembers where it was called and what it said."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__(denoiser)
        self.states: list[tuple[Tensor, float, Tensor]] = []

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        found = self.denoiser(x, level, cond)
        self.states.append((x, level.t, coordinates(found, level, "v")))
        return found
