"""Films: who is where at which frame, and files of the right length."""

import stat
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from domains.trajectory import films, playback
from domains.trajectory.animate import Stage, animate, animate_comparison, frame_times
from tests.trajectory.pictured import DT, FUTURE, HISTORY, forecast, plaza, street

PACE = 0.2
SPAN = (HISTORY - 1 + FUTURE) * DT
GOALS = (("turn in", np.array([30.0, 30.0]), 1),)


def stage(found, pace=PACE, world=None):
    return Stage({found.scene.name: found}, world, pace)


def frame_at(shown, time):
    return int(np.argmin(np.abs(shown.times - time)))


def place(shown, player, a):
    body = player.bodies[a]
    pixels = body.shell.get_transform().transform([[0.0, 0.0]])
    return body.axes.transData.inverted().transform(pixels)[0]


def test_a_gif_has_all_frames_at_real_speed(tmp_path):
    path = tmp_path / "new" / "film.gif"
    animate(forecast(street(), goals=GOALS), path, fps=5)
    assert [p.name for p in path.parent.iterdir()] == ["film.gif"]
    with Image.open(path) as film:
        assert film.n_frames == round(SPAN / PACE) + 1
        assert film.size[0] == 900
        assert film.info["loop"] == 0
        durations = []
        for index in range(film.n_frames):
            film.seek(index)
            durations.append(film.info["duration"])
    assert durations == [200] * (len(durations) - 1) + [200 + 1500]
    assert sum(durations[:-1]) == pytest.approx(1000 * SPAN)


def test_frames_of_the_file_are_those_of_the_stage(tmp_path):
    path, found = tmp_path / "film.gif", forecast(plaza())
    animate(found, path, fps=2)
    shown = stage(found, 0.5)
    with Image.open(path) as film:
        for index in (0, 7, film.n_frames - 1):
            film.seek(index)
            written = np.asarray(film.convert("RGB")).astype(int)
            gap = np.abs(written - shown.frame(index)).max(-1)
            assert np.mean(gap > 0) < 0.05  # the most frequent colours are exact
            assert np.quantile(gap, 0.999) < 24  # and the others near


def test_the_same_forecast_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        animate(forecast(plaza()), tmp_path / f"{name}.gif", fps=1)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


def test_a_comparison_is_wider_and_shows_both_in_one_view(tmp_path):
    path = tmp_path / "film.gif"
    two = {"unguided": forecast(street(), spread=0.8), "guided": forecast(street(), goals=GOALS)}
    animate_comparison(two, path, fps=1)
    with Image.open(path) as film:
        assert film.size[0] == 1200
    shown = Stage(two, None, 1.0)
    left, right = (player.bodies[0].axes for player in shown.players)
    assert left.get_xlim() == right.get_xlim() and left.get_ylim() == right.get_ylim()
    assert [axes.get_title(loc="left") for axes in (left, right)] == ["unguided", "guided"]


def test_bodies_are_at_the_steps_of_the_history_and_then_of_the_world():
    scene = street()
    found = forecast(scene, agents=[0, 2, 4])
    shown = stage(found, world=3)
    (player,) = shown.players
    assert len(player.bodies) == scene.agents
    for step in (0, 2, HISTORY - 1):
        shown.frame(frame_at(shown, (step - scene.now) * DT))
        np.testing.assert_allclose(place(shown, player, 0), scene.positions[0, step], atol=1e-6)
    for step in (0, 4, FUTURE - 1):
        shown.frame(frame_at(shown, (step + 1) * DT))
        for n, a in enumerate(found.agents):
            np.testing.assert_allclose(place(shown, player, a), found.worlds[3, n, step], atol=1e-6)
        # Nobody predicted agent 1: it stays, whatever the scene's future says, and fades.
        np.testing.assert_allclose(
            place(shown, player, 1), scene.positions[1, scene.now], atol=1e-6
        )
        assert player.bodies[1].shell.get_alpha() < 1


def test_late_agents_are_not_drawn_before_they_appear():
    scene = street()
    shown = stage(forecast(scene))
    (body,) = [b for b in shown.players[0].bodies if b.name.get_text() == "late"]
    for index, time in enumerate(shown.times):
        shown.frame(index)
        first = (4 - scene.now) * DT
        assert body.shell.get_visible() == body.name.get_visible() == (time >= first - 1e-6)


def test_the_future_of_a_scene_is_not_looked_at():
    scene = street()
    changed = replace(
        scene, positions=scene.positions + 50.0 * (np.arange(16) > scene.now)[:, None]
    )
    found = forecast(scene, agents=[0, 4])
    times = np.linspace(-2, 4, 31)
    for one, two in zip(
        playback.motion(found, 1, times),
        playback.motion(replace(found, scene=changed), 1, times),
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)
    first, second = (stage(f, 1.0) for f in (found, replace(found, scene=changed)))
    np.testing.assert_array_equal(first.frame(4), second.frame(4))


def test_ghosts_are_the_other_worlds_up_to_the_frame():
    found = forecast(street(), agents=[0, 2], worlds=5)
    shown = stage(found, world=1)
    (player,) = shown.players
    shown.frame(frame_at(shown, -0.4))
    assert not any(artist.get_visible() for artist in player.ghosts.artists)
    shown.frame(frame_at(shown, 6 * DT))
    others = found.worlds[[0, 2, 3, 4]]
    np.testing.assert_allclose(player.ghosts.heads.get_offsets(), others[:, :, 5].reshape(-1, 2))
    tails = player.ghosts.tails.get_segments()
    assert len(tails) == 4 * 2
    for tail, n in zip(tails, [0, 2] * 4, strict=True):
        np.testing.assert_allclose(tail[0], found.scene.positions[n, found.scene.now])
    many = stage(forecast(street(), agents=[0], worlds=200), 1.0)
    assert len(many.players[0].ghosts.lines) == 32
    alone = stage(forecast(street(), agents=[0], worlds=1), 1.0)
    assert len(alone.players[0].ghosts.lines) == 0
    assert alone.frame(4).any()


