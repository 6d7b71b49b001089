"""Safe baselines: what they learn from and towards, by hand."""

from dataclasses import replace

import pytest
import torch

from baselines.rl.bc_safe import safe_episodes
from baselines.rl.bcq_lag import BCQLag, BCQLagConfig, Controller
from baselines.rl.cpq import CPQ, CPQConfig
from baselines.rl.limit import costed, discounted_limit
from baselines.rl.transitions import Bootstrap, Transitions
from baselines.rl.vae import ActionVAE, divergence
from domains.rl.data.offline import episodes_of
from guided.rng import Rng
from guided.train import TrainConfig
from tests.baselines.corridor import batch, constant, corridor


def test_some_episodes_alone_are_what_they_were_among_others() -> None:
    data = corridor(4, 2)
    data = replace(
        data,
        states=torch.arange(24.0).reshape(12, 2),
        rewards=torch.arange(8.0),
        margins=torch.arange(12.0),
        costs=torch.arange(8.0),
    )
    own = episodes_of(data, torch.tensor([False, True, False, True]))
    assert own.starts.tolist() == [0, 2, 4]
    assert own.rewards.tolist() == [2, 3, 6, 7]
    assert own.margins.tolist() == own.states[:, 0].div(2).tolist() == [3, 4, 5, 9, 10, 11]
    assert own.actions.tolist() == data.actions[[2, 3, 6, 7]].tolist()
    assert own.timeouts.tolist() == [False, True] * 2
    assert own.costs.tolist() == [2, 3, 6, 7]


@pytest.mark.parametrize("keep", [[True], [0, 1, 1, 0], [False] * 4])
def test_a_choice_of_no_or_other_episodes_is_refused(keep) -> None:
    with pytest.raises(ValueError, match="bool for each of the 4 episodes"):
        episodes_of(corridor(4, 2), torch.tensor(keep))


def test_cloning_safely_keeps_episodes_up_to_the_limit() -> None:
    data = replace(corridor(3, 2), costs=torch.tensor([1.0, 0.0, 2.0, 2.0, 0.0, 3.0]))
    assert safe_episodes(data, 3.9).cost_returns.tolist() == [1, 3]
    assert safe_episodes(data, 4.0).cost_returns.tolist() == [1, 4, 3]
    with pytest.raises(ValueError, match=r"1 of 3 .* at most 2, .* at least 2; .*the least .* 1\)"):
        safe_episodes(data, 2.0)
    with pytest.raises(ValueError, match="0 of 3"):
        safe_episodes(data, 0.0)
    with pytest.raises(ValueError, match="no costs"):
        safe_episodes(replace(data, costs=None), 1.0)


@pytest.mark.parametrize(("limit", "gamma", "horizon"), [(5.0, 0.9, 7), (10.0, 0.99, 300)])
def test_a_limit_is_the_discounted_sum_of_equal_shares(limit, gamma, horizon) -> None:
    shares = sum(limit / horizon * gamma**k for k in range(horizon))
    assert discounted_limit(limit, gamma, horizon) == pytest.approx(shares)
    assert discounted_limit(limit, 1.0, horizon) == limit


def test_costs_reach_the_batch_with_their_transitions() -> None:
    data = corridor()
    _, found = costed(data, 0.9).batches(TrainConfig(batch=64))(0, torch.Generator())
    assert torch.equal(found["cost"], (found["reached"][:, 0] > 0).float())
    # Returns are 4 to 16 in 4 steps, so rewards are multiplied by 4 / (16 - 4) = 1 / 3.
    torch.testing.assert_close(found["reward"], 1 / 3 + found["cost"])
    with pytest.raises(ValueError, match="no costs"):
        costed(replace(data, costs=None), 0.9)
    plain = Transitions(replace(data, costs=None), Bootstrap())
    assert "cost" not in plain.batches(TrainConfig(batch=4))(0, torch.Generator())[1]


