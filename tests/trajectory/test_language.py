"""The language of constraints, and plans in YAML: what is read, written, and refused."""

from dataclasses import fields

import numpy as np
import pytest

from domains.trajectory.costs import compile, parse, plan_of, read_plan
from domains.trajectory.costs import demands as d
from domains.trajectory.costs import demands_of_place as at
from domains.trajectory.costs.forms import Field, Option, items
from domains.trajectory.costs.language import DEMANDS, GROUPS, Constraint
from tests.trajectory.small_scene import setting, steady

READ = [
    ("agent 3: goal (12.0, 4.5) at 3.2 s", ("3",), d.Goal((12, 4.5), 3.2)),
    ("agent 3: goal (12, -4.5)", ("3",), d.Goal((12, -4.5))),
    ("agent 3: goal 10 ahead, 2 left at 3 s", ("3",), d.GoalAhead(10, 2, 3)),
    ("agent 3: goal 10 m behind, 2 m right", ("3",), d.GoalAhead(-10, -2)),
    ("agent 3: goal .5 ahead", ("3",), d.GoalAhead(0.5)),
    ("agent ego: within 2 of (5, 5) at 4 s", ("ego",), d.Within(2, (5, 5), 4)),
    ("all: inside (0,0) (1,0) (0,1) at 2s", "all", d.Inside(((0, 0), (1, 0), (0, 1)), 2)),
    ("agent 1: via (1e1, 2)", ("1",), d.Via((10, 2))),
    ("agent 3: speed <= 2", ("3",), d.Speed("<=", 2)),
    ("agent 3: speed<=2m/s", ("3",), d.Speed("<=", 2)),
    ("agent 3: SPEED >= 2 m/s to 3", ("3",), d.Speed(">=", 2, stop=3)),
    ("agent 5: speed = 4 from 1 s to 3 s", ("5",), d.Speed("=", 4, start=1, stop=3)),
    ("agent 5: acceleration <= 2", ("5",), d.Acceleration(2)),
    ("all: jerk <= 4 m/s^3", "all", d.Jerk(4)),
    ("agent 1: brake by 3", ("1",), d.Brake(3)),
    ("all: apart 2", "all", at.Apart(2)),
    ("agents 1 and 4: apart 3", ("1", "4"), at.Apart(3)),
    ('agents 1, "big \\"bus\\"": apart 3', ("1", 'big "bus"'), at.Apart(3)),
    ("agent 2: risk <= 0.05 within 2 m", ("2",), at.Risk(0.05, 2)),
    ("agent 2: near agent 4", ("2",), at.Near("4")),
    ("agent 2: near (3, 4) from 1 s", ("2",), at.Near((3, 4), start=1)),
    ("agent 2: away from (3, 4) by 5", ("2",), at.Away((3, 4), 5)),
    ("agent 2: behind agent 4 by 8", ("2",), at.Behind("4", 8)),
    ("vehicles: on road  # all of it", "vehicles", at.OnRoad()),
    ("agent 1: stay inside (0,0) (1,0) (0,1)", ("1",), at.Stay(((0, 0), (1, 0), (0, 1)))),
    ("agent 1: in lane 7", ("1",), at.InLane("7")),
    ("agent 2: follow lane 12 -> 13", ("2",), at.FollowLanes(("12", "13"))),
    ("agent 2: follow lane 12->13-a", ("2",), at.FollowLanes(("12", "13-a"))),
    ("agent 2: follow (0,0) (1,0)", ("2",), at.FollowLine(((0, 0), (1, 0)))),
    ("agent 3: stop before (10, 2) (10, 6)", ("3",), at.StopBefore(((10, 2), (10, 6)))),
    ("agent 3: stop before (10, 2) (10, 6) by 1", ("3",), at.StopBefore(((10, 2), (10, 6)), 1)),
]


@pytest.mark.parametrize(("line", "who", "demand"), READ, ids=[line for line, _, _ in READ])
def test_lines_are_read(line, who, demand):
    assert parse(line) == [Constraint(who, demand)]


def test_demands_share_a_line_and_have_weights_of_their_own():
    text = (
        "\n# a plan\nagent 3: goal (12.0, 4.5) at 3.2 s * 2.5; speed <= 2\n\nagent 1: brake by 3*.5"
    )
    assert parse(text) == [
        Constraint(("3",), d.Goal((12, 4.5), 3.2), 2.5),
        Constraint(("3",), d.Speed("<=", 2)),
        Constraint(("1",), d.Brake(3), 0.5),
    ]


NAMES = [
    "3",
    "ego",
    "and",
    "a b",
    'x"y',
    "1.5",
    "é;(",
    "a\\b",
    "12->13",
    "#7",
    "",
    "all",
    "line\n2",
]


