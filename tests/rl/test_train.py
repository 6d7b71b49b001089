"""Training in stages: it learns a bandit exactly, resumes, and draws support once."""

import math
from dataclasses import replace

import pytest
import torch

from domains.rl.critics.critic import CriticConfig
from domains.rl.data.offline import OfflineData
from domains.rl.model import ModelConfig
from domains.rl.policy import DiffusionPolicy
from domains.rl.train import PolicyTraining, Run
from guided.checkpoint import CheckpointError
from guided.train import TrainConfig

BETA = 1.5


def bandit(count=4_000):
    """One step from one of two states; actions a are U(-1, 1).

    In state (1, 0) the reward is a, in state (-1, 0) it is -a.
    """
    g = torch.Generator().manual_seed(0)
    which = torch.randint(2, (count,), generator=g)
    actions = 2 * torch.rand(count, 1, generator=g) - 1
    sign = 1.0 - 2.0 * which
    states = torch.stack([sign, torch.zeros(count)], 1).repeat_interleave(2, 0)
    return OfflineData(
        states=states,
        actions=actions,
        rewards=sign * actions[:, 0],
        terminals=torch.ones(count, dtype=torch.bool),
        timeouts=torch.zeros(count, dtype=torch.bool),
        starts=torch.arange(count + 1),
        low=-torch.ones(1),
        high=torch.ones(1),
        name="bandit",
    )


def config(steps, **changes):
    loop = TrainConfig(
        steps=steps, batch=128, lr=3e-3, weight_decay=0.0, warmup=20, ema=0.99,
        save_every=max(1, steps // 2), log_every=max(1, steps // 4),
    )  # fmt: skip
    own = PolicyTraining(
        model=ModelConfig(width=32, depth=2, energy_width=32, energy_depth=2),
        critic=CriticConfig(hidden=(32, 32), tau=0.05),
        behaviour_loop=loop,
        critic_loop=loop,
        energy_loop=loop,
        beta=BETA,
    )
    return replace(own, **changes)


def test_a_guided_policy_samples_the_tilted_law(tmp_path):
    run = Run(bandit(), config(400, support=16), tmp_path)
    stages = [p.stage for p in run.stages()]
    assert list(dict.fromkeys(stages)) == ["behaviour", "support", "critic", "energy"]
    # Q is +-a, whose spread within a state is that of U(-1, 1): the target is exp(c a) on (-1, 1).
    c = BETA * math.sqrt(3)
    wanted = 1 / math.tanh(c) - 1 / c
    states = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).repeat_interleave(1_500, 0).numpy()
    policy = run.policy(steps=20)
    plus, minus = policy.act(states, seed=0)[:, 0].reshape(2, -1).mean(1)
    assert plus == pytest.approx(wanted, abs=0.06) and minus == pytest.approx(-wanted, abs=0.06)
    plus, minus = policy.act(states, seed=0, scale=0.0)[:, 0].reshape(2, -1).mean(1)
    assert plus == pytest.approx(0, abs=0.06) and minus == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize("beta", [0.0, math.inf, math.nan])
def test_an_impossible_beta_is_refused(beta):
    with pytest.raises(ValueError, match="a finite beta > 0"):
        PolicyTraining(beta=beta)


@pytest.mark.parametrize("name", ["width", "depth", "energy_width", "energy_depth"])
def test_a_model_without_layers_is_refused(name):
    with pytest.raises(ValueError, match=f"a model needs {name} >= 1, got 0"):
        ModelConfig(**{name: 0})


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(tmp_path):
    data, how = bandit(200), config(8)
    whole = Run(data, how, tmp_path / "whole")
    list(whole.stages())
    for stage in ("behaviour", "support", "critic", "energy"):
        stopped = Run(data, how, tmp_path / "parts").stages()
        for progress in stopped:
            if progress.stage == stage and progress.done >= progress.of / 2:
                stopped.close()
                break
    parts = Run(data, how, tmp_path / "parts")
    list(parts.stages())
    for mine, theirs in zip(
        (parts.behaviour, parts.critic, parts.energy),
        (whole.behaviour, whole.critic, whole.energy),
        strict=True,
    ):
        for key, value in theirs.state_dict().items():
            torch.testing.assert_close(
                mine.state_dict()[key], value, rtol=0, atol=0, equal_nan=True, msg=key
            )
    again = list(Run(data, how, tmp_path / "whole").stages())
    assert len(again) == 4  # a complete run does nothing again


def test_a_policy_of_a_run_survives_its_file(tmp_path):
    run = Run(bandit(200), config(4), tmp_path / "run")
    list(run.stages())
    run.policy().save(tmp_path / "policy")
    loaded = DiffusionPolicy.load(tmp_path / "policy")
    states = run.data.states[:7].numpy()
    assert (loaded.act(states, seed=2) == run.policy().act(states, seed=2)).all()
    assert loaded.about["data"] == "bandit"


@pytest.mark.parametrize("content", [b"", b"cut short"])
def test_support_that_is_damaged_is_one_sentence(tmp_path, content):
    run = Run(bandit(20), config(4), tmp_path)
    (tmp_path / "support.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"support.safetensors is truncated .*; delete it$"):
        next(run.draw_support())


def test_support_actions_belong_to_their_states(tmp_path, monkeypatch):
    data = bandit(100)
    sign = data.states[data.at, :1]
    run = Run(replace(data, actions=0.8 * sign), config(200, support=3), tmp_path)
    list(run.train_behaviour())
    monkeypatch.setattr("domains.rl.support.CHUNK", 64)  # not all states at once
    drawing = run.draw_support()
    done = []
    with pytest.raises(StopIteration) as end:
        while True:
            done.append(next(drawing).done)
    actions = end.value.value
    assert done == [64, 128, 192, 200] and actions.shape == (200, 3, 1)
    assert (actions.sign() == data.states[:, :1, None]).all() and actions.abs().max() <= 1
    assert actions.unique().numel() > 100  # every one is a draw of its own
    again = run.draw_support()
    assert next(again).done == 200  # from the file
    with pytest.raises(StopIteration) as end:
        next(again)
    assert torch.equal(end.value.value, actions)
