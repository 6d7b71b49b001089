"""How good forecasts are: sets of K worlds from one predictor, scored by joint and marginal errors.

===========  ==================================================================================
set          its K worlds
===========  ==================================================================================
``samples``  the first K joint samples, as they come
``worlds``   K joint samples that together come near to every sample
``snapped``  the K likeliest combinations of marginal modes, as joint samples fall on them
``modes``    the marginal predictor alone: everybody's k-th mode is a world; the likeliest
===========  ==================================================================================

No set knows who will be scored: that depends on the future.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from domains.trajectory import selection
from domains.trajectory.metrics.windows import WindowScores, WindowSummary
from domains.trajectory.metrics.world import MultiWorld, averaged, multi_world
from domains.trajectory.model import Predictor
from domains.trajectory.predict import ROWS, Guide, Sampling, batches, sampled, unguided
from domains.trajectory.prepared import Prepared, prepare, split
from domains.trajectory.scene import Scene
from domains.trajectory.tasks import truth_of
from domains.trajectory.truth import scored_places

Kind = Literal["samples", "worlds", "snapped", "modes"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Figures:
    """What one set of worlds scores.

    Args:
        kind: of the set.
        windows: best-of-K errors and collisions.
        multi_world: the Argoverse 2 figures, by the probabilities of the worlds.
    """

    kind: Kind
    windows: WindowSummary
    multi_world: dict[str, float]


def evaluate(
    predictor: Predictor,
    scenes: Sequence[Scene],
    how: Sampling,
    count: int,
    kinds: Sequence[Kind] = KINDS,
    guide: Guide = unguided,
) -> Iterator[tuple[int, list[Figures]]]:
    """Score forecasts; yields scenes done so far and, with the last one, the figures.

    Args:
        predictor: trained.
        scenes: with futures.
        how: samples, steps, start and seed.
        count: K.
        kinds: of sets.
        guide: builds the sampler.

    Raises:
        ValueError: for no worlds or sets, fewer samples than worlds, or scenes in which nobody is
            scored.
    """
    if count < 1 or not kinds:
        raise ValueError(f"evaluate 1 or more worlds of 1 or more sets, got {count} of {kinds}")
    if how.samples < count:
        raise ValueError(f"{count} worlds need as many samples, got {how.samples}; draw more")
    scores = {kind: WindowScores() for kind in kinds}
    worlds: dict[Kind, list[MultiWorld]] = {kind: [] for kind in kinds}
    done = 0
    for index in batches(scenes, max(1, ROWS // how.samples)):
        prepared = prepare(predictor, [scenes[i] for i in index])
        found = split(prepared, sampled(prepared, how, guide))
        modes = split(prepared, prepared.decode(prepared.references().flatten(0, 1)))
        for i, (samples, marginal) in enumerate(zip(found, modes, strict=True)):
            scored, truth = _scored(prepared, i)
            logits = prepared.modes.logits[i, : samples.shape[1]].log_softmax(-1).double().numpy()
            for kind in kinds:
                chosen, shares = _chosen(kind, samples, marginal, logits, count)
                scores[kind].add(chosen[:, scored], truth)
                worlds[kind].append(multi_world(chosen[:, scored], truth, shares))
        done += len(index)
        yield done, []
    yield done, [Figures(k, scores[k].summary(), averaged(worlds[k])) for k in kinds]


def _scored(prepared: Prepared, i: int) -> tuple[NDArray[np.int64], Array]:
    """Return who is scored of scene i, as places among its agents, and what they did."""
    scene, agents = prepared.scenes[i], prepared.cases[i].agents
    truth = truth_of(prepared, i)
    scored = scored_places(scene, agents, truth)
    return scored, truth[scored]


def _chosen(
    kind: Kind, samples: Array, modes: Array, logits: Array, count: int
) -> tuple[Array, Array]:
    """Return K worlds (K, N, F, 2) and their probabilities; logits are (N, M)."""
    if kind == "samples":
        return samples[:count], np.full(count, 1 / count)
    if kind == "worlds":
        return selection.worlds(samples, count)
    if kind == "snapped":
        found, shares = selection.snapped(samples, modes, count)
        again = np.arange(count) % len(found)  # fewer combinations than worlds: some twice
        return found[again], shares[again] / shares[again].sum()
    # Agents are independent for the marginal predictor, and the likeliest worlds come first.
    chances = logits.sum(0)
    order = np.argsort(-chances, kind="stable")[:count]
    shares = np.exp(chances[order] - chances[order].max())
    return modes[order], shares / shares.sum()
