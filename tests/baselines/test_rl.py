"""Every offline RL baseline on a bandit whose values are known, and the contracts they share."""

import re
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.rl.bc import BCConfig
from baselines.rl.diffusion_ql import Chain, DiffusionQL, DiffusionQLConfig
from baselines.rl.idql import IDQLConfig
from baselines.rl.iql import IQL, IQLConfig
from baselines.rl.registry import BASELINES
from baselines.rl.sfbc import SfBCConfig, resampled
from baselines.rl.td3_bc import TD3BC, TD3BCConfig
from baselines.rl.transitions import Bootstrap, Transitions
from domains.rl.critics.critic import CriticConfig
from domains.rl.data.offline import OfflineData
from domains.rl.model import ModelConfig
from domains.rl.stack import CriticEnergy
from domains.rl.train import PolicyTraining, Run
from guided.rng import Rng
from guided.train import TrainConfig

BAD, GOOD = -0.5, 0.5  # the two actions of the data; the best action there is, 1, is not in them


def bandit(count: int = 2_000) -> OfflineData:
    """One-step episodes in a random state: both actions as often, the reward grows with a."""
    rng = np.random.default_rng(0)
    actions = rng.choice([BAD, GOOD], (count, 1)) + 0.1 * rng.standard_normal((count, 1))
    states = rng.standard_normal((2 * count, 2))
    return OfflineData(
        states=torch.from_numpy(states).float(),
        actions=torch.from_numpy(actions).float(),
        rewards=torch.from_numpy(actions[:, 0]).float(),
        terminals=torch.ones(count, dtype=torch.bool),
        timeouts=torch.zeros(count, dtype=torch.bool),
        starts=torch.arange(count + 1),
        low=torch.tensor([-1.0]),
        high=torch.tensor([1.0]),
        name="bandit",
    )


def small(config, steps=300):
    """The configuration with narrow networks and short loops."""
    changes = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, TrainConfig):
            changes[field.name] = replace(value, steps=steps, batch=64, lr=3e-3, log_every=100)
        elif field.name == "hidden":
            changes[field.name] = (32, 32)
        elif field.name in ("width", "energy_width"):
            changes[field.name] = 32
        elif is_dataclass(value):
            changes[field.name] = small(value, steps)
    return replace(config, **changes)


def finished(generator):
    """Run a generator to its end; return what it returns, and the last it yielded."""
    last = None
    while True:
        try:
            last = next(generator)
        except StopIteration as end:
            return end.value, last


@pytest.fixture(scope="module")
def data() -> OfflineData:
    return bandit()


@pytest.fixture(scope="module")
def behaviour(data, tmp_path_factory) -> Run:
    own = small(PolicyTraining(support=4, support_steps=5))
    loop = replace(own.behaviour_loop, steps=800, batch=256)
    config = replace(own, model=ModelConfig(64, depth=2), behaviour_loop=loop)
    run = Run(data, config, tmp_path_factory.mktemp("run"))
    list(run.train_behaviour())
    return run


@pytest.fixture(scope="module")
def policies(data, behaviour, tmp_path_factory):
    """All of them, trained; a weight of Q that is fit for a bandit where it has one."""
    found = {}
    for name, baseline in BASELINES.items():
        config = small(baseline.config())
        if name == "td3_bc":
            config = replace(config, alpha=1.0)
        folder = tmp_path_factory.mktemp(name)
        found[name], _ = finished(baseline.train(data, config, folder, behaviour))
    return found


def acted(policy, count=200, **options) -> np.ndarray:
    obs = np.random.default_rng(1).standard_normal((count, 2)).astype(np.float32)
    return policy.act(obs, **{"rng": Rng.per_sample(0, count), **options})


def test_cloning_does_the_mean_of_both_actions(policies):
    assert abs(acted(policies["bc"]).mean()) < 0.1


def test_cloning_with_noise_is_as_wide_as_the_data(policies, data):
    noisy = acted(policies["bc"].tuned(1.0))
    assert noisy.std() == pytest.approx(data.actions.std().item(), rel=0.2)


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "bc"])
def test_all_others_prefer_the_better_action(name, policies):
    assert acted(policies[name]).mean() > 0.35


@pytest.mark.parametrize("name", ["iql", "idql", "sfbc"])
def test_those_that_only_weigh_the_data_stay_near_it(name, policies):
    actions = acted(policies[name])
    assert (np.abs(actions - GOOD) < 0.3).mean() > 0.9