def drawn_value(kind, rng):
    def number():
        return float(rng.normal() * 10.0 ** rng.integers(-8, 9)) if rng.random() < 0.7 else 3.0

    def name():
        return str(rng.choice(NAMES))

    return {
        "number": number, "time": number, "length": number, "speed": number, "acceleration": number,
        "jerk": number, "ahead": number, "left": number, "name": name, "agent": name,
        "point": lambda: (number(), number()),
        "ends": lambda: tuple((number(), number()) for _ in range(2)),
        "points": lambda: tuple((number(), number()) for _ in range(rng.integers(2, 5))),
        "target": lambda: name() if rng.random() < 0.5 else (number(), number()),
        "lanes": lambda: tuple(name() for _ in range(rng.integers(1, 4))),
        "sign": lambda: str(rng.choice(["<=", ">=", "="])),
    }[kind]()  # fmt: skip


def drawn_constraint(form, rng):
    values = {}
    for item in items(form.form):
        if isinstance(item, Option) and rng.random() < 0.5:
            continue
        parts = item.items if isinstance(item, Option) else [item]
        values |= {p.name: drawn_value(p.kind, rng) for p in parts if isinstance(p, Field)}
    count = int(rng.integers(1, 4))
    who = tuple(map(str, rng.choice(NAMES, count, replace=False)))
    group = str(rng.choice(list(GROUPS)))
    weight = float(rng.choice([1, 2.5, 1e-7, 0]))
    return Constraint(who if rng.random() < 0.7 else group, form(**values), weight)


@pytest.mark.parametrize("form", DEMANDS)
def test_what_is_written_is_read_as_the_same(form):
    rng = np.random.default_rng(7)
    for _ in range(200):
        constraint = drawn_constraint(form, rng)
        assert parse(str(constraint)) == [constraint]


@pytest.mark.parametrize("form", DEMANDS)
def test_a_form_names_the_fields_of_its_class(form):
    parts = [p for i in items(form.form) for p in (i.items if isinstance(i, Option) else [i])]
    named = {part.name for part in parts if isinstance(part, Field)}
    assert named == {field.name for field in fields(form)}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("agnet 3: speed <= 2", "got 'agnet' at character 1, expected \"agent\", \"agents\", all"),
        ("agent 3 speed <= 2", "got 'speed' at character 9, expected \":\""),
        ("agent : speed <= 2", "got ':' at character 7, expected the id of an agent"),
        ("agents 1 and 1: apart 2", "got '1' at character 14, expected the id of another agent"),
        ("agent 3: gaol (1, 2)", "got 'gaol' at character 10, expected \"goal\", as in: goal"),
        ("agent 3: sped <= 2", "expected \"speed\", as in: speed <=|>=|= v [from t s] [to t s]"),
        ("agent 3: xyz", "got 'xyz' at character 10, expected one of goal, within, inside, via,"),
        ("agent 3:", "got the end of the line, expected one of goal, within"),
        ("agent 3: goal (1, 2) at soon", "got 'soon' at character 25, expected a number of sec"),
        ("agent 3: goal (1, 2) at 3 km", "got 'km' at character 27, expected \";\" or the end"),
        ("agent 3: goal (1, nan)", "got 'nan' at character 19, expected a number, as in: goal (x"),
        ("agent 3: goal (1 2)", "got '2' at character 18, expected \",\""),
        ("agent 3: goal 3 up", "got 'up' at character 17, expected \"ahead\" or \"behind\""),
        ("agent 3: speed 3", "expected \"<=\" or \">=\" or \"=\", as in: speed <=|>=|= v"),
        ("agent 3: speed <= 2 speed >= 1", "got 'speed' at character 21, expected \";\" or the"),
        ("agent 3: stop befor (1,2) (3,4)", "got 'befor' at character 15, expected \"before\""),
        ("agent 3: near 4", "expected a point (x, y) or \"agent\", as in: near (x, y)|agent id"),
        ("agent 3: follow 4", "expected \"lane\" or a point (x, y), as in: follow lane id -> id"),
        ("agent 3: speed <= 2 * heavy", "got 'heavy' at character 23, expected a weight"),
        ("agent 3: speed <= 2 * -1", "got '-1' at character 23, expected a weight of 0 to 1e+06"),
        ("agent 3: speed <= 2 * 1 1", "got '1' at character 25, expected \";\" or the end"),
        ("agent 3: speed <= 2;", "got the end of the line, expected one of goal"),
        ('agent "\\q": brake by 1', "expected the id of an agent in quotes as JSON has them"),
        ('agent "q: brake by 1', "at character 7, expected the id of an agent"),
    ],
)  # fmt: skip
def test_errors_quote_the_line_and_point_at_the_word(line, said):
    with pytest.raises(ValueError) as error:
        parse("agent 1: brake by 1\n" + line)
    assert f"line 2, {line!r}: " in str(error.value)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_groups_are_kinds_of_agents():
    agents = {group: parse(f"{group}: on road")[0].agents for group in GROUPS}
    assert agents["all"](setting()) == (0, 1, 2)
    assert agents["vehicles"](setting()) == (0, 1)
    assert agents["pedestrians"](setting()) == (2,)
    with pytest.raises(ValueError, match="the scene has no cyclists; drop the constraint"):
        agents["cyclists"](setting())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("agent 9: brake by 1", "'agent 9: brake by 1': no agent '9' is predicted here"),
        ("agent 1: near agent 9", "no agent '9' is predicted here; name one of: 1, 2, ego"),
        ("agent 1: goal (1, 2) at 5 s", "5 s lies outside the horizon, which ends 2 s after now"),
        ("agent 1: in lane 4", "the map has no lane '4'"),
        ("agent 1: speed <= -2", "the speed is a number of 0 or more, got -2"),
        ("cyclists: on road", "'cyclists: on road': the scene has no cyclists"),
    ],
)
def test_what_cannot_be_in_a_setting_is_refused_with_its_text(line, said):
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        compile(parse(line), setting())


