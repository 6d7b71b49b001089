"""Environments: made from ids and from specifications, and refused in one sentence."""

import subprocess
import sys

import pytest

from domains.rl.environments import check_continuous, make

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


def test_only_bounded_vectors_are_actions() -> None:
    check_continuous(gymnasium.spaces.Box(-1.0, 1.0, (3,)))
    for space in (
        gymnasium.spaces.Discrete(3),
        gymnasium.spaces.Box(-1.0, 1.0, (2, 2)),
        gymnasium.spaces.Box(-float("inf"), 1.0, (3,)),
        gymnasium.spaces.Dict({"a": gymnasium.spaces.Box(-1.0, 1.0, (3,))}),
    ):
        with pytest.raises(ValueError, match="actions must be"):
            check_continuous(space)