@pytest.mark.parametrize("name", BASELINES)
def test_actions_are_rows_that_do_not_depend_on_their_batch(name, policies):
    obs = np.random.default_rng(2).standard_normal((5, 2)).astype(np.float32)
    policy, rng = policies[name], Rng.per_sample(3, 5)
    if name in ("bc", "iql"):
        policy = policy.tuned(1.0)
    together = policy.act(obs, rng=rng)
    alone = policy.act(obs[2:3], rng=Rng.per_sample(3, 1, first=2))
    assert together.shape == (5, 1)
    assert together.dtype == np.float32
    assert np.abs(together).max() <= 1
    np.testing.assert_allclose(together[2:3], alone, atol=1e-5)


@pytest.mark.parametrize("name", BASELINES)
def test_a_deterministic_action_takes_no_noise(name, policies):
    first, second = (acted(policies[name], 4, deterministic=True, rng=Rng(s)) for s in (0, 1))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", BASELINES)
def test_the_setting_matters_where_there_is_one(name, policies):
    knob = BASELINES[name].knob
    if knob is None:
        pytest.skip("nothing to set")
    low, high = (
        acted(knob.tuned(policies[name], value)) for value in knob.values[:: len(knob.values) - 1]
    )
    assert np.abs(low - high).max() > 0.01


@pytest.mark.parametrize("name", ["td3_bc", "diffusion_ql"])
def test_a_resumed_run_ends_in_the_same_bits(name, data, tmp_path):
    baseline = BASELINES[name]
    config = small(baseline.config(), 9)
    loop = replace(config.loop, save_every=4, log_every=1)
    config = replace(config, loop=loop)
    whole, _ = finished(baseline.train(data, config, tmp_path / "whole"))
    stopped = baseline.train(data, config, tmp_path / "cut")
    while next(stopped).done < 6:
        pass
    stopped.close()
    resumed, last = finished(baseline.train(data, config, tmp_path / "cut"))
    assert last.done == last.of == 9
    np.testing.assert_array_equal(acted(whole), acted(resumed))


def test_beta_counts_with_either_rule_of_the_critic(data, behaviour, tmp_path):
    config = small(SfBCConfig(critic=CriticConfig("expectile")))
    policy, _ = finished(BASELINES["sfbc"].train(data, config, tmp_path, behaviour))
    low, high = (acted(resampled(policy, beta)).mean() for beta in (0.0, 30.0))
    assert abs(low) < 0.15
    assert high > 0.35


def test_draws_are_judged_by_what_the_environment_gets():
    """Beyond the bounds, where no action is, this critic is at its best."""

    class Far(torch.nn.Module):
        def q(self, states, actions):
            return torch.where(actions[:, 0].abs() > 1, 100.0, -actions[:, 0])

    energy = CriticEnergy(Far())
    cond = {"state": torch.zeros(3, 2)}
    found = energy(torch.tensor([[-1.5], [0.5], [2.0]]), cond)
    assert found.tolist() == [-1.0, 0.5, 1.0]


def test_idql_acts_with_the_discount_it_learned_with(data, behaviour, tmp_path):
    own = Bootstrap(gamma=0.5, n_step=3, warm_up=0.25)
    config = small(IDQLConfig(bootstrap=own), 4)
    policy, _ = finished(BASELINES["idql"].train(data, config, tmp_path, behaviour))
    assert policy.discount == 0.5
    learned = policy.networks.critic.config
    assert (learned.n_step, learned.warm_up) == (3, 0.25)


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        (Bootstrap, {"gamma": 0.0}),
        (Bootstrap, {"n_step": 0}),
        (Bootstrap, {"warm_up": 1.5}),
        (TD3BCConfig, {"delay": 0}),
        (TD3BCConfig, {"tau": 0.0}),
        (TD3BCConfig, {"noise": -1.0}),
        (IQLConfig, {"expectile": 1.0}),
        (IQLConfig, {"tau": 2.0}),
        (IQLConfig, {"unit": 0.0}),
        (DiffusionQLConfig, {"levels": 0}),
        (DiffusionQLConfig, {"depth": 0}),
        (DiffusionQLConfig, {"tau": 0.0}),
        (IDQLConfig, {"candidates": 0}),
        (IDQLConfig, {"expectile": 0.2}),
        (SfBCConfig, {"beta": -1.0}),
        (SfBCConfig, {"candidates": 0}),
        *[
            (config, {"hidden": hidden})
            for config in (BCConfig, TD3BCConfig, IQLConfig, DiffusionQLConfig, IDQLConfig)
            for hidden in ((), (8, 0))
        ],
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value),
)
def test_numbers_out_of_range_are_told_at_once(config, wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"need.* {name}.* got .*{re.escape(str(value))}"):
        config(**wrong)


def batch_of(data: OfflineData) -> tuple[Tensor, dict]:
    loop = TrainConfig(batch=32)
    return Transitions(data, Bootstrap()).batches(loop)(0, torch.Generator().manual_seed(0))


