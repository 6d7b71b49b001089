"""Who may import whom, and that an import does nothing but import.

guided <- domains <- baselines <- notebooks: never the other way, and no domain imports another.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path
    for name in ("guided", "domains", "baselines")
    for path in (REPOSITORY / name).rglob("*.py")
)

# What `import guided` and any of its modules must not bring: optional or slow to import.
EAGER = (
    "accelerate", "diffusers", "gymnasium", "h5py", "matplotlib", "minari", "mujoco", "music21",
    "pretty_midi", "stable_baselines3", "symusic", "torchvision",
)  # fmt: skip

IMPORT_EVERYTHING = """
import contextlib, importlib, io, os, pkgutil, random, sys
import joblib  # sets KMP_INIT_AT_FORK, which is its own affair
import numpy as np
import torch

def world():
    numbers = np.random.get_state()
    return (
        torch.get_rng_state().tolist(), (numbers[1].tolist(), numbers[2]), random.getstate(),
        torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(),
        os.getcwd(), dict(os.environ), sorted(os.listdir()),
    )

before, said = world(), io.StringIO()
with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
    import guided
    modules = [m.name for m in pkgutil.walk_packages(guided.__path__, "guided.")]
    for name in modules:
        if not name.endswith("__main__"):
            importlib.import_module(name)
assert len(modules) > 10, modules
assert said.getvalue() == "", "an import printed: " + said.getvalue()
assert world() == before, "an import changed global state"
eager = sorted({name.split(".")[0] for name in sys.modules} & set(sys.argv[1:]))
assert not eager, f"guided imports {eager} eagerly"
"""


def package(path: Path) -> tuple[str, ...]:
    return path.relative_to(REPOSITORY).with_suffix("").parts


def imported(path: Path, source: str) -> list[str]:
    """Every absolute dotted name that a file imports, at any depth of its code."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            here = package(path)[: -node.level] if node.level else ()
            base = ".".join([*here, *filter(None, [node.module])])
            names += [f"{base}.{alias.name}" for alias in node.names]
    return names


def forbidden(path: Path, source: str) -> list[str]:
    """The imports of a file that point the wrong way."""
    parts = package(path)
    wrong = []
    for name in imported(path, source):
        top, *rest = name.split(".")
        if top in {"tests", "notebooks"} or (top == "baselines" and parts[0] != "baselines"):
            wrong.append(name)
        elif top == "domains" and (parts[0] == "guided" or _other_domain(parts, rest)):
            wrong.append(name)
    return wrong


def _other_domain(parts: tuple[str, ...], rest: list[str]) -> bool:
    return parts[0] == "domains" and len(parts) > 2 and rest[:1] != [parts[1]]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_imports_point_inwards(path):
    assert forbidden(path, path.read_text()) == []


@pytest.mark.parametrize(
    ("file", "line", "allowed"),
    [
        ("guided/energy.py", "import domains.music", False),
        ("guided/energy.py", "def f():\n    from domains import music", False),
        ("guided/samplers/ddim.py", "from ...domains.music import roll", False),
        ("guided/samplers/ddim.py", "from ..sampler import Sampler", True),
        ("domains/music/roll.py", "from domains.driving import data", False),
        ("domains/music/roll.py", "from domains.music import data", True),
        ("domains/music/roll.py", "from . import data", True),
        ("domains/music/roll.py", "from ..driving import data", False),
        ("domains/music/roll.py", "import baselines", False),
        ("baselines/music.py", "from domains.music import roll", True),
        ("baselines/music.py", "from tests import conftest", False),
    ],
)
def test_the_rule_sees_a_wrong_import(file, line, allowed):
    assert (forbidden(REPOSITORY / file, line) == []) == allowed


def test_importing_guided_has_no_side_effects(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EVERYTHING, *EAGER],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
