"""Changes of a scene, one a line, that keep the history of every agent consistent.

    agent 3: move by (1, 0)
    agent 3: at (12, 4)
    agent 3: speed x 0.5
    agent 3: speed = 4
    remove agent 4
    copy agent 3 as twin by (4, 0)
    add pedestrian anna at (2, 1) towards (2, 9) with speed 1.4

An edit rewrites what was seen. What happened after it belongs to another scene and is dropped.
"""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.costs.forms import Form, fault, read
from domains.trajectory.costs.words import Cursor, Misfit, Point, words
from domains.trajectory.scene import STILL, Scene


@dataclass(frozen=True)
class Edit(Form):
    """A change of a scene without a future; ``str`` writes it as it is parsed."""

    @abstractmethod
    def apply(self, scene: Scene) -> Scene:
        """Return the changed scene."""


@dataclass(frozen=True)
class Move(Edit):
    """Shift an agent and its past."""

    form = "agent {id:name} : move by {shift:point}"
    id: str
    shift: Point

    def apply(self, scene: Scene) -> Scene:
        """Return the changed scene."""
        a = scene.agent(self.id)
        return _with_track(scene, a, scene.positions[a] + np.array(self.shift))


@dataclass(frozen=True)
class Place(Edit):
    """Shift an agent and its past so that it is at a point now."""

    form = "agent {id:name} : at {point:point}"
    id: str
    point: Point

    def apply(self, scene: Scene) -> Scene:
        """Return the changed scene.

        Raises:
            ValueError: for an agent that is not seen now.
        """
        a = _present(scene, self.id)
        shift = np.array(self.point) - scene.positions[a, scene.now]
        return _with_track(scene, a, scene.positions[a] + shift)


@dataclass(frozen=True)
class ScaleSpeed(Edit):
    """Make an agent have come slower or faster to where it is now."""

    form = "agent {id:name} : speed x {factor:number}"
    id: str
    factor: float

    def apply(self, scene: Scene) -> Scene:
        """Return the changed scene.

        Raises:
            ValueError: for a negative factor, or an agent that is not seen now.
        """
        if self.factor < 0:
            raise ValueError(f"a speed is scaled by 0 or more, got {self.factor:g}")
        a = _present(scene, self.id)
        now = scene.positions[a, scene.now]
        return _with_track(scene, a, now + self.factor * (scene.positions[a] - now))


@dataclass(frozen=True)
class SetSpeed(Edit):
    """Give an agent a speed now; one that stands still gets a straight past along its heading."""

    form = "agent {id:name} : speed = {speed:speed}"
    id: str
    speed: float

    def apply(self, scene: Scene) -> Scene:
        """Return the changed scene.

        Raises:
            ValueError: for a negative speed, or an agent that is not seen now.
        """
        if self.speed < 0:
            raise ValueError(f"a speed is 0 or more, got {self.speed:g}")
        a = _present(scene, self.id)
        before = float(np.linalg.norm(scene.velocities()[a]))
        if before * scene.dt >= STILL:
            return ScaleSpeed(self.id, self.speed / before).apply(scene)
        now, heading = scene.positions[a, scene.now], scene.headings[a, scene.now]
        return _with_track(scene, a, _straight(scene, now, heading, self.speed))


@dataclass(frozen=True)
class Remove(Edit):
    """Take an agent out."""

    form = "remove agent {id:name}"
    id: str

    def apply(self, scene: Scene) -> Scene:
        """Return the changed scene.

        Raises:
            ValueError: for the only agent.
        """
        a = scene.agent(self.id)
        if scene.agents == 1:
            raise ValueError(f"agent {self.id} is the only one; a scene needs somebody, so keep it")
        return scene.of([b for b in range(scene.agents) if b != a])