def moved(module: torch.nn.Module) -> set[str]:
    return {name.split(".")[0] for name, p in module.named_parameters() if p.grad is not None}


def test_no_gradient_leaks_between_the_parts_of_td3_bc(data):
    actions, batch = batch_of(data)
    model = TD3BC(2, 1, TD3BCConfig())
    model.actor_loss(actions, batch).mean().backward()
    assert moved(model) == {"actor"}
    model.zero_grad()
    model.critic_loss(actions, batch, Rng(0)).mean().backward()
    assert moved(model) == {"q"}
    model.zero_grad()
    model.loss(actions, {**batch, "step": 1}, Rng(0)).mean().backward()
    assert moved(model) == {"q"}  # the actor waits for its turn


def test_no_gradient_leaks_between_the_parts_of_iql(data):
    actions, batch = batch_of(data)
    model = IQL(2, 1, IQLConfig())
    advantage = torch.randn(32)
    for loss, part in (
        (model.actor_loss(actions, batch, advantage), "actor"),
        (model.critic_loss(actions, batch), "q"),
        (model.value_loss(-model.v(batch["state"])[0]), "v"),
    ):
        model.zero_grad()
        loss.mean().backward()
        assert moved(model) == {part}


def test_no_gradient_leaks_between_the_parts_of_diffusion_ql(data):
    actions, batch = batch_of(data)
    model = DiffusionQL(2, 1, DiffusionQLConfig())
    model.policy_loss(actions, batch, Rng(0)).mean().backward()
    assert moved(model) == {"policy"}
    model.zero_grad()
    model.critic_loss(actions, batch, Rng(0)).mean().backward()
    assert moved(model) == {"q"}


def test_iql_without_temperature_is_cloning(data):
    actions, batch = batch_of(data)
    model = IQL(2, 1, IQLConfig(beta=0.0))
    found = model.actor_loss(actions, batch, torch.randn(32))
    torch.testing.assert_close(found, -model.actor.log_prob(batch["state"], actions))


def test_iql_weighs_by_the_clipped_exponential_of_the_advantage(data):
    actions, batch = batch_of(data)
    advantage = torch.linspace(-1, 2, 32)
    model = IQL(2, 1, IQLConfig(beta=3.0, unit=1.0))
    found = model.actor_loss(actions, batch, advantage)
    weight = torch.exp(3 * advantage).clamp(max=100)
    assert (weight == 100).any()
    torch.testing.assert_close(found, -weight * model.actor.log_prob(batch["state"], actions))
    # In its own unit, the unit of the reward does not matter.
    own, scaled = (IQL(2, 1, IQLConfig()) for _ in range(2))
    scaled.load_state_dict(own.state_dict())
    torch.testing.assert_close(
        own.actor_loss(actions, batch, advantage), scaled.actor_loss(actions, batch, 50 * advantage)
    )


def test_targets_know_terminals_from_timeouts():
    one = bandit(2)
    ended = Transitions(one, Bootstrap(gamma=0.9))
    cut = Transitions(replace(one, terminals=one.timeouts, timeouts=one.terminals), Bootstrap(0.9))
    draw = torch.Generator().manual_seed(0)
    loop = TrainConfig(batch=8)
    assert (ended.batches(loop)(0, draw)[1]["discount"] == 0).all()
    batch = cut.batches(loop)(0, draw)[1]
    torch.testing.assert_close(batch["discount"], torch.full((8,), 0.9))
    # s' is the episode's own last state, which follows its first one in the data.
    normal = cut.normaliser.states(one.states)
    own = (batch["state"][:, None] == normal).all(2).float().argmax(1)
    torch.testing.assert_close(batch["reached"], normal[own + 1])


def test_the_chain_draws_from_a_normal_law_whose_denoiser_is_known():
    """For a ~ N(0, 0.3^2) the best eps is known in closed form, and the chain's law with it."""
    chain = Chain(1, 1, DiffusionQLConfig(levels=1000))
    kept = torch.tensor(chain.shares)

    class Known(torch.nn.Module):
        def embed_cond(self, states):
            return torch.zeros(len(states), 1)

        def embed_time(self, times):
            return times[:, None]

        def body(self, x, embedding):
            k = kept[(embedding * 1000).round().long().clamp(0, 999)]
            return (1 - k).sqrt() * x / (k * 0.09 + 1 - k)

    chain.net = Known()
    drawn = chain(torch.zeros(20_000, 1), *chain.noise(20_000, Rng(0)))
    assert drawn.mean().item() == pytest.approx(0, abs=0.01)
    assert drawn.std().item() == pytest.approx(0.3, rel=0.02)
