"""Constraints as text, one line for each agent or group, and the energy that they become.

    agent 3: goal (12.0, 4.5) at 3.2 s; speed <= 2
    agents 1 and 4: apart 3 * 2.5
    vehicles: on road from 1 s          # a comment

A line names agents, then demands, with ``;`` between them and an optional weight after ``*``.
Units are metres, seconds and m/s; points are in the coordinates of the scene. A new demand is a new
class with a ``form``, and a row in :data:`DEMANDS`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from domains.trajectory.costs import demands, demands_of_place
from domains.trajectory.costs.cost import Cost
from domains.trajectory.costs.demands import Demand
from domains.trajectory.costs.forms import fault, read
from domains.trajectory.costs.setting import Setting
from domains.trajectory.costs.words import Cursor, Misfit, name, number, quoted, words, written
from guided.energy import WeightedSum

GROUPS = {
    "all": None,
    "vehicles": ("vehicle", "bus", "motorcycle"),
    "pedestrians": ("pedestrian",),
    "cyclists": ("cyclist",),
}

DEMANDS: tuple[type[Demand], ...] = (
    demands.Goal,
    demands.GoalAhead,
    demands.Within,
    demands.Inside,
    demands.Via,
    demands.Speed,
    demands.Acceleration,
    demands.Jerk,
    demands.Brake,
    demands_of_place.Apart,
    demands_of_place.Risk,
    demands_of_place.Near,
    demands_of_place.Away,
    demands_of_place.Behind,
    demands_of_place.OnRoad,
    demands_of_place.Stay,
    demands_of_place.InLane,
    demands_of_place.FollowLanes,
    demands_of_place.FollowLine,
    demands_of_place.StopBefore,
)

HEAVIEST = 1e6  # of a weight


@dataclass(frozen=True)
class Constraint:
    """One demand of one or more agents; ``str`` writes it as it is parsed.

    Args:
        who: ids of agents, or a key of :data:`GROUPS`.
        demand: what they have to do.
        weight: its factor in the energy; 1 is neutral.
    """

    who: tuple[str, ...] | str
    demand: Demand
    weight: float = 1.0

    def __str__(self) -> str:
        weight = "" if self.weight == 1 else f" * {written(self.weight)}"
        return f"{self.who_text}: {self.demand}{weight}"

    @property
    def who_text(self) -> str:
        """Return the agents as they are written."""
        if isinstance(self.who, str):
            return self.who
        names = " and ".join(map(quoted, self.who))
        return f"agent{'s' if len(self.who) > 1 else ''} {names}"

    def agents(self, setting: Setting) -> tuple[int, ...]:
        """Return the places in a setting of the agents.

        Raises:
            ValueError: for an agent that is not there, or a group without anybody.
        """
        if not isinstance(self.who, str):
            return tuple(setting.place(id) for id in self.who)
        kinds = GROUPS[self.who]
        found = tuple(i for i, k in enumerate(setting.kinds) if kinds is None or k in kinds)
        if not found:
            raise ValueError(f"the scene has no {self.who}; drop the constraint")
        return found


def parse(text: str) -> list[Constraint]:
    """Return the constraints of some lines; blank ones and comments are left out.

    Raises:
        ValueError: for a line that fits no form: the line, the word that does not fit, and what
            would.
    """
    found = []
    for number_, line in enumerate(text.splitlines(), start=1):
        cursor = Cursor(words(line))
        try:
            found += _line(cursor) if cursor.words else []
        except Misfit as error:
            raise fault(line, cursor.words, error, number_) from None
    return found


def _line(cursor: Cursor) -> list[Constraint]:
    who = _who(cursor)
    cursor.need(":")
    found: list[Constraint] = []
    while not found or cursor.skip(";"):
        demand = read(cursor, DEMANDS)
        weight = _weight(cursor) if cursor.skip("*") else 1.0
        found.append(Constraint(who, demand, weight))
    if cursor.next:
        raise Misfit(cursor.index, '";" or the end')
    return found


def _weight(cursor: Cursor) -> float:
    found = number(cursor, "a weight")
    if not 0 <= found <= HEAVIEST:
        raise Misfit(cursor.index - 1, f"a weight of 0 to {HEAVIEST:g}")
    return found


def _who(cursor: Cursor) -> tuple[str, ...] | str:
    for group in GROUPS:
        if cursor.skip(group):
            return group
    if not cursor.skip("agent", "agents"):
        raise Misfit(cursor.index, f'"agent", "agents", {", ".join(GROUPS)}, as in: agent id: ...')
    found = [name(cursor, "the id of an agent")]
    while cursor.skip("and", ","):
        found.append(name(cursor, "the id of an agent"))
        if found[-1] in found[:-1]:
            raise Misfit(cursor.index - 1, "the id of another agent")
    return tuple(found)


def compile(constraints: Sequence[Constraint], setting: Setting) -> WeightedSum:
    """Return the energy of futures (R, A, F, 2) that constraints become in a setting.

    Its terms have the text of the constraints as names. Energies are summed over agents, time and
    constraints; a demand of a single time counts in square metres, one that lasts in its squared
    unit times seconds.

    Raises:
        ValueError: for no constraint, or one that cannot be in the setting: an agent who is not
            there, a time beyond the horizon, a lane that the map does not have.
    """
    if not constraints:
        raise ValueError("there is no constraint to compile; give one or more")
    terms: dict[str, Cost] = {}
    weights: dict[str, float] = {}
    for constraint in constraints:
        said = str(replace(constraint, weight=1.0))
        again = sum(term.split(" (again ")[0] == said for term in terms)
        term = f"{said} (again {again})" if again else said
        try:
            terms[term] = constraint.demand.cost(setting, constraint.agents(setting))
        except ValueError as error:
            raise ValueError(f"{str(constraint)!r}: {error}") from None
        weights[term] = constraint.weight
    return WeightedSum(terms, weights)
