"""The README's Python runs as written."""

import contextlib
import io
import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)


def run(code: str) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "README.md", "exec"), {})
    return said.getvalue()


def test_guiding_a_model_in_ten_lines() -> None:
    """It prints what the comment beside it says: near (2, 1)."""
    printed = run(BLOCKS[0])
    x, y = (float(number) for number in re.findall(r"-?\d+\.\d+", printed))
    assert abs(x - 2) < 0.3
    assert abs(y - 1) < 0.3


def test_a_contrast_moves_on_and_narrows() -> None:
    """Scale 1 is the class, at (1, 0) with variance 0.5; scale 3 is as the comment says."""
    printed = run(next(block for block in BLOCKS if "CFG(denoiser, w, null)" in block))
    plain, guided = (
        [float(number) for number in re.findall(r"-?\d+\.\d+", line)]
        for line in printed.strip().splitlines()
    )
    assert abs(plain[1] - 1) < 0.1 and abs(plain[3] - 0.5) < 0.1
    assert guided[1] > plain[1] + 0.3 and guided[3] < 0.6 * plain[3]


def test_inverting_a_simulator() -> None:
    """It prints what the comment says: near (1.79, 0.60)."""
    printed = run(next(block for block in BLOCKS if "Simulator" in block))
    x, y, log_z = (float(number) for number in re.findall(r"-?\d+\.\d+", printed))
    assert abs(x - 1.79) < 0.1
    assert abs(y - 0.60) < 0.1
    assert log_z < 0


def test_a_policy_acts() -> None:
    """It drives to the right, as the wall on the way to the goal asks for."""
    printed = run(next(block for block in BLOCKS if "DiffusionPolicy" in block))
    guided, behaviour = (
        [float(number) for number in re.findall(r"-?\d+\.\d*", line)]
        for line in printed.splitlines()
    )
    assert guided[0] > 0.5
    assert len(guided) == len(behaviour) == 2
    assert guided != behaviour


def test_a_safe_policy_acts() -> None:
    """Before a hazard that can be avoided it brakes, and so does the shield."""
    printed = run(next(block for block in BLOCKS if "feasible_value" in block))
    value, accelerate, _, guarded, *_ = (
        float(number) for number in re.findall(r"-?\d+\.\d*", printed)
    )
    assert -0.4 < value < -0.3
    assert accelerate < -0.3
    assert guarded < -0.3


@pytest.mark.slow
def test_music_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(next(block for block in BLOCKS if "Composer" in block))
    assert (tmp_path / "song.mid").stat().st_size > 0


def test_a_scene_is_forecast_and_told() -> None:
    """Six worlds of every agent, and a wish that is nearly met."""
    printed = run(next(block for block in BLOCKS if "open_scenes" in block))
    first, *rows = printed.strip().split("\n")
    assert first.startswith("(6, 11, 12, 2)")
    assert "goal" in rows[-2] and "speed" in rows[-1]
    off = [float(row.split()[-2]) for row in rows[-2:]]
    assert off[0] < 2.0 and off[1] < 2.0
