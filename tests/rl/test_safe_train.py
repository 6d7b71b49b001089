"""FISOR in stages: costs that cannot be learned from, resuming, and what the policy imitates."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from domains.rl.critics.feasible import SafetyConfig
from domains.rl.data.offline import OfflineData
from domains.rl.model import ModelConfig
from domains.rl.policy import DiffusionPolicy
from domains.rl.safe.train import SafeRun, SafeTraining, reward_scale
from guided.checkpoint import CheckpointError
from guided.train import TrainConfig

LOOP = TrainConfig(30, batch=32, lr=3e-3, weight_decay=0.0, clip=10.0, save_every=10, log_every=10)
SMALL = SafeTraining(
    ModelConfig(16, 1), SafetyConfig(hidden=(16,)), critic_loop=LOOP, policy_loop=LOOP
)


def logged(episodes=40, length=5, costs=True, seed=0, name="edge"):
    """One action in [-1, 1] decides: it earns what it is, and above 0 it costs."""
    rng = np.random.default_rng(seed)
    count = episodes * length
    actions = rng.uniform(-1, 1, (count, 1)).astype(np.float32)
    last = np.arange(1, count + 1) % length == 0
    parts = {
        "states": rng.normal(size=(count + episodes, 2)).astype(np.float32),
        "actions": actions,
        "rewards": actions[:, 0],
        "terminals": last & False,
        "timeouts": last,
        "starts": np.arange(episodes + 1) * length,
        "low": -np.ones(1, np.float32),
        "high": np.ones(1, np.float32),
    }
    if costs:
        parts["costs"] = (actions[:, 0] > 0).astype(np.float32)
    return OfflineData(**{k: torch.from_numpy(v) for k, v in parts.items()}, name=name)


def finished(run):
    return [(p.stage, p.done) for p in run.stages()][-1]


def test_it_trains_saves_and_loads(tmp_path):
    run = SafeRun(logged(), SMALL, tmp_path)
    assert finished(run) == ("actor", 30)
    assert "transitions weigh nothing" in run.found()
    policy = run.policy(steps=4, candidates=3)
    obs = np.zeros((5, 2), np.float32)
    wanted = policy.act(obs, seed=1)
    assert wanted.shape == (5, 1) and (abs(wanted) <= 1).all()
    policy.save(tmp_path / "policy")
    again = DiffusionPolicy.load(tmp_path / "policy")
    assert again.networks.safety.config == SMALL.critics
    assert (again.act(obs, seed=1) == wanted).all()
    assert again.discount == 0.99
    assert again.about["label"] == run.margins.scale


def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path):
    whole = SafeRun(logged(), SMALL, tmp_path / "whole")
    finished(whole)
    part = SafeRun(logged(), SMALL, tmp_path / "part")
    for progress in part.stages():
        if (progress.stage, progress.done) == ("critics", 20):
            break
    again = SafeRun(logged(), SMALL, tmp_path / "part")
    assert finished(again) == ("actor", 30)
    for module, other in ((whole.critics, again.critics), (whole.behaviour, again.behaviour)):
        for key, value in module.state_dict().items():
            assert torch.equal(value, other.state_dict()[key]), key


def test_a_folder_of_another_run_is_refused(tmp_path):
    finished(SafeRun(logged(), SMALL, tmp_path))
    other = replace(SMALL, critics=replace(SMALL.critics, safety_expectile=0.8))
    with pytest.raises(CheckpointError):
        finished(SafeRun(logged(), other, tmp_path))
    with pytest.raises(CheckpointError):
        finished(SafeRun(logged(seed=1), SMALL, tmp_path))


def test_data_without_costs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="edge has no costs and no margins"):
        SafeRun(logged(costs=False), SMALL, tmp_path)


def test_timeouts_have_a_future_unless_as_in_the_original(tmp_path):
    data = logged()
    assert SafeRun(data, SMALL, tmp_path).future.all()
    compat = replace(SMALL, critics=replace(SMALL.critics, fisor_compat=True))
    future = SafeRun(data, compat, tmp_path).future
    assert torch.equal(future == 0, data.timeouts)


def test_episodes_of_one_step():
    data = logged(episodes=6, length=1)
    run = SafeRun(data, SMALL, None)
    batch = run.critic_batch(torch.arange(6), 0.9)
    assert torch.equal(batch["state"], run.scaled.states[::2])
    assert torch.equal(batch["reached"], run.scaled.states[1::2])
    assert run.margins.scale == 1  # no look-ahead is needed


def test_rewards_are_scaled_by_steps_over_the_range_of_returns():
    data = logged()
    span = float(data.returns.max() - data.returns.min())
    assert reward_scale(data) == pytest.approx(5 / span)
    flat = replace(data, rewards=torch.ones(len(data)))
    assert reward_scale(flat) == 1
    run = SafeRun(data, SMALL, None)
    i = torch.arange(10)
    torch.testing.assert_close(run.critic_batch(i, 0.9)["reward"], data.rewards[:10] * 5 / span)


@pytest.mark.slow
def test_it_earns_most_of_what_costs_nothing(tmp_path):
    """What costs nothing is a <= 0, and the best of it is a = 0."""
    loop = replace(LOOP, steps=2000, batch=128)
    critics = SafetyConfig(hidden=(64, 64), gamma=0.5, safety_gamma=0.5, label=5.0)
    config = SafeTraining(ModelConfig(64, 2), critics, critic_loop=loop, policy_loop=loop)
    run = SafeRun(logged(400), config, tmp_path)
    finished(run)
    states = np.random.default_rng(1).normal(size=(400, 2)).astype(np.float32)
    drawn = run.policy(candidates=1).act(states, seed=0)[:, 0]
    assert (drawn > 0.1).mean() < 0.05
    best = run.policy(threshold=0.0).act(states, seed=0)[:, 0]
    assert -0.3 < best.mean() < 0.02
    assert best.mean() > drawn.mean()
    safest = run.policy().act(states, seed=0)[:, 0]
    assert (safest > 0).mean() < 0.01
