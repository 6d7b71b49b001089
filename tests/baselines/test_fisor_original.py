"""The original's way: the same numbers as ours by separate networks and by weighed losses."""

from dataclasses import replace

import pytest
import torch

from baselines.rl import fisor_original
from domains.rl.bench.interleaved import Interleaved
from domains.rl.bench.problem import made_up
from domains.rl.bench.separate import PARTS, SeparateCritics, SeparateOptimisers
from domains.rl.critics.feasible import SafeCritics, SafetyConfig
from domains.rl.model import ModelConfig
from domains.rl.safe.train import Proportional, SafeRun, SafeTraining
from domains.rl.train import loop_of
from guided.optimizer import optimizers
from guided.rng import Rng

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
STATES, ACTIONS = 5, 2


def data(episodes=4, length=25):
    own = made_up(episodes, length, 0, STATES, ACTIONS)
    costs = (torch.rand(len(own), generator=torch.Generator().manual_seed(3)) < 0.2).float()
    return replace(own, costs=costs)


def settings(steps=6, updates=12, **changes):
    return SafeTraining(
        **{
            "model": ModelConfig(width=8, depth=1),
            "critics": SafetyConfig(hidden=(8, 8)),
            "critic_loop": loop_of(steps=steps, batch=8, log_every=2)(),
            "policy_loop": loop_of(steps=updates, batch=16)(),
            **changes,
        }
    )


def transitions(rows=64):
    generator = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    return normal(rows, ACTIONS), {
        "state": normal(rows, STATES),
        "reached": normal(rows, STATES),
        "reward": normal(rows),
        "future": (normal(rows) > -1).float(),
        "now": normal(rows),
        "next": normal(rows),
        "discount": 0.97,
    }


def critics():
    torch.manual_seed(0)
    own = SafeCritics(STATES, ACTIONS, SafetyConfig(hidden=(16, 16), tau=0.1))
    for weight in own.slow.parameters():  # else slow copies would be the critics themselves
        weight.data += 0.1 * torch.randn_like(weight)
    return own


def test_taking_apart_and_writing_back_changes_nothing():
    own, other = critics(), SafeCritics(STATES, ACTIONS, SafetyConfig(hidden=(16, 16)))
    SeparateCritics(own).write(other)
    for name, weight in own.state_dict().items():
        assert torch.equal(other.state_dict()[name], weight)


@pytest.mark.parametrize("fused", [False, True])
def test_three_updates_of_separate_networks_are_three_of_the_stack(fused):
    ours = critics()
    separate = SeparateCritics(ours)
    four = SeparateOptimisers(separate, 1e-3, fused)
    (one,) = optimizers(ours, "adamw", 1e-3, 0.0)
    first = {name: weight.clone() for name, weight in ours.state_dict().items()}
    actions, batch = transitions()
    for _ in range(3):
        theirs = four.update(actions, batch)
        loss = ours.loss(actions, batch).mean()
        one.zero_grad()
        loss.backward()
        one.step()
        assert set(theirs) == set(PARTS)
        torch.testing.assert_close(sum(theirs.values()), loss.detach(), **CLOSE)
    found = critics()
    separate.write(found)
    for name, weight in ours.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], weight, **CLOSE)
        assert (weight - first[name]).abs().max() > 1e-3  # which is no news if nothing moved


def test_the_weighed_loss_is_what_drawing_in_proportion_expects(tmp_path):
    """E over drawn rows = sum(w l) / sum(w), by the probabilities that the drawing has."""
    run = SafeRun(data(), settings(), tmp_path)
    rows, states = torch.arange(len(run.data)), run.scaled.states[run.scaled.at]
    # So that some states and actions are feasible and some are not.
    own = run.critics
    own.v.layers[-1].bias.data[1] -= own.v_h(states).mean()
    own.slow.layers[-1].bias.data[2:] -= own.q_h(states, run.scaled.actions).mean()
    order = Interleaved(run)
    own = run.weigh()
    assert (own == 0).any() and own.unique().numel() > 40
    weighed = order.actor_loss(rows, Rng(7))
    each = run.behaviour.loss(run.scaled.actions, states, Rng(7)).double()
    ends = Proportional(own).ends
    drawn = (ends.diff(prepend=ends.new_zeros(1)) / ends[-1] * each).sum()
    torch.testing.assert_close(weighed.double(), own.double().mean() * drawn, **CLOSE)


@pytest.mark.parametrize(("steps", "updates"), [(3, 6), (4, 2), (5, 7)])
def test_updates_of_the_policy_are_spread_evenly(tmp_path, steps, updates):
    order = Interleaved(SafeRun(data(), settings(steps, updates), tmp_path))
    counts = []
    for step in range(steps):
        order.iteration(step)
        counts.append(order.updates)
    assert counts == [(k + 1) * updates // steps for k in range(steps)]


def test_it_ends_with_the_averages_and_slow_critics(tmp_path):
    run = SafeRun(data(), settings(), tmp_path)
    order = Interleaved(run)
    path = []
    for step in range(3):
        order.iteration(step)
        path.append(order.critics.v_h[0].weight.detach().clone())
    order.finish()
    # The first one is taken as it is, then follow 9/11 and 9/12 of the way.
    average = path[0].lerp(path[1], 9 / 11).lerp(path[2], 9 / 12)
    torch.testing.assert_close(run.critics.v.context[1].T, average, **CLOSE)
    slow = order.critics.slow_h[1][0].weight
    assert torch.equal(run.critics.slow.context[3], slow[:, :STATES].T)


def test_training_gives_a_policy_that_acts_and_is_saved(tmp_path):
    def trained(folder=None):
        training, seen = fisor_original.train(data(), settings(), folder), []
        while True:
            try:
                seen.append(next(training))
            except StopIteration as end:
                return end.value, seen

    policy, seen = trained(tmp_path)
    assert [p.done for p in seen] == [2, 4, 6] and seen[-1].of == 6
    again = fisor_original.DiffusionPolicy.load(tmp_path / "policy")
    obs = torch.zeros(3, STATES).numpy()
    actions = policy.act(obs, seed=0)
    assert actions.shape == (3, ACTIONS)
    assert (actions == again.act(obs, seed=0)).all()
    assert (actions == trained()[0].act(obs, seed=0)).all()  # and the seed tells all


def test_a_loss_that_explodes_is_told_in_one_sentence():
    config = settings(steps=200, updates=200)
    wild = replace(config, critic_loop=replace(config.critic_loop, lr=1e30, warmup=0))
    with pytest.raises(FloatingPointError, match="lower the learning rates"):
        list(fisor_original.train(data(), wild))
