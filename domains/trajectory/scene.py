"""One scene: who moved where, on which map, and the step that is called now.

Units are metres, seconds and radians (counter-clockwise from the x axis). Steps are ``dt`` apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.road import RoadMap

KINDS = ("vehicle", "pedestrian", "cyclist", "bus", "motorcycle", "static", "other")
# What a predictor takes a kind for that it was not trained on, first choice first.
STAND_INS = {
    "bus": ("vehicle",),
    "motorcycle": ("vehicle", "cyclist"),
    "cyclist": ("motorcycle", "vehicle"),
    "static": ("vehicle",),
    "other": ("pedestrian", "vehicle"),
}
MOST_STEPS = 100_000  # of a file: more are a mistake, and would fill the memory
STILL = 0.05  # metres a step below which a direction of motion is noise


@dataclass(frozen=True)
class Scene:
    """Tracks of A agents over T steps. Steps up to ``now`` are history, later ones the future.

    Args:
        name: of the scene.
        ids: A names, all different.
        kinds: A of :data:`KINDS`.
        positions: (A, T, 2); what lies at steps that are not valid is never read.
        headings: (A, T).
        valid: (A, T), False where an agent was not seen.
        now: index of the last observed step; T - 1 is a scene without a future.
        dt: seconds between steps.
        road: the map; None where there is none.
        scored: (A,), whose forecast counts; all who are seen now by default.

    Raises:
        ValueError: for parts that do not fit each other, duplicate ids, unknown kinds, or a NaN at
            a valid step.
    """

    name: str
    ids: tuple[str, ...]
    kinds: tuple[str, ...]
    positions: NDArray[np.float64]
    headings: NDArray[np.float64]
    valid: NDArray[np.bool_]
    now: int
    dt: float
    road: RoadMap | None = None
    scored: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        self._require_shapes()
        for id in self.ids:
            if self.ids.count(id) > 1:
                raise ValueError(f"{self.name}: two agents have the id {id!r}; rename one")
        for kind in self.kinds:
            if kind not in KINDS:
                raise ValueError(f"{self.name}: unknown kind {kind!r}; expected one of {KINDS}")
        known = np.isfinite(self.positions).all(-1) & np.isfinite(self.headings)
        for a, step in np.argwhere(self.valid & ~known)[:1]:
            raise ValueError(
                f"{self.name}: agent {self.ids[a]} has a position or heading that is no number at "
                f"step {step}; mend it, or mark the step as not valid"
            )

    def _require_shapes(self) -> None:
        if self.valid.ndim != 2 or self.valid.dtype != np.bool_:
            raise ValueError(
                f"{self.name}: valid needs shape (A, T) and booleans, got {self.valid.shape} of "
                f"{self.valid.dtype}"
            )
        agents, steps = self.valid.shape
        shapes = {
            "positions": (self.positions.shape, (agents, steps, 2)),
            "headings": (self.headings.shape, (agents, steps)),
            "ids": ((len(self.ids),), (agents,)),
            "kinds": ((len(self.kinds),), (agents,)),
        }
        if self.scored is not None:
            shapes["scored"] = (self.scored.shape, (agents,))
        for name, (got, expected) in shapes.items():
            if got != expected:
                raise ValueError(f"{self.name}: {name} needs shape {expected}, got {got}")
        if not 0 <= self.now < steps:
            raise ValueError(f"{self.name}: now is one of the {steps} steps, got {self.now}")
        if not 0 < self.dt < np.inf:
            raise ValueError(f"{self.name}: dt is a positive time in seconds, got {self.dt}")

    @property
    def agents(self) -> int:
        """Return A."""
        return len(self.ids)

    @property
    def horizon(self) -> int:
        """Return how many steps lie after now."""
        return self.valid.shape[1] - 1 - self.now

    @property
    def present(self) -> NDArray[np.bool_]:
        """Return who is seen now, (A,)."""
        return self.valid[:, self.now]

    def history(self) -> "Scene":
        """Return the scene without its future: all that a forecast may read."""
        stop = self.now + 1
        return replace(
            self,
            positions=self.positions[:, :stop],
            headings=self.headings[:, :stop],
            valid=self.valid[:, :stop],
        )

    def of(self, agents: Sequence[int] | NDArray[np.integer]) -> "Scene":
        """Return the scene of some agents alone, by index, in that order."""
        index = np.asarray(agents, dtype=int)
        return replace(
            self,
            ids=tuple(self.ids[a] for a in index),
            kinds=tuple(self.kinds[a] for a in index),
            positions=self.positions[index],
            headings=self.headings[index],
            valid=self.valid[index],
            scored=None if self.scored is None else self.scored[index],
        )

    def seen_as(self, known: Sequence[str]) -> "Scene":
        """Return the scene with kinds that are not known replaced by the nearest known ones."""
        kinds = tuple(
            kind
            if kind in known
            else next((k for k in STAND_INS.get(kind, ()) if k in known), known[0])
            for kind in self.kinds
        )
        return replace(self, kinds=kinds)

    def agent(self, id: str) -> int:
        """Return the index of an agent by its id.

        Raises:
            ValueError: for an id that is not there.
        """
        if id not in self.ids:
            shown = ", ".join(self.ids[:12])
            raise ValueError(f"{self.name} has no agent {id!r}; it has {self.agents}: {shown}")
        return self.ids.index(id)

    def velocities(self) -> NDArray[np.float64]:
        """Return (A, 2), metres a second now, by the last two valid steps; 0 for a lone point."""
        found = np.zeros((self.agents, 2))
        for a in range(self.agents):
            steps = np.flatnonzero(self.valid[a, : self.now + 1])[-2:]
            if len(steps) == 2:
                first, last = self.positions[a, steps]
                found[a] = (last - first) / ((steps[1] - steps[0]) * self.dt)
        return found


def whole_steps(scene: Scene, dt: float) -> int:
    """Return how many steps of the scene make dt, to 2 %; 0 where no number does."""
    stride = round(dt / scene.dt)
    return stride if abs(stride * scene.dt - dt) <= 0.02 * dt else 0


def directions(
    positions: NDArray[np.float64],
    valid: NDArray[np.bool_],
    now: int,
    still: float = STILL,
) -> NDArray[np.float64]:
    """Return headings (A, T) from motion: each step's from the last move of at least ``still``.

    Steps before the first move have its direction if it lies in the history (up to ``now``), else
    0: no heading of the history depends on the future.
    """
    agents, steps = valid.shape
    headings = np.zeros((agents, steps))
    for a in range(agents):
        seen = np.flatnonzero(valid[a])
        moves = np.diff(positions[a, seen], axis=0)
        moved = np.linalg.norm(moves, axis=-1) >= still
        if not moved.any():
            continue
        angles = np.arctan2(moves[:, 1], moves[:, 0])
        last = np.maximum.accumulate(np.where(moved, np.arange(len(moves)), -1))
        first = np.flatnonzero(moved)[0]
        early = angles[first] if seen[first + 1] <= now else 0.0
        headings[a, seen] = np.append(early, np.where(last < 0, early, angles[last]))
    return headings
