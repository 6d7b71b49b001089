r"""History guidance: a sequence is continued, its past shown at several noise levels at once."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from guided.cond import concat
from guided.denoiser import Denoiser, DenoiserWrapper, NetDenoiser, Prediction, predicted
from guided.guidance.denoise.history_levels import merged
from guided.nets.control import Stacked
from guided.rng import Rng, stream_seed
from guided.schedule import Level, Schedule

TICKS = 2**40  # of time, by which noise is looked up


class Shown(NamedTuple):
    """The history as one branch sees it.

    Args:
        x: noised history, (R, T, ...); tokens that are generated hold nothing of use.
        level: of its tokens, tensors (T, 1, ...).
    """

    x: Tensor
    level: Level


class HistoryGuidance(DenoiserWrapper):
    r"""A weighted sum of predictions that see the history at different noise.

    .. math:: \hat D(x_G) = \sum_b w_b\, D(x_G \mid H^{k_b}), \qquad \sum_b w_b = 1

    Every branch costs one row of one stacked call, or a call where the denoiser has numbers per
    request. The generated tokens are at the level of the run; those of the history are noised to
    the level that they claim, with noise drawn once per level from
    ``Rng(stream_seed(seed, round(t * 2**40)))``, so that a run is a deterministic flow and a token
    looks the same in all branches of one level. x0 and eps of the generated tokens are
    consistent; the history is predicted as known, and ends at its clean values.

    Args:
        denoiser: takes a level per token, (B, T, 1, ...): trained by ``forcing_loss``.
        known: clean history, (R, T, ...), each serving B / R rows side by side; what it holds
            at other tokens is not read.
        history: which tokens are history, booleans (T,).
        branches: level of every history token -> weight, as made by ``vanilla``, ``fractional`` or
            ``temporal``. Neutral, with one branch, where their scale is 1.
        stabilise: least level at which the history is shown, a number or one per history token: 0
            is neutral; generated history is stabler at about 0.02.
        seed: of the history's noise; one number, or one for each of the R histories.

    Raises:
        ValueError: for shapes, branches and seeds that do not fit, or a clean history for a network
            whose eps is not defined there.

    Source: Song et al. 2025, History-guided video diffusion; its code merges branches in this way.
    Differs: the source draws the noise of the history anew in every evaluation.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        known: Tensor,
        history: Tensor,
        branches: Mapping[tuple[float, ...], float],
        stabilise: float | Sequence[float] = 0.0,
        seed: int | Sequence[int] = 0,
    ) -> None:
        super().__init__(denoiser)
        _check_history(known, history, branches)
        count = int(history.sum())
        least = [stabilise] * count if isinstance(stabilise, int | float) else list(stabilise)
        if len(least) != count:
            raise ValueError(f"stabilise has {len(least)} levels for {count} history tokens")
        raised = ((tuple(map(max, levels, least)), weight) for levels, weight in branches.items())
        self.branches = merged(raised)
        _require_noise(denoiser, self.branches)
        seeds = [seed] if isinstance(seed, int) else list(seed)
        if len(seeds) not in (1, len(known)):
            raise ValueError(f"there are {len(seeds)} seeds for {len(known)} histories; give one")
        self.known, self.history = known, history
        self.shown = [
            _shown(known, history, levels, self.schedule, seeds) for levels in self.branches
        ]

    @property
    def layers(self) -> int:
        """Return those of the denoiser inside."""
        return self.denoiser.layers

    @property
    def of_requests(self) -> bool:
        """Return whether there are several histories."""
        return len(self.known) > 1

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Return the guided prediction of x (B, T, ...)."""
        return self.controlled(x, level, cond, None)

    def controlled(self, x: Tensor, level: Level, cond: Any, control: Any) -> Prediction:
        """Return the guided prediction, all branches under a control; None = none."""
        times = self._times(x)
        mask = self.history.to(x.device).reshape(-1, *[1] * (x.ndim - 2))
        rows = [torch.where(mask, _rows(shown.x, x, times), x) for shown in self.shown]
        levels = [_spread(shown.level, level, mask, x) for shown in self.shown]
        found = self._found(rows, levels, cond, control)
        known = _rows(self.known, x, times)
        exact = (x - level.alpha * known) / level.sigma
        x0, eps = (self._summed(part, len(x)) for part in found)
        return Prediction(torch.where(mask, known, x0), torch.where(mask, exact, eps))

    def _found(
        self, rows: Sequence[Tensor], levels: Sequence[Level], cond: Any, control: Any
    ) -> Prediction:
        """Return the predictions of all branches, one above the other."""
        if self.denoiser.by_place:
            pairs = zip(rows, levels, strict=True)
            each = [predicted(self.denoiser, x, level, cond, control) for x, level in pairs]
            return Prediction(*(torch.cat(parts) for parts in zip(*each, strict=True)))
        n = len(rows)
        return predicted(
            self.denoiser,
            torch.cat(list(rows)),
            Level(*(torch.cat(parts) for parts in zip(*levels, strict=True))),
            concat([cond] * n),
            Stacked.of([control] * n, [len(rows[0])] * n) if control else None,
        )

    def _summed(self, stacked: Tensor, size: int) -> Tensor:
        parts = stacked.split(size)
        if len(parts) == 1:
            return parts[0]
        weights = self.branches.values()
        return torch.stack([w * part for w, part in zip(weights, parts, strict=True)]).sum(0)

    def _times(self, x: Tensor) -> int:
        if x.shape[1:] != self.known.shape[1:] or len(x) % len(self.known):
            raise ValueError(
                f"the history {tuple(self.known.shape)} is of samples (B, "
                f"{', '.join(map(str, self.known.shape[1:]))}) with B a multiple of "
                f"{len(self.known)}, got x of shape {tuple(x.shape)}"
            )
        return len(x) // len(self.known)


def _rows(values: Tensor, x: Tensor, times: int) -> Tensor:
    values = values.to(x)
    return values if times == 1 else values.repeat_interleave(times, dim=0)


def _spread(own: Level, level: Level, mask: Tensor, x: Tensor) -> Level:
    """Return the levels (B, T, 1, ...) of a branch: the history's own, and that of the run."""
    shape = (*x.shape[:2], *[1] * (x.ndim - 2))
    pairs = zip(own, level, strict=True)
    return Level(*(torch.where(mask, a.to(x), b).expand(shape) for a, b in pairs))


