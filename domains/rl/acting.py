"""What a policy is, and how several take part in one batched run.

An observation is an array (N, ...) or, in a dict space, a dict of such arrays (nested dicts too):
N rows, one per environment, as Gymnasium's vector environments give them.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from guided.rng import Rng

Observation = np.ndarray | dict[str, Any]


class Policy(Protocol):
    """Anything that acts on a batch of observations."""

    def act(
        self, obs: Observation, *, deterministic: bool = False, rng: Rng | None = None
    ) -> np.ndarray:
        """Return actions (N, A), in the units of the environment.

        Args:
            obs: N rows; not necessarily the same environments in every call.
            deterministic: without noise, as far as the policy can.
            rng: one stream per row. Row i has to draw from stream i alone, so that its action does
                not depend on the rows beside it; None leaves the noise to the policy.
        """
        ...


class VariantPolicy(Protocol):
    """Variants of a policy that act together in one batch, such as its guidance scales."""

    @property
    def labels(self) -> Sequence[Hashable]:
        """The names of the V variants."""
        ...

    def act(
        self,
        obs: Observation,
        *,
        variant: np.ndarray,
        deterministic: bool = False,
        rng: Rng | None = None,
    ) -> np.ndarray:
        """Return actions as ``Policy.act`` does, row i as variant[i] of 0, ..., V - 1 acts."""
        ...


class Varied:
    """One policy whose ``act`` takes a keyword that may differ from row to row.

    Example: ``Varied(policy, "scale", (0.0, 1.0, 3.0))`` calls
    ``policy.act(obs, scale=<array (N,)>, deterministic=..., rng=...)``.

    Args:
        policy: it.
        name: of the keyword.
        values: one a variant, and its label.

    Raises:
        ValueError: for no values, or one that is there twice.
    """

    def __init__(self, policy: Any, name: str, values: Sequence[float]) -> None:
        if not values or len(set(values)) < len(values):
            raise ValueError(f"Varied got {name} = {list(values)}; give each value once")
        self.policy, self.name = policy, name
        self.labels = tuple(values)

    def act(
        self,
        obs: Observation,
        *,
        variant: np.ndarray,
        deterministic: bool = False,
        rng: Rng | None = None,
    ) -> np.ndarray:
        """Act on all rows in one call."""
        value = {self.name: np.asarray(self.labels)[variant]}
        return np.asarray(self.policy.act(obs, deterministic=deterministic, rng=rng, **value))


class Together:
    """Different policies in one batch; each is sent its own rows, and knows nothing of the rest.

    Args:
        policies: them, by label.

    Raises:
        ValueError: for no policies.
    """

    def __init__(self, policies: Mapping[Any, Policy]) -> None:
        if not policies:
            raise ValueError("Together got no policies; give at least one")
        self.policies = tuple(policies.values())
        self.labels = tuple(policies)

    def act(
        self,
        obs: Observation,
        *,
        variant: np.ndarray,
        deterministic: bool = False,
        rng: Rng | None = None,
    ) -> np.ndarray:
        """Act, one call a policy that has rows."""
        parts, places = [], []
        for index, policy in enumerate(self.policies):
            mine = np.flatnonzero(variant == index)
            if len(mine):
                streams = None if rng is None else rng.take(mine)
                acted = policy.act(select(obs, mine), deterministic=deterministic, rng=streams)
                parts.append(np.asarray(acted))
                places.append(mine)
                if parts[-1].shape != (len(mine), *parts[0].shape[1:]):
                    raise ValueError(
                        f"{self.labels[index]!r} returned actions of shape {parts[-1].shape} for"
                        f" {len(mine)} observations; return one row for each"
                    )
        return np.concatenate(parts)[np.argsort(np.concatenate(places))]


def select(obs: Observation, rows: np.ndarray) -> Observation:
    """Return some rows of an observation, copied."""
    return mapped(lambda values: values[rows], obs)


def mapped(change: Callable[..., np.ndarray], *trees: Observation) -> Observation:
    """Return observations of one structure, joined array by array."""
    if isinstance(trees[0], dict):
        return {key: mapped(change, *(tree[key] for tree in trees)) for key in trees[0]}
    return change(*trees)


def checked(actions: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return the actions of a policy, once they are what an environment can take.

    Raises:
        ValueError: for another shape, or numbers that are not finite.
    """
    found = np.asarray(actions)
    if found.shape != shape:
        raise ValueError(
            f"the policy returned actions of shape {found.shape}; the {shape[0]} observations that"
            f" it got need {shape}"
        )
    if not np.isfinite(found).all():
        bad = int((~np.isfinite(found)).reshape(len(found), -1).any(axis=1).sum())
        raise ValueError(
            f"the policy returned NaN or infinite actions for {bad} of {shape[0]} observations;"
            f" look at its weights and its normalisation"
        )
    return found
