"""Critics on problems whose values are known."""

import pytest
import torch

from domains.rl.critics.critic import Critic, CriticConfig
from guided.nets.stacked import StackedMLP
from guided.train import TrainConfig, train


def test_stacked_networks_equal_separate_ones():
    torch.manual_seed(0)
    stack = StackedMLP(2, 3, 2, (8, 8)).double()
    s, a = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 4, 2, dtype=torch.float64)
    for i in range(2):
        first = torch.cat([stack.context[i], stack.query[i]])
        h = torch.cat([s[:, None].expand(-1, 4, -1), a], -1) @ first + stack.bias[i]
        for layer in stack.layers:
            h = h.relu() @ layer.weight[i] + layer.bias[i]
        torch.testing.assert_close(stack(s, a)[i], h[..., 0])
        torch.testing.assert_close(stack(s, a[:, 0])[i], h[:, 0, 0])


def corridor(rule, **changes):
    """A critic of three states in a row: from 0 to 1 to 2, where one action of two is rewarded.

    In state 1 action -1 ends with reward 0 and action +1 ends with reward 1; the data take each
    half of the time. State 0 leads to 1 for nothing.
    """
    config = CriticConfig(rule=rule, gamma=0.9, hidden=(32, 32), tau=0.05, **changes)
    torch.manual_seed(0)
    critic = Critic(2, 1, config)
    states = torch.eye(2)
    support = torch.tensor([[[-1.0], [1.0]]]).repeat(2, 1, 1)

    def batch(step, generator):
        n = 64
        here = torch.randint(2, (n,), generator=generator)
        action = 2.0 * torch.randint(2, (n, 1), generator=generator) - 1
        reward = torch.where(here == 1, (action[:, 0] > 0).float(), 0.0)
        reached = torch.ones(n, dtype=torch.long)
        return action, {
            "state": states[here],
            "reward": reward,
            "discount": torch.where(here == 1, 0.0, 0.9),
            "reached": states[reached],
            "support": support[reached],
        }

    loop = TrainConfig(steps=600, batch=64, lr=5e-3, weight_decay=0.0, log_every=600)
    for _ in train(critic, batch, loop, loss=critic.loss):
        pass
    return critic.eval(), states, support


@pytest.mark.parametrize(
    ("rule", "changes", "value"),
    [
        ("softmax", {"beta": 0.0}, 0.5),  # the behaviour's own value
        ("softmax", {"beta": 50.0}, 1.0),  # the best of the support
        ("softmax", {"beta": 50.0, "fourier": 8}, 1.0),
        ("expectile", {"expectile": 0.5}, 0.5),
        ("expectile", {"expectile": 0.99}, 0.98),
        ("expectile", {"expectile": 0.99, "fourier": 8}, 0.98),
    ],
)
def test_values_run_from_the_behaviour_to_the_best_of_the_data(rule, changes, value):
    critic, states, support = corridor(rule, **changes)
    q = critic.q(states, support).detach()
    assert q[1].tolist() == pytest.approx([0.0, 1.0], abs=0.03)
    assert q[0].tolist() == pytest.approx([0.9 * value] * 2, abs=0.04)


def transitions(n=3):
    """Actions (n, 1), and the rest of a batch for the softmax rule."""
    return torch.randn(n, 1), {
        "state": torch.randn(n, 2), "reward": torch.zeros(n), "discount": torch.ones(n),
        "reached": torch.randn(n, 2), "support": torch.randn(n, 4, 1),
    }  # fmt: skip


def test_values_are_learned_in_lower_precision_too():
    torch.manual_seed(0)
    critic = Critic(2, 1, CriticConfig(hidden=(4,)))
    with torch.autocast("cpu", torch.bfloat16):
        losses = [critic.loss(*transitions()) for _ in range(2)]
    assert torch.cat(losses).isfinite().all()
    assert critic.spread.dtype == torch.float32 and critic.spread > 0


def test_slow_critics_follow_and_no_gradient_moves_them():
    torch.manual_seed(0)
    critic = Critic(2, 1, CriticConfig(tau=0.1, hidden=(4,)))
    with torch.no_grad():
        for p in critic.net.parameters():
            p.add_(1.0)
    before = [p.clone() for p in critic.slow.parameters()]
    critic.loss(*transitions()).sum().backward()
    for old, now, new in zip(
        before, critic.slow.parameters(), critic.net.parameters(), strict=True
    ):
        torch.testing.assert_close(now, old.lerp(new, 0.1))
        assert now.grad is None


def test_features_of_the_state_tell_two_sides_of_a_wall_apart():
    """Of two critics that are trained alike, the one with features fits a value that jumps."""
    losses = []
    for fourier in (0, 16):
        torch.manual_seed(0)
        critic = Critic(1, 1, CriticConfig(hidden=(32,), fourier=fourier, fourier_scale=2.0))

        def batch(step, generator):
            state = torch.rand(64, 1, generator=generator) * 2 - 1
            value = (state[:, 0] * 8).floor() % 2
            own = {"state": state, "reward": value, "discount": torch.zeros(64), "reached": state}
            return state, {**own, "support": state[:, None].expand(-1, 2, -1)}

        loop = TrainConfig(steps=400, batch=64, lr=5e-3, log_every=100)
        *_, last = train(critic, batch, loop, loss=critic.loss)
        losses.append(last.loss)
    assert losses[1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"gamma": 0.0}, {"tau": 1.5}, {"expectile": 1.0}, {"n_step": 0}, {"beta": -1.0},
        {"fourier": -1}, {"fourier_scale": 0.0},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="a critic needs"):
        CriticConfig(**wrong)


@pytest.mark.parametrize("hidden", [(), (8, 0)])
def test_a_critic_without_layers_is_refused(hidden):
    with pytest.raises(ValueError, match="a critic needs widths of hidden layers >= 1"):
        CriticConfig(hidden=hidden)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="unknown rule 'max'; expected 'softmax' or 'expectile'"):
        CriticConfig(rule="max")
