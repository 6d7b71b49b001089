r"""How people walk: the social force model.

    dv/dt = (v0 e - v) / tau + sum_j f_j + sum_B f_B + fluctuations

with a wish to walk at v0 towards the goal e, and the repulsion of others and of walls:
f_j = -w grad V(b), V = V0 exp(-b / sigma), 2 b = sqrt((|r| + |r - v_j Dt e_j|)^2 - (v_j Dt)^2),
and f_B = -grad U, U = U0 exp(-|r| / R); w < 1 for what lies behind one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TINY = 1e-6
SOFT = 4.0  # 1 / second^2, of the force that keeps the members of a group apart
ROOM = 0.8  # metres between them


@dataclass(frozen=True)
class SocialForce:
    """The parameters of the model, by default those of the paper.

    Args:
        relaxation: tau, seconds.
        strength: V0, metres^2 / second^2, of the repulsion by others.
        width: sigma, metres.
        wall_strength: U0, metres^2 / second^2.
        wall_width: R, metres.
        ahead: Dt, seconds, how far ahead others' steps count.
        sight: radians to each side of the goal that are seen in full.
        behind: w of what is not seen; 1 treats all alike.
        fastest: of the desired speed, that nobody exceeds.
        cohesion: metres / second^2, of the pull towards a group's middle; 0 ignores groups.
        body: metres between two middles, where people touch.
        stiffness: 1 / second^2, of a touch.

    Source:
        Helbing & Molnár 1995, Social force model for pedestrian dynamics, equations 2 to 10; the
        groups from Moussaïd, Perozo, Garnier, Helbing & Theraulaz 2010, The walking behaviour of
        pedestrian social groups, equation 4.
    Differs:
        Members of a group do not push each other by V. Whoever touches is pushed apart by an
        elastic force, as in Helbing, Farkas & Vicsek 2000, Simulating dynamical features of escape
        panic, equation 2: within ``body``, and within 0.8 m more softly in a group.
    """

    relaxation: float = 0.5
    strength: float = 2.1
    width: float = 0.3
    wall_strength: float = 10.0
    wall_width: float = 0.2
    ahead: float = 2.0
    sight: float = np.deg2rad(100)
    behind: float = 0.5
    fastest: float = 1.3
    cohesion: float = 1.5
    body: float = 0.5
    stiffness: float = 80.0

    def forces(
        self, positions: Array, velocities: Array, goals: Array, walls: Array, groups: NDArray
    ) -> Array:
        """Return all but the wish to walk, (A, 2), metres / second^2.

        Args:
            positions: (A, 2).
            velocities: (A, 2).
            goals: e (A, 2), unit directions.
            walls: (W, 2, 2), segments.
            groups: (A,), equal for those who walk together.
        """
        together = groups[:, None] == groups
        others = self._others(positions, velocities, goals, together)
        near = self._touch(positions, together) + self._walls(positions, walls)
        return others + near + self._group(positions, together)

    def step(
        self, velocities: Array, goals: Array, desired: Array, forces: Array, tick: float
    ) -> Array:
        """Return velocities (A, 2) a tick later; exact for forces that are constant meanwhile.

        Args:
            velocities: (A, 2).
            goals: (A, 2), unit directions, or 0 for who wishes to stand.
            desired: v0 (A,).
            forces: (A, 2).
            tick: seconds.
        """
        target = desired[:, None] * goals + self.relaxation * forces
        later = target + (velocities - target) * np.exp(-tick / self.relaxation)
        speed = np.linalg.norm(later, axis=-1)
        most = self.fastest * desired
        return later * np.minimum(1.0, most / np.maximum(speed, TINY))[:, None]

    def _others(
        self, positions: Array, velocities: Array, goals: Array, together: NDArray
    ) -> Array:
        apart = positions[:, None] - positions
        shifted = apart - self.ahead * velocities
        stride = self.ahead * np.linalg.norm(velocities, axis=-1)
        far, far_shifted = _lengths(apart), _lengths(shifted)
        both = far + far_shifted
        b = np.sqrt(np.maximum(both**2 - stride**2, TINY)) / 2
        slope = (both / (4 * b))[..., None] * (
            apart / far[..., None] + shifted / far_shifted[..., None]
        )
        push = (self.strength / self.width * np.exp(-b / self.width))[..., None] * slope
        seen = -np.einsum("ad,abd->ab", goals, push) >= np.cos(self.sight) * _lengths(push)
        weight = np.where(seen, 1.0, self.behind) * ~together
        return (weight[..., None] * push).sum(1)

    def _walls(self, positions: Array, walls: Array) -> Array:
        if not len(walls):
            return np.zeros_like(positions)
        first, along = walls[:, 0], walls[:, 1] - walls[:, 0]
        share = np.einsum("awd,wd->aw", positions[:, None] - first, along)
        share = np.clip(share / (along**2).sum(-1), 0, 1)
        apart = positions[:, None] - first - share[..., None] * along
        far = _lengths(apart)
        nearest = far.argmin(-1)
        rows = np.arange(len(positions))
        apart, far = apart[rows, nearest], far[rows, nearest]
        size = self.wall_strength / self.wall_width * np.exp(-far / self.wall_width)
        return size[:, None] * apart / far[:, None]

    def _group(self, positions: Array, together: NDArray) -> Array:
        count = together.sum(-1, keepdims=True)
        inward = together @ positions / count - positions
        far = _lengths(inward)
        outside = (far > (count[:, 0] - 1) / 2)[:, None]
        return self.cohesion * outside * inward / far[:, None]

    def _touch(self, positions: Array, together: NDArray) -> Array:
        apart = positions[:, None] - positions
        gaps = _lengths(apart)
        push = self.stiffness * np.maximum(self.body - gaps, 0)
        push += SOFT * together * np.maximum(ROOM - gaps, 0)
        return (push[..., None] * apart / gaps[..., None]).sum(1)


def _lengths(vectors: Array) -> Array:
    return np.sqrt((vectors**2).sum(-1)) + TINY