@dataclass(frozen=True)
class Copy(Edit):
    """Add an agent that moves as another one, some way off; without a name, its id is id-copy."""

    form = "copy agent {id:name} [as {name:name}] by {shift:point}"
    id: str
    shift: Point
    name: str | None = None

    def apply(self, scene: Scene) -> Scene:
        """Return the changed scene.

        Raises:
            ValueError: for an id that is taken.
        """
        a = scene.agent(self.id)
        name = f"{self.id}-copy" if self.name is None else self.name
        way = scene.positions[a] + np.array(self.shift)
        return _joined(scene, name, scene.kinds[a], way, scene.headings[a], scene.valid[a])


@dataclass(frozen=True)
class Add(Edit):
    """Add an agent that came straight at one speed, at rest by default, and looks at a point."""

    form = (
        "add {kind:kind} {id:name} at {point:point} towards {aim:point} [with speed {speed:speed}]"
    )
    kind: str
    id: str
    point: Point
    aim: Point
    speed: float | None = None

    def apply(self, scene: Scene) -> Scene:
        """Return the changed scene.

        Raises:
            ValueError: for an id that is taken, a negative speed, or an aim that is the point.
        """
        now, aim = np.array(self.point), np.array(self.aim)
        speed = self.speed or 0.0
        if speed < 0 or self.aim == self.point:
            raise ValueError(
                f"an agent needs a speed of 0 or more and a point to look at other than its own, "
                f"got {speed:g} m/s at {self.point} towards {self.aim}"
            )
        heading = float(np.arctan2(*(aim - now)[::-1]))
        steps = scene.valid.shape[1]
        way = _straight(scene, now, heading, speed)
        seen = np.ones(steps, dtype=bool)
        return _joined(scene, self.id, self.kind, way, np.full(steps, heading), seen)


EDITS: tuple[type[Edit], ...] = (Move, Place, ScaleSpeed, SetSpeed, Remove, Copy, Add)


def parse_edit(line: str, number: int = 1) -> Edit:
    """Return the edit of a line.

    Args:
        line: one edit.
        number: of the line, for the error.

    Raises:
        ValueError: for a line that fits no form: the line, the word that does not fit, and what
            would.
    """
    cursor = Cursor(words(line))
    try:
        found = read(cursor, EDITS)
        if cursor.next:
            raise Misfit(cursor.index, "the end")
    except Misfit as error:
        raise fault(line, cursor.words, error, number) from None
    return found


def edited(scene: Scene, edits: Iterable[Edit]) -> Scene:
    """Return the scene after edits, one after the other, without its future if there is any edit.

    Raises:
        ValueError: for an edit that the scene does not allow, with its text.
    """
    for edit in edits:
        try:
            scene = edit.apply(scene.history())
        except ValueError as error:
            raise ValueError(f"{str(edit)!r}: {error}") from None
    return scene


def _present(scene: Scene, id: str) -> int:
    a = scene.agent(id)
    if not scene.present[a]:
        raise ValueError(f"agent {id} is not seen now; edit an agent that is")
    return a


def _with_track(scene: Scene, a: int, way: NDArray[np.float64]) -> Scene:
    positions = scene.positions.copy()
    positions[a] = way
    return replace(scene, positions=positions)


def _straight(
    scene: Scene, now: NDArray[np.float64], heading: float, speed: float
) -> NDArray[np.float64]:
    """Return a straight way (T, 2) at one speed, that ends at a point."""
    ago = (scene.now - np.arange(scene.valid.shape[1])) * scene.dt
    return now - speed * ago[:, None] * np.array([np.cos(heading), np.sin(heading)])


def _joined(
    scene: Scene,
    id: str,
    kind: str,
    way: NDArray[np.float64],
    headings: NDArray[np.float64],
    valid: NDArray[np.bool_],
) -> Scene:
    """Return the scene with one more agent, who is scored if anybody is chosen to be."""
    if id in scene.ids:
        raise ValueError(f"the scene has an agent {id!r} already; choose another name")
    return replace(
        scene,
        ids=(*scene.ids, id),
        kinds=(*scene.kinds, kind),
        positions=np.concatenate([scene.positions, way[None]]),
        headings=np.concatenate([scene.headings, headings[None]]),
        valid=np.concatenate([scene.valid, valid[None]]),
        scored=None if scene.scored is None else np.append(scene.scored, valid[-1]),
    )