def test_the_divergence_is_that_of_normal_laws() -> None:
    mean, log_std = torch.tensor([[0.3, -1.0]]), torch.tensor([[0.2, -0.7]])
    own = torch.distributions.Normal(mean, log_std.exp())
    known = torch.distributions.kl_divergence(own, torch.distributions.Normal(0.0, 1.0)).mean(1)
    torch.testing.assert_close(divergence(mean, log_std), known)


def test_an_autoencoder_finds_what_the_data_never_did_strange() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = ActionVAE(1, 1, (32,), beta=0.05)
    states, actions = torch.zeros(256, 1), 0.1 * Rng(0).normal((256, 1))
    optimizer, rng = torch.optim.Adam(vae.parameters(), 3e-3), Rng(1)
    for _ in range(300):
        optimizer.zero_grad()
        vae.loss(states, actions, rng).mean().backward()
        optimizer.step()
    strange = vae.strangeness(torch.zeros(3, 1), torch.tensor([[-0.9], [0.0], [0.9]]))
    assert strange[1] < min(strange[0], strange[2]) / 2
    assert vae.draw(states, rng).abs().max() < 0.4


def test_cpq_counts_no_future_beyond_what_costs_too_much() -> None:
    model = CPQ(2, 1, CPQConfig(hidden=(8,)), limit=2.0)
    constant(model.slow_q, 10.0, 7.0)
    after = torch.zeros(3, 1)
    for ahead, reward in (((2.0, 5.0), [1 + 0.9 * 7, 2 + 0.9 * 7, 3]), ((2.1, 5.0), [1, 2, 3])):
        constant(model.slow_q_c, *ahead)
        found = model.targets(batch(), after)
        assert found[0].tolist() == pytest.approx(reward)
        cost = [0.9 * ahead[0], 1 + 0.9 * ahead[0], 1]
        assert found[1].tolist() == pytest.approx(cost)


def test_cpq_learns_nothing_from_its_forbidden_actions() -> None:
    model = CPQ(2, 1, CPQConfig(hidden=(8,)), limit=2.0)
    constant(model.q, 4.0, 3.0)
    constant(model.q_c, 1.9, 9.0)
    assert model.actor_loss(batch(), Rng(0)).tolist() == [-3.0] * 3
    constant(model.q_c, 2.1, 9.0)
    assert model.actor_loss(batch(), Rng(0)).tolist() == [0.0] * 3


def test_cpq_raises_the_cost_of_strange_actions_until_it_is_high_enough() -> None:
    config = CPQConfig(hidden=(8,), margin=1.5, rate=0.1, most=0.25)
    model = CPQ(2, 1, config, limit=2.0)
    states, actions = torch.zeros(5, 2), torch.zeros(5, 1)
    constant(model.q_c, 1.0, 2.0)  # 1.5 below m l = 3
    assert model.penalty(states, actions).item() == pytest.approx(0.15 * 1.5)
    model.penalty(states, actions).backward()  # the multiplier is 0.3, cut to 0.25
    assert model.multiplier.item() == pytest.approx(0.25)
    # A step down this gradient raises both critics.
    assert model.q_c.layers[-1].bias.grad.flatten().tolist() == pytest.approx([-0.125, -0.125])
    constant(model.q_c, 9.0, 9.0)
    assert model.penalty(states, actions).item() == 0
    assert model.multiplier.item() == 0


def test_cpq_penalises_the_strangest_share_of_its_draws() -> None:
    model = CPQ(2, 1, CPQConfig(hidden=(8,), samples=4, outside=0.25), limit=2.0)
    states = torch.arange(12.0).reshape(6, 2)
    model.vae.strangeness = lambda _, actions: actions[:, 0]
    with torch.no_grad():
        drawn = model.draw(states.repeat(4, 1), Rng(3))
    own, strange = model.strange(states, Rng(3))
    known = drawn[:, 0].sort(descending=True).values[:6]
    assert strange[:, 0].tolist() == known.tolist()
    # The state that each was drawn in goes with it, also where several are cut to 1.
    pairs = [(s, a) for s, a in zip(states.repeat(4, 1).tolist(), drawn.tolist(), strict=True)]
    assert all((s, a) in pairs for s, a in zip(own.tolist(), strange.tolist(), strict=True))