def test_nobody_says_how_a_frame_was_reached():
    shown = stage(forecast(street(), goals=GOALS), 0.4)
    later = shown.frame(12)
    shown.frame(2)
    np.testing.assert_array_equal(shown.frame(12), later)
    assert (shown.frame(2) != later).any()


def test_the_clock_says_the_time_and_which_world_is_shown():
    shown = stage(forecast(street(), worlds=4), world=2)
    for time, said in ((-0.4, "\N{MINUS SIGN}0.4 s"), (0.0, "now"), (2.4, "+2.4 s")):
        shown.frame(frame_at(shown, time))
        assert shown.clock.get_text() == said
    assert shown.players[0].bodies[0].axes.get_title(loc="right") == "world 2 of 4, p = 0.2"
    shown = stage(forecast(street(), worlds=4))
    assert shown.players[0].bodies[0].axes.get_title(loc="right") == "world 0 of 4, p = 0.4"


def test_more_than_sixteen_names_are_left_out():
    scene, three = plaza(), np.tile(np.arange(8), 3)
    arrays = {name: getattr(scene, name)[three] for name in ("positions", "headings", "valid")}
    names = tuple(f"p{i}" for i in range(24))
    many = replace(scene, ids=names, kinds=("pedestrian",) * 24, **arrays)
    assert all(body.name is None for body in stage(forecast(many), 1.0).players[0].bodies)
    few = stage(forecast(many, agents=range(16)), 1.0).players[0].bodies
    assert [body.name is not None for body in few] == [True] * 16 + [False] * 8


def test_frame_times_end_with_the_worlds():
    times = frame_times({"one": forecast(street())}, 0.37)
    np.testing.assert_allclose(np.diff(times)[:-1], 0.37)
    assert times[0] == pytest.approx(-2.0) and times[-1] == pytest.approx(4.0)
    assert 0 < times[-1] - times[-2] <= 0.37


def test_every_colour_is_its_nearest_in_the_palette():
    rng = np.random.default_rng(0)
    palette = rng.integers(0, 256, (40, 3)).astype(np.uint8)
    frame = rng.integers(0, 256, (9, 7, 3)).astype(np.uint8)
    paint = films._Paint(palette)
    gaps = np.linalg.norm(frame[:, :, None].astype(float) - palette, axis=-1)
    for _ in range(2):  # the second time from memory
        chosen = np.take_along_axis(gaps, paint.indices(frame)[..., None].astype(int), -1)[..., 0]
        np.testing.assert_allclose(chosen, gaps.min(-1))
    np.testing.assert_array_equal(paint.colours[paint.indices(palette[None])[0]], palette)


FFMPEG = """#!/bin/sh
for last; do :; done
echo "$@" > "$last.asked"
cat > "$last"
exit {code}
"""


def fake_ffmpeg(folder, monkeypatch, text):
    program = folder / "ffmpeg"
    program.write_text(text)
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_ffmpeg_gets_every_frame_and_the_last_for_a_moment(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    fake_ffmpeg(tmp_path / "bin", monkeypatch, FFMPEG.format(code=0))
    path, found = tmp_path / "film.mp4", forecast(plaza())
    animate(found, path, fps=2)
    shown = stage(found, 0.5)
    height, width = (side - side % 2 for side in shown.frame(0).shape[:2])
    frames = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, height, width, 3)
    assert len(frames) == len(shown.times) + 3  # 1.5 s at two a second
    for index in (0, 5, len(shown.times) - 1):
        np.testing.assert_array_equal(frames[index], shown.frame(index)[:height, :width])
    np.testing.assert_array_equal(frames[-1], frames[len(shown.times) - 1])
    asked = (tmp_path / ".part-film.mp4.asked").read_text()
    assert f"-s {width}x{height} -r 2 " in asked


def test_what_ffmpeg_says_is_passed_on_and_nothing_is_left(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    failing = "#!/bin/sh\necho first >&2\necho 'unknown encoder libx264' >&2\nexit 1\n"
    fake_ffmpeg(tmp_path / "bin", monkeypatch, failing)
    with pytest.raises(ValueError, match=r"ffmpeg failed \(unknown encoder libx264\); give"):
        animate(forecast(plaza()), tmp_path / "film.mp4", fps=2)
    assert [p.name for p in tmp_path.iterdir()] == ["bin"]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("film.avi", {}, r"ends in \.gif or \.mp4"),
        ("film.gif", {"fps": 0}, "1 to 50 frames a second, got 0"),
        ("film.gif", {"fps": 60}, "got 60"),
        ("film.gif", {"world": 12}, "bend has no world 12; give one of 0 to 11"),
        ("film.gif", {"world": -1}, "no world -1"),
        ("", {}, "cannot film to"),
    ],
)
def test_what_cannot_be_filmed_is_one_sentence(tmp_path, name, options, said):
    with pytest.raises(ValueError, match=said):
        animate(forecast(street()), tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_film_needs_its_programs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"without ffmpeg; install it, or .* ends in \.gif"):
        animate(forecast(street()), tmp_path / "film.mp4")
    monkeypatch.setattr(films, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="without Pillow; pip install pillow"):
        animate(forecast(street()), tmp_path / "film.gif")


def test_compared_films_have_the_same_times():
    long = forecast(street())
    short = replace(long, worlds=long.worlds[:, :, :5])
    with pytest.raises(ValueError, match="b lasts from -2 to 2 s and a from -2 to 4 s; compare"):
        Stage({"a": long, "b": short}, None, PACE)
