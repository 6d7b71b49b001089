"""Environments: made from ids and from specifications, and refused in one sentence."""

import subprocess
import sys

import pytest

from domains.rl.environments import check_bounded, check_continuous, make

gymnasium = pytest.importorskip("gymnasium")

QUIET = """
from domains.rl.environments import make
make("Pendulum-v1")
try:
    make("PointMaze_UMaze-v3")
except ValueError as error:
    assert "gymnasium-robotics" in str(error)
"""

MISSING = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None  # as if it were not installed
from domains.rl.environments import make
try:
    make(sys.argv[2])
except ValueError as error:
    assert len(str(error).splitlines()) == 1
    print(error)
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )


def test_an_id_and_its_specification_make_the_same_environment() -> None:
    env = make("Pendulum-v1", max_episode_steps=7)
    again = make(env.spec.to_json())
    assert again.spec == env.spec and again.spec.max_episode_steps == 7


def test_registering_prints_nothing() -> None:
    done = python(QUIET)
    assert done.stdout == "" and done.stderr == ""


@pytest.mark.parametrize(
    ("missing", "which", "said"),
    [
        ("mujoco", "HalfCheetah-v5", "mujoco"),
        ("gymnasium_robotics", "PointMaze_UMaze-v3", "gymnasium-robotics"),
        ("Box2D", "LunarLander-v3", "box2d"),
        ("gymnasium", "Pendulum-v1", "gymnasium"),
    ],
)
def test_a_missing_package_is_named(missing: str, which: str, said: str) -> None:
    assert said in python(MISSING, missing, which).stdout.lower()


@pytest.mark.parametrize(
    ("which", "options"),
    [
        ("NoSuchThing-v0", {}),
        ("not an id", {}),
        ("", {}),
        ("{damaged", {}),
        ('{"id": "x"}', {}),
        ("nosuchmodule:Thing-v0", {}),
        ("Pendulum-v1", {"no_such_option": 1}),
    ],
)
def test_what_cannot_be_made_is_one_sentence(which: str, options: dict) -> None:
    with pytest.raises(ValueError) as caught:
        make(which, **options)
    assert len(str(caught.value).splitlines()) == 1


def test_a_simulator_that_does_not_start_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gymnasium_robotics")
    monkeypatch.setenv(
        "MUJOCO_GL", "nonsense"
    )  # read where MuJoCo is imported, so in a new process
    assert "MUJOCO_GL: nonsense" in python(MISSING, "none", "PointMaze_UMaze-v3").stdout


def test_an_environment_that_fails_to_start_is_one_sentence() -> None:
    def broken() -> gymnasium.Env:
        raise RuntimeError("the simulator\ndoes not start")

    gymnasium.register("Broken-v0", broken)
    with pytest.raises(
        ValueError, match=r"cannot make .* Broken-v0 \(the simulator does not start"
    ):
        make("Broken-v0")
    del gymnasium.registry["Broken-v0"]


BOX = gymnasium.spaces.Box(-1.0, 1.0, (3,))
HALF_OPEN = gymnasium.spaces.Box(-float("inf"), 1.0, (3,))


def test_only_vectors_are_actions() -> None:
    check_continuous(BOX)
    check_continuous(HALF_OPEN)
    for space in (
        gymnasium.spaces.Discrete(3),
        gymnasium.spaces.Box(-1.0, 1.0, (2, 2)),
        gymnasium.spaces.Dict({"a": BOX}),
    ):
        for check in (check_continuous, check_bounded):
            with pytest.raises(ValueError, match="actions must be vectors"):
                check(space)


def test_recorded_actions_have_bounds_and_the_advice_gives_them() -> None:
    check_bounded(BOX)
    with pytest.raises(ValueError, match=r"bounded on both sides.*TransformAction"):
        check_bounded(HALF_OPEN)
    env = gymnasium.make("Pendulum-v1")
    env.unwrapped.action_space = HALF_OPEN
    check_bounded(gymnasium.wrappers.TransformAction(env, lambda a: a, BOX).action_space)
