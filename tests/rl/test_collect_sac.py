"""A trained policy as a behaviour, and the command that trains it first."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from domains.rl import environments
from domains.rl.cli import main
from domains.rl.collect.presets import PRESETS
from domains.rl.collect.sac import Learned, SacTraining, train_sac

pytest.importorskip("gymnasium")
pytest.importorskip("stable_baselines3")


@pytest.fixture(scope="module")
def policy() -> Learned:
    return train_sac(environments.make("Pendulum-v1"), SacTraining(120, width=16), seed=0)


def actions(policy: Learned, seed: int) -> np.ndarray:
    env = environments.make("Pendulum-v1")
    observation, _ = env.reset(seed=0)
    actor = policy.start(env, np.random.default_rng(seed))
    return np.stack([actor.act(observation) for _ in range(2000)])


def test_actions_have_the_distribution_of_the_policy_itself(policy: Learned) -> None:
    env = environments.make("Pendulum-v1")
    observation, _ = env.reset(seed=0)
    torch.manual_seed(0)
    many = np.repeat(observation[None], 2000, axis=0)
    own = policy.model.predict(many, deterministic=False)[0]
    ours = actions(policy, 0)
    error = own.std() * np.sqrt(2 / 2000)
    assert ours.mean() == pytest.approx(own.mean(), abs=3 * error)
    assert ours.std() == pytest.approx(own.std(), rel=0.05)
    assert env.action_space.contains(ours[0])


def test_actions_depend_on_the_given_stream_alone(policy: Learned) -> None:
    first = actions(policy, 1)
    torch.manual_seed(5)
    assert np.array_equal(first, actions(policy, 1))
    assert not np.array_equal(first, actions(policy, 2))


def test_training_keeps_the_global_streams() -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1]  # noqa: NPY002
    train_sac(environments.make("Pendulum-v1"), SacTraining(5, width=8), seed=1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert np.array_equal(before[2], np.random.get_state()[1])  # noqa: NPY002


def test_an_untrained_place_is_refused() -> None:
    with pytest.raises(ValueError, match="not trained"):
        Learned().start(None, np.random.default_rng(0))
    with pytest.raises(ValueError, match="got 0"):
        SacTraining(0)


def test_the_command_trains_then_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    main(["collect", "pendulum/sac", "--quick"])
    data = minari.load_dataset("guided/pendulum-sac-v0")
    assert "SAC after 150 steps" in data.storage.metadata["description"]
    assert PRESETS["pendulum/sac"].best == Learned()  # presets are not changed by a run