class Judge(torch.nn.Module):
    """Twin critics of the first number of an action."""

    def __init__(self, of):
        super().__init__()
        self.of = of

    def forward(self, _, actions):
        return self.of(actions[..., 0])


def test_bcq_takes_the_best_and_the_dearest_of_its_draws() -> None:
    model = BCQLag(2, 1, BCQLagConfig(hidden=(8,), pessimism=0.75), limit=2.0)
    after = torch.tensor([-1.0, 0.0, 1.0]).expand(3, 3)[:, :, None]
    model.slow_q = Judge(lambda a: torch.stack([a, 3 + a]))
    model.slow_q_c = Judge(lambda a: torch.stack([4 * a, -a]))
    found = model.targets(batch(), after)
    # Reward at a = 1: 0.75 * 1 + 0.25 * 4; cost: 0.75 * -4 + 0.25 * 1, 0 and 0.75 * -1 + 0.25 * 4.
    assert found[0].tolist() == pytest.approx([1 + 0.9 * 1.75, 2 + 0.9 * 1.75, 3])
    assert found[1].tolist() == pytest.approx([0.9 * 0.25, 1 + 0.9 * 0.25, 1])


def test_bcq_corrects_by_phi_at_most() -> None:
    model = BCQLag(2, 1, BCQLagConfig(hidden=(8,), phi=0.2), limit=2.0)
    actions = torch.tensor([[-1.0], [0.0], [0.95]])
    moved = model.corrected(lambda _: torch.ones(3, 1), torch.zeros(3, 2), actions)
    assert moved[:, 0].tolist() == pytest.approx([-0.8, 0.2, 1.0])


def test_the_multiplier_rises_above_the_limit_and_falls_to_0_below() -> None:
    own = Controller((0.5, 0.1, 2.0))
    # (0.5 * 3 + 0.1 * 3 + 2 * 3), then the same error again, then far below.
    assert own(torch.tensor(3.0)).item() == pytest.approx(7.8)
    assert own(torch.tensor(3.0)).item() == pytest.approx(0.5 * 3 + 0.1 * 6)
    assert own(torch.tensor(-4.0)).item() == pytest.approx(0.1 * 2)
    assert own(torch.tensor(-4.0)).item() == 0
    assert own(torch.tensor(-4.0)).item() == 0
    assert own(torch.tensor(1.0)).item() == pytest.approx(0.5 + 0.1 + 2 * 5)


def test_bcq_prices_the_excess_of_cost() -> None:
    model = BCQLag(2, 1, BCQLagConfig(hidden=(8,), gains=(0.5, 0.0, 0.0)), limit=2.0)
    constant(model.q, 4.0, 3.0)
    constant(model.q_c, 5.0, 6.0)
    assert model.actor_loss(batch(), Rng(0)).tolist() == pytest.approx([1.5 * 3 - 3] * 3)
    constant(model.q_c, 1.0, 6.0)
    assert model.actor_loss(batch(), Rng(0)).tolist() == [-3.0] * 3


def moved(module: torch.nn.Module) -> set[str]:
    return {name.split(".")[0] for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("model", "actor"),
    [
        (CPQ(2, 1, CPQConfig(hidden=(8,)), 1e9), "actor"),
        (BCQLag(2, 1, BCQLagConfig(hidden=(8,)), 1e9), "shift"),
    ],
    ids=["cpq", "bcq_lag"],
)
def test_no_gradient_leaks_between_the_parts(model, actor) -> None:
    model.actor_loss(batch(), Rng(0)).mean().backward()
    assert moved(model) == {actor}
    model.zero_grad()
    model.critic_loss(torch.zeros(3, 1), batch(), Rng(0)).mean().backward()
    assert moved(model) == {"q", "q_c"}
    model.zero_grad()
    model.loss(torch.zeros(3, 1), batch(), Rng(0)).mean().backward()
    assert moved(model) == {actor, "q", "q_c", "vae"}
