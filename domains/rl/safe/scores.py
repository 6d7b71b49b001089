"""What a shield judges candidates by: a policy's own networks, or the point robot's exact value."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from domains.rl.acting import Observation
from domains.rl.policy import DiffusionPolicy
from domains.rl.safe.point_robot import step_states
from domains.rl.safe.reachable import FeasibleValue
from domains.rl.safe.shield import Scores, Shield


def learned_danger(policy: DiffusionPolicy) -> Scores:
    """Return the scores of a policy's feasibility critic, Q_h; above 0 it expects a violation.

    Raises:
        ValueError: for a policy without one.
    """
    safety = policy.networks.safety
    if safety is None:
        raise ValueError("this policy has no feasibility critic; give the shield other scores")
    return _judge(policy, safety.q_h)


def learned_value(policy: DiffusionPolicy) -> Scores:
    """Return the values of a policy's critic, Q.

    Raises:
        ValueError: for a policy without one.
    """
    networks = policy.networks
    if networks.critic is not None:
        return _judge(policy, networks.critic.q)
    if networks.safety is None:
        raise ValueError("this policy has no critic; give the shield other values, or none")
    safety = networks.safety
    return _judge(policy, lambda states, actions: safety.judge(states, actions)[0])


def shielded(policy: DiffusionPolicy, threshold: float) -> Shield:
    """Return a policy behind a shield by its own critics, with its own number of candidates.

    Raises:
        ValueError: for a policy that learned nothing about safety, or a threshold that is not
            finite.
    """
    danger, value = learned_danger(policy), learned_value(policy)
    safety = policy.networks.safety
    if policy.networks.critic is None and safety is not None:
        judge = safety.judge  # both at once, for the candidates that a shield asks about twice
        value, danger = _parts(_judge(policy, lambda s, a: torch.stack(judge(s, a), -1)))
    own = policy.sampling.candidates
    return Shield(policy, danger, value, threshold=threshold, candidates=own)


def _parts(both: Scores) -> tuple[Scores, Scores]:
    """Return the two parts of scores (N, n, 2), evaluated once for the same candidates."""
    kept: dict[str, np.ndarray] = {}

    def once(obs: Observation, candidates: np.ndarray) -> np.ndarray:
        if kept.get("candidates") is not candidates:
            kept.update(candidates=candidates, scores=both(obs, candidates))
        return kept["scores"]

    return lambda obs, c: once(obs, c)[..., 0], lambda obs, c: once(obs, c)[..., 1]


def exact_danger(value: FeasibleValue) -> Scores:
    """Return the feasible value of the state that each action leads the point robot to.

    Up to 0, some control keeps it out of the hazards from there on. The robot must not be faster
    than the value's grid.
    """

    def scores(obs: Observation, candidates: np.ndarray) -> np.ndarray:
        assert isinstance(obs, np.ndarray)
        x, y, v, cos, sin = obs[:, :5].astype(np.float64).T
        states = np.stack([x, y, v, np.arctan2(sin, cos)], -1)
        ahead = step_states(np.repeat(states[:, None], candidates.shape[1], 1), candidates)
        return value.value(ahead.reshape(-1, 4)).reshape(candidates.shape[:2])

    return scores


def _judge(policy: DiffusionPolicy, judge: Callable[[Tensor, Tensor], Tensor]) -> Scores:
    """Return what judges normalised states (N, S) and scaled actions (N, n, A), in raw units."""
    normaliser = policy.networks.normaliser

    @torch.inference_mode()
    def scores(obs: Observation, candidates: np.ndarray) -> np.ndarray:
        flat, _ = policy.observed(obs)
        states = normaliser.states(torch.from_numpy(flat))
        actions = normaliser.actions(torch.from_numpy(candidates).float())
        return judge(states, actions).numpy()

    return scores