def _shown(
    known: Tensor,
    history: Tensor,
    levels: Sequence[float],
    schedule: Schedule,
    seeds: Sequence[int],
) -> Shown:
    """Noise the history to the levels of its tokens."""
    x, tail = known.clone(), [1] * (known.ndim - 2)
    own = torch.zeros(3, known.shape[1], *tail, dtype=known.dtype, device=known.device)
    for token, t in zip(history.nonzero().flatten().tolist(), levels, strict=True):
        level = schedule.level(t)
        own[:, token] = torch.tensor(level, dtype=known.dtype).reshape(3, *tail)
        noise = _noise(known, t, seeds)[:, token] if level.sigma else 0.0
        x[:, token] = level.alpha * known[:, token] + level.sigma * noise
    return Shown(x, Level(*own))


def _noise(known: Tensor, t: float, seeds: Sequence[int]) -> Tensor:
    rng = Rng([stream_seed(seed, round(t * TICKS)) for seed in seeds])
    return rng.normal((len(seeds), *known.shape[1:]), known.dtype, known.device)


def _check_history(
    known: Tensor, history: Tensor, branches: Mapping[tuple[float, ...], float]
) -> None:
    if known.ndim < 3 or history.dtype != torch.bool or history.shape != known.shape[1:2]:
        raise ValueError(
            f"history guidance needs a known history (R, T, ...) with an axis after T and booleans "
            f"(T,), got {tuple(known.shape)} and {history.dtype} of {tuple(history.shape)}"
        )
    count = int(history.sum())
    if any(len(levels) != count for levels in branches):
        raise ValueError(
            f"every branch has a level for each of the {count} history tokens, got "
            f"{sorted({len(levels) for levels in branches})} levels"
        )


def _require_noise(denoiser: Denoiser, branches: Mapping[tuple[float, ...], float]) -> None:
    while isinstance(denoiser, DenoiserWrapper):
        denoiser = denoiser.denoiser
    clean = any(t == 0 for levels in branches for t in levels)
    if clean and isinstance(denoiser, NetDenoiser) and denoiser.prediction in ("x0", "edm"):
        raise ValueError(
            f"a {denoiser.prediction!r} network divides by sigma, which is 0 for a clean history; "
            f"show it at least at a small level, e.g. stabilise=0.001"
        )
