"""Films show the very episodes that were evaluated, and say clearly why they cannot."""

import gymnasium
import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled

from domains.rl.evaluate import Trials, evaluate
from domains.rl.video import film, require_filmable
from tests.rl.arenas import REACH, Noisy, Walk

iio = pytest.importorskip("imageio.v3")


class Painted(Walk):
    """A bar as long as the way gone."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(self, render_mode="rgb_array"):
        super().__init__()
        self.render_mode = render_mode

    def render(self):
        picture = np.zeros((16, 64, 3), np.uint8)
        picture[:, : int(64 * min(self.x, REACH) / REACH)] = 255
        return picture


def lengths(path):
    """How long the bar is in every picture, in pixels."""
    return (iio.imread(path, index=None)[..., 0] > 127).sum(axis=2).mean(axis=1)


def test_a_gif_shows_the_episode_that_was_evaluated(tmp_path):
    path = tmp_path / "film.gif"
    trials = Trials(4, seed=3, max_steps=40)
    wanted = evaluate(Painted, Noisy(), trials, keep=lambda obs: obs["x"])
    found = film(Painted, Noisy(), Trials(1, seed=3, first=2, max_steps=40), path)
    assert found.returns == wanted.returns[2]
    states = wanted.traces[2].states[:, 0]
    np.testing.assert_array_equal(lengths(path), np.floor(64 * np.minimum(states / REACH, 1)))
    assert iio.immeta(path)["duration"] == 50  # milliseconds, at 20 pictures a second
    assert [file.name for file in tmp_path.iterdir()] == ["film.gif"]


def test_every_other_step_and_the_end_are_shown_at_the_same_pace(tmp_path):
    path = tmp_path / "film.gif"
    found = film(Painted, Noisy(), Trials(2, max_steps=40), path, every=2)
    assert len(lengths(path)) == sum(1 + -(-length // 2) for length in found.lengths)
    assert iio.immeta(path)["duration"] == 100


def test_an_environment_that_was_not_made_to_render_says_so(tmp_path):
    trials = Trials(1, max_steps=5)
    with pytest.raises(ValueError, match=r"Painted .*render_mode=None; .*'rgb_array'"):
        film(lambda: Painted(None), Noisy(), trials, tmp_path / "film.gif")
    with pytest.raises(ValueError, match=r"Pendulum-v1 .*render_mode=None"):
        film(lambda: gymnasium.make("Pendulum-v1"), Noisy(), trials, tmp_path / "film.gif")
    assert not list(tmp_path.iterdir())


def test_an_environment_that_cannot_render_says_why(tmp_path):
    class Broken(Painted):
        def render(self):
            raise DependencyNotInstalled("pygame is not installed\nand more")

    with pytest.raises(ValueError, match=r"cannot render Broken \(pygame .* and more\);") as e:
        film(Broken, Noisy(), Trials(1, max_steps=5), tmp_path / "film.gif")
    assert "\n" not in str(e.value)
    assert "MUJOCO_GL=egl" in str(e.value)


def test_a_missing_graphics_library_says_so_when_the_environment_is_made(tmp_path):
    def make():
        raise AttributeError("'NoneType' object has no attribute 'glGetError'")

    with pytest.raises(ValueError, match=r"cannot render the environment .*glGetError.*MUJOCO_GL"):
        film(make, Noisy(), Trials(1), tmp_path / "film.gif")


def test_an_mp4_is_written_where_there_is_ffmpeg(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "film.mp4"
    found = film(Painted, Noisy(), Trials(1, max_steps=40), path)
    frames = iio.imread(path, plugin="FFMPEG")
    assert len(frames) == found.lengths[0] + 1


def test_files_that_cannot_be_written_are_refused_before_playing(tmp_path, monkeypatch):
    def play(path):
        film(lambda: pytest.fail("played"), Noisy(), Trials(1), path)

    with pytest.raises(ValueError, match=r"ends in \.gif or \.mp4"):
        play(tmp_path / "film.avi")
    with pytest.raises(ValueError, match="no folder"):
        play(tmp_path / "nowhere" / "film.gif")
    monkeypatch.setattr("domains.rl.video.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="without imageio; pip install"):
        play(tmp_path / "film.gif")
    monkeypatch.setattr("domains.rl.video.find_spec", lambda name: name == "imageio" or None)
    with pytest.raises(ValueError, match="pip install imageio-ffmpeg"):
        play(tmp_path / "film.mp4")
    with pytest.raises(ValueError, match="every = 0"):
        film(Painted, Noisy(), Trials(1), tmp_path / "film.gif", every=0)


def test_what_cannot_be_filmed_is_refused_before_anything_is_played(tmp_path):
    require_filmable(Painted, tmp_path / "film.gif")
    with pytest.raises(ValueError, match=r"render_mode=None"):
        require_filmable(lambda: Painted(None), tmp_path / "film.gif")
    with pytest.raises(ValueError, match=r"ends in \.gif or \.mp4"):
        require_filmable(Painted, tmp_path / "film.png")
    assert not list(tmp_path.iterdir())