def test_no_constraint_is_no_energy():
    with pytest.raises(ValueError, match="there is no constraint to compile"):
        compile([], setting())


PLAN = """
edits:
  - agent 1: speed x 0.5
  - remove agent 2
constraints:
  - agent 3: goal (12.0, 4.5) at 3.2 s; speed <= 2
  - "all: apart 2 * 3"
  - {agent: 3, goal: [12.0, 4.5], at: 3.2, weight: 2}
  - {agents: [1, 4], apart: 3}
  - {agent: 5, speed: 4, from: 1, to: 3}
  - {agent: 5, speed: "<= 4"}
  - {agent: 5, acceleration: 4}
  - {all: true, on road: true}
  - {agent: 2, follow lane: [12, 13]}
  - {agent: 2, near: agent 4}
  - {agent: 2, stop before: [[10, 2], [10, 6]]}
  - {agent: big bus, within: 2, of: [5, 5], at: 4}
  - {agent: 2, away from: [3, 4], by: 5}
"""

LINES = """
agent 3: goal (12, 4.5) at 3.2 s; speed <= 2
all: apart 2 * 3
agent 3: goal (12, 4.5) at 3.2 s * 2
agents 1 and 4: apart 3
agent 5: speed = 4 from 1 s to 3 s
agent 5: speed <= 4
agent 5: acceleration <= 4
all: on road
agent 2: follow lane 12 -> 13
agent 2: near agent 4
agent 2: stop before (10, 2) (10, 6)
agent "big bus": within 2 of (5, 5) at 4 s
agent 2: away from (3, 4) by 5
"""


def test_a_plan_is_read_from_yaml(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    plan = read_plan(path)
    assert list(plan.constraints) == parse(LINES)
    assert [str(edit) for edit in plan.edits] == ["agent 1: speed x 0.5", "remove agent 2"]
    assert plan_of("constraints:\n").constraints == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("constraints: [", "the plan is no YAML .*; mend it there"),
        ("- all: apart 2", "a plan has the parts constraints and edits, got list"),
        ("goals: []", r"a plan has the parts constraints and edits, got \['goals'\]"),
        ("constraints: all", "constraints are a list of lines, got str; begin with -"),
        ("constraints: [[3]]", r"an entry of a plan is a line or a mapping, got \['3'\]"),
        ("constraints: [3]", "line 1, '3': got '3'"),
        ("constraints: [{agent: {a: 1}, speed: 2}]", "an id in a plan is .* got {'a': '1'}; write"),
        ("constraints: [{agents: [1, [2]], apart: 2}]", r"an id in a plan is .* got \['2'\]"),
        ("constraints: [{agent: , speed: 2}]", "an id in a plan is a word or a number, got ''"),
        ("constraints: [{agent: 1, follow lane: [{a: 1}]}]", "an id in a plan .* got {'a': '1'}"),
        ("constraints: [{agent: 1, speed: 1_000}]", "got '1_000'"),
        ("constraints: ['all: apart 2', 'all: part 2']", "line 2, 'all: part 2': got 'part'"),
        ("edits: ['remove 4']", "line 1, 'remove 4': got '4' at character 8, expected \"agent\""),
        (
            "constraints: [{agent: 3, gaol: [1, 2]}]",
            "got 'gaol' at character 10, expected \"goal\"",
        ),
    ],
)
def test_a_plan_says_what_is_wrong(text, said, tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=said) as error:
        read_plan(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("id", ["007", "yes", "no", "1_000", "null", "1e3", "0x1F", "true", "1.50"])
def test_ids_of_a_plan_stay_as_they_are_written(id):
    plan = plan_of(f"constraints: [{{agent: {id}, follow lane: [{id}, b], weight: 2e0}}]")
    assert list(plan.constraints) == parse(f"agent {id}: follow lane {id} -> b * 2")


def test_a_plan_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read the plan .*; give a YAML file"):
        read_plan(tmp_path / "none.yaml")


def test_a_compiled_plan_has_the_energy_of_its_parts():
    energy = compile(parse("agent 1: goal (104, 203)\nall: apart 4.5 * 2"), setting())
    p = steady()
    parts = energy.report(p)
    assert list(parts) == ["agent 1: goal (104, 203)", "all: apart 4.5"]
    np.testing.assert_allclose(
        energy(p), parts["agent 1: goal (104, 203)"] + 2 * parts["all: apart 4.5"]
    )
    np.testing.assert_allclose(parts["agent 1: goal (104, 203)"], [9.0])
