"""A shield: of several actions that a policy proposes, take the best one that is judged safe.

It guards any policy, and is one itself: ``evaluate(make_env, Shield(policy, danger), trials)``.
What it promises is no more than what the scores are worth; see ``judgement`` for how to find out.

Source: Zheng et al., 2024, https://arxiv.org/abs/2401.10700, section 4.3, takes the least
dangerous of N candidates (here: no ``value``, any threshold).
Differs: a threshold below which the value decides; a log, a stop, and a word where nothing passes.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from domains.rl.acting import Observation, Policy, mapped
from domains.rl.safe.shield_log import ShieldLog, ShieldSummary
from guided.rng import Rng

# Observations of N rows and candidates (N, n, A), in the environment's units: numbers (N, n).
Scores = Callable[[Observation, np.ndarray], np.ndarray]
FIXED_SEED = 0  # of the candidates of a deterministic decision


@runtime_checkable
class Proposer(Protocol):
    """A policy that draws several candidates in a way of its own."""

    def propose(self, obs: Observation, n: int, rng: Rng | None) -> np.ndarray:
        """Return n actions for each of N observations, (N, n, A); row i draws from stream i."""
        ...


@dataclass(frozen=True, eq=False)
class ShieldEvent:
    """One decision of a shield.

    Args:
        decision: its number, counted from 0.
        observation: of this row alone, without the axis of rows.
        candidates: (n, A).
        scores: (n,), as they were given.
        chosen: which of the candidates.
        fallback: whether none was admissible.
    """

    decision: int
    observation: Observation
    candidates: np.ndarray
    scores: np.ndarray
    chosen: int
    fallback: bool


class ShieldStop(RuntimeError):
    """The stop hook ended a decision, and the shield has no emergency action."""

    def __init__(self, event: ShieldEvent) -> None:
        super().__init__(
            f"the stop hook ended decision {event.decision}, whose chosen score is"
            f" {event.scores[event.chosen]:.3g}; handle ShieldStop, or give the shield an emergency"
        )
        self.event = event


class Shield:
    """Guards a policy.

    Of n candidates, those with a score up to the threshold are admissible; the one of the largest
    value is taken, or the one of the lowest score where no values are given. Where none is
    admissible, the shield falls back to the lowest score. NaN is the most dangerous score, and the
    least value; among scores that are all NaN the first candidate is taken.

    Args:
        policy: draws the candidates: by ``propose`` if it has that, else by ``act`` on observations
            that are repeated n times. It has to be stochastic for n to matter.
        danger: gives the scores, larger = more dangerous.
        value: gives the values of candidates.
        threshold: largest admissible score.
        candidates: n.
        stop: asked about every decision, after it is logged; True ends it: the emergency action
            takes its place or, if there is none, ``ShieldStop`` is raised.
        emergency: returns the action, (A,), for a decision that the stop hook ended.
        on_fallback: told of every decision without an admissible candidate.
        patience: decisions with nothing but fallbacks, from the first on, after which a warning is
            given, once.

    Attributes:
        log: what it did since it was made; ``summary()`` tells.

    Raises:
        ValueError: for a threshold that is not finite, or fewer than one candidate or decision.
    """

    def __init__(
        self,
        policy: Policy | Proposer,
        danger: Scores,
        value: Scores | None = None,
        *,
        threshold: float = 0.0,
        candidates: int = 16,
        stop: Callable[[ShieldEvent], bool] | None = None,
        emergency: Callable[[ShieldEvent], ArrayLike] | None = None,
        on_fallback: Callable[[ShieldEvent], object] | None = None,
        patience: int = 100,
    ) -> None:
        if not np.isfinite(threshold):
            raise ValueError(f"Shield got threshold = {threshold}; give a finite one")
        if candidates < 1 or patience < 1:
            raise ValueError(
                f"Shield got candidates = {candidates} and patience = {patience}; give at least 1"
            )
        if emergency is not None and stop is None:
            raise ValueError("Shield got an emergency but no stop that calls for it; give both")
        self.policy, self.danger, self.value = policy, danger, value
        self.threshold, self.candidates = float(threshold), candidates
        self.stop, self.emergency, self.on_fallback = stop, emergency, on_fallback
        self.log = ShieldLog(self.threshold, patience)
        self._warned = False

    def act(
        self, obs: Observation, *, deterministic: bool = False, rng: Rng | None = None
    ) -> np.ndarray:
        """Return actions (N, A), as ``Policy.act``.

        Args:
            obs: N rows.
            deterministic: draw the candidates from fixed noise, the same in every row, so that
                equal observations get equal actions.
            rng: one stream per row, or one for all; None leaves the noise to the policy.

        Raises:
            ShieldStop: as the stop hook says.
            ValueError: for a single observation, or candidates or scores of another shape.
        """
        count = _rows(obs)
        if deterministic:
            rng = Rng([FIXED_SEED] * count)
        candidates = self._proposed(obs, count, rng)
        scores = self._judged("danger", self.danger, obs, candidates)
        values = None
        if self.value is not None:
            values = self._judged("value", self.value, obs, candidates)
        chosen, fallback = pick(scores, values, self.threshold)
        first = self.log.decisions
        self.log.note(scores, chosen, fallback)
        self._warn()
        actions = candidates[np.arange(count), chosen]
        for row in self._rows_to_tell(fallback):
            event = ShieldEvent(
                first + row,
                mapped(lambda values, at=row: values[at], obs),
                candidates[row],
                scores[row],
                int(chosen[row]),
                bool(fallback[row]),
            )
            self._tell(event, actions[row])
        return actions

    def summary(self) -> ShieldSummary:
        """Return what the shield did since it was made."""
        return self.log.summary()

    def _proposed(self, obs: Observation, count: int, rng: Rng | None) -> np.ndarray:
        n = self.candidates
        if isinstance(self.policy, Proposer):
            found = np.asarray(self.policy.propose(obs, n, rng))
            if found.ndim != 3 or found.shape[:2] != (count, n):
                raise ValueError(
                    f"the policy proposed actions of shape {found.shape}; propose ({count}, {n}, A)"
                )
            return found
        if rng is not None and len(rng.seeds) == count:
            # A row's candidates go on with its stream, one after the other.
            rng = rng.take(np.repeat(np.arange(count), n))
        acted = np.asarray(self.policy.act(mapped(lambda v: np.repeat(v, n, axis=0), obs), rng=rng))
        if acted.ndim != 2 or len(acted) != count * n:
            raise ValueError(
                f"the policy returned actions of shape {acted.shape} for {count * n} observations;"
                f" return ({count * n}, A)"
            )
        return acted.reshape(count, n, -1)

    def _judged(
        self, name: str, judge: Scores, obs: Observation, candidates: np.ndarray
    ) -> np.ndarray:
        # In double precision: a threshold must not be rounded to the precision of the scores.
        found = np.asarray(judge(obs, candidates), dtype=np.float64)
        if found.shape != candidates.shape[:2]:
            raise ValueError(
                f"{name} returned shape {found.shape} for candidates of shape {candidates.shape};"
                f" return {candidates.shape[:2]}"
            )
        return found

    def _rows_to_tell(self, fallback: np.ndarray) -> list[int]:
        if self.stop is not None:
            return list(range(len(fallback)))
        return np.flatnonzero(fallback).tolist() if self.on_fallback is not None else []

    def _tell(self, event: ShieldEvent, action: np.ndarray) -> None:
        """Call the hooks; ``action`` is changed in place by an emergency."""
        if event.fallback and self.on_fallback is not None:
            self.on_fallback(event)
        if self.stop is None or not self.stop(event):
            return
        self.log.stops += 1
        if self.emergency is None:
            raise ShieldStop(event)
        given = np.asarray(self.emergency(event))
        if given.shape != action.shape:
            raise ValueError(
                f"emergency returned an action of shape {given.shape}; return {action.shape}"
            )
        action[:] = given

    def _warn(self) -> None:
        if not self._warned and (said := self.log.warning):
            self._warned = True
            warnings.warn(said, RuntimeWarning, stacklevel=3)


def pick(
    scores: np.ndarray, values: np.ndarray | None, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return which candidate is taken, (N,), and whether none was admissible, (N,).

    Args:
        scores: (N, n), float64; NaN counts as inf.
        values: (N, n), NaN counts as -inf; None takes the lowest score.
        threshold: largest admissible score.
    """
    judged = np.where(np.isnan(scores), np.inf, scores)
    admissible = judged <= threshold
    worth = -judged if values is None else np.where(np.isnan(values), -np.inf, values)
    # However little an admissible candidate is worth, it comes before all others.
    merit = np.where(admissible, np.maximum(worth, np.finfo(np.float64).min), -np.inf)
    fallback = np.logical_not(admissible.any(1))
    return np.where(fallback, judged.argmin(1), merit.argmax(1)), fallback


def _rows(obs: Observation) -> int:
    """Return N.

    Raises:
        ValueError: for a single observation.
    """
    shapes = list(_shapes(obs))
    if all(len(shape) < 2 for shape in shapes):
        raise ValueError(
            f"a shield acts on N observations, got the shape {shapes[0]}; give one observation as"
            f" obs[None]"
        )
    return shapes[0][0]


def _shapes(obs: Observation) -> Iterator[tuple[int, ...]]:
    if isinstance(obs, dict):
        for own in obs.values():
            yield from _shapes(own)
    else:
        yield np.shape(obs)
