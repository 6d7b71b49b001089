"""Data sets made here: what is recorded, and that plain Minari reads it."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from domains.rl.cli import main
from domains.rl.collect import recorder
from domains.rl.collect.presets import PRESETS
from domains.rl.collect.recorder import Size, record
from tests.commands import refused

pytest.importorskip("gymnasium_robotics")
minari = pytest.importorskip("minari")
pytest.importorskip("h5py")

fails = partial(refused, main)
PRESET = PRESETS["pointmaze/umaze-mixed"]
ID = "guided/pointmaze-umaze-mixed-v0"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of data sets."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def small(dataset_id: str = ID, episodes: int = 4, seed: int = 0, **options):
    size = Size(1, episodes)
    return record(PRESET, dataset_id, size, seed, reference_episodes=2, **options)


def arrays(dataset_id: str) -> list[np.ndarray]:
    found = []
    for episode in minari.load_dataset(dataset_id).iterate_episodes():
        found += [*episode.observations.values(), episode.actions, episode.rewards]
        found += [episode.terminations, episode.truncations]
    return found


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def test_minari_loads_what_was_recorded_and_recovers_the_task() -> None:
    episodes, _ = small()
    data = minari.load_dataset(ID)
    assert data.total_episodes == 4
    assert data.total_steps == sum(e.steps for e in episodes)
    for env in (data.recover_environment(), data.recover_environment(eval_env=True)):
        assert env.spec.max_episode_steps == 300
        assert env.unwrapped.continuing_task is False
    qualities = [m["quality"] for m in data.storage.get_episode_metadata(range(4))]
    assert qualities == ["good", "weak", "good", "weak"]


def test_a_recorded_episode_replays_in_the_recovered_environment() -> None:
    small()
    data = minari.load_dataset(ID)
    env = data.recover_environment()
    for episode, about in zip(
        data.iterate_episodes(), data.storage.get_episode_metadata(range(4)), strict=True
    ):
        observation, _ = env.reset(seed=int(about["seed"]))
        for i, action in enumerate(episode.actions):
            for key, value in observation.items():
                np.testing.assert_array_equal(value, episode.observations[key][i])
            observation, reward, terminated, truncated, _ = env.step(action)
            assert reward == episode.rewards[i]
            assert bool(terminated) == bool(episode.terminations[i])
        final = {key: value[-1] for key, value in episode.observations.items()}
        np.testing.assert_array_equal(observation["observation"], final["observation"])
        assert bool(truncated and not terminated) == bool(episode.truncations[-1])


def test_success_ends_an_episode_and_the_limit_cuts_it() -> None:
    episodes, _ = small(episodes=8)
    recorded = minari.load_dataset(ID).iterate_episodes()
    for episode, about in zip(recorded, episodes, strict=True):
        assert bool(episode.terminations[-1]) == about.success == (about.total == 1.0)
        assert bool(episode.truncations[-1]) == (not about.success)
        assert not episode.terminations[:-1].any() and not episode.truncations[:-1].any()
    assert {e.success for e in episodes} == {True, False}


def test_the_seed_determines_the_data_and_a_longer_set_begins_alike() -> None:
    small("guided/a-v0", seed=3)
    small("guided/b-v0", seed=3)
    small("guided/c-v0", seed=4)
    small("guided/d-v0", seed=3, episodes=5)
    first = arrays("guided/a-v0")
    assert same(first, arrays("guided/b-v0"))
    assert not same(first, arrays("guided/c-v0"))
    assert same(first, arrays("guided/d-v0")[: len(first)])


def test_steps_are_filled_with_whole_episodes() -> None:
    episodes, _ = record(PRESET, ID, Size(500), reference_episodes=1)
    steps = [e.steps for e in episodes]
    assert sum(steps) >= 500 > sum(steps[:-1])


def test_reference_scores_are_the_mean_returns() -> None:
    _, reference = record(PRESET, ID, Size(1, 1), reference_episodes=20)
    assert reference[1] == 1.0  # the good controller always arrives
    assert 0.0 <= reference[0] <= 0.6  # chance hardly ever rounds the corner
    scores = minari.get_normalized_score(minari.load_dataset(ID), np.array(reference))
    np.testing.assert_allclose(scores, [0.0, 1.0])


def test_an_interruption_leaves_nothing(root: Path) -> None:
    def stop(episode: recorder.Episode) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small(advance=stop)
    assert list(root.rglob("*")) == []


def test_an_interrupted_write_leaves_nothing_or_the_old_data(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # The last thing that the writer does: all files are there by then.
        patch.setattr(recorder, "_metadata", interrupted)
        with pytest.raises(KeyboardInterrupt):
            small()
        assert not (root / ID).exists()
    small()
    old = arrays(ID)
    with monkeypatch.context() as patch:
        patch.setattr(recorder, "_metadata", interrupted)
        with pytest.raises(KeyboardInterrupt):
            small(seed=1, overwrite=True)
    assert same(old, arrays(ID))
    small(seed=1, overwrite=True)
    assert not same(old, arrays(ID))
    assert [p.name for p in (root / "guided").iterdir() if p.is_dir()] == [Path(ID).name]


def test_a_place_that_cannot_be_written_is_noticed_before_anything_is_played(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "file").touch()
    monkeypatch.setattr(recorder, "play", lambda *_: pytest.fail("played"))
    monkeypatch.setattr("domains.rl.commands.collect.train_sac", lambda *_: pytest.fail("trained"))
    for preset in ("pointmaze/umaze-mixed", "pendulum/sac"):
        command = ["collect", preset, "--quick", "--id", "file/umaze-v0"]
        assert "MINARI_DATASETS_PATH" in fails(command, capsys)
    assert [path.name for path in root.iterdir()] == ["file"]


def test_the_command_records_and_tells_its_figures(root: Path) -> None:
    facts = root / "facts.json"
    main(["collect", "pointmaze/umaze-mixed", "--quick", "--json", str(facts)])
    told = json.loads(facts.read_text())
    assert told["id"] == ID and Path(told["path"]).is_dir()
    assert told["episodes"] == 4 == minari.load_dataset(ID).total_episodes
    assert set(told["qualities"]) == {"good", "weak"}
    assert told["qualities"]["good"]["success"] == 1.0
    assert told["steps"] == sum(row["steps"] for row in told["qualities"].values())


def test_pendulum_controllers_differ_in_quality() -> None:
    episodes, reference = record(
        PRESETS["pendulum/mixed"], "guided/p-v0", Size(1, 24), reference_episodes=5
    )
    mean = {
        name: np.mean([e.total for e in episodes if e.quality == name])
        for name in ("good", "weak", "random")
    }
    assert mean["good"] > -300 and mean["random"] < -900
    assert mean["good"] > mean["weak"] > mean["random"]
    assert reference[0] < -900 < -300 < reference[1]
    assert all(e.success is None for e in episodes)


def test_mistakes_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert "pointmaze/umaze-mixed" in fails(["collect", "pointmaze/nothing"], capsys)
    small()
    quick = ["collect", "pointmaze/umaze-mixed", "--quick"]
    assert "--overwrite" in fails(quick, capsys)
    assert "named" in fails([*quick, "--id", "no version!"], capsys)
    other = [*quick, "--id", "guided/other-v0"]
    assert "negative" in fails([*other, "--seed", "-1"], capsys)
    for option in ("--steps", "--episodes", "--references"):
        command = ["collect", "pointmaze/umaze-mixed", "--id", "guided/other-v0", option, "0"]
        assert "got " in fails(command, capsys)
    main([*quick, "--overwrite"])
