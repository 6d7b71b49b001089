"""The bandit of known truth, logs of it, the policy that explores, and the command."""

import json

import numpy as np
import pytest
import torch

from domains.rl.cli import main
from domains.rl.critics.critic import Critic, CriticConfig
from domains.rl.data.normalise import Normaliser
from domains.rl.model import ModelConfig, behaviour
from domains.rl.networks import Networks
from domains.rl.off_policy.acting import CappedIGW, losses
from domains.rl.off_policy.bandit import BEST, KINDS, LABELS, LEAST, MOST, WIDTH, Bandit, Diffusion
from domains.rl.off_policy.capped_igw import Cap
from domains.rl.off_policy.experiment import LOGGERS, Prediction, estimates, logged
from domains.rl.policy import DiffusionPolicy, Sampling
from guided import Rng
from tests.commands import refused

EVERY = torch.arange(LABELS)


def test_uniform_truth_in_closed_form():
    bandit = Bandit("uniform")
    normal = torch.distributions.Normal(torch.tensor(BEST).double(), WIDTH)
    mass = normal.cdf(torch.ones(())) - normal.cdf(-torch.ones(()))
    dips = (WIDTH * (2 * torch.pi) ** 0.5 * mass / 2).mean()
    expected = (MOST - (MOST - LEAST) * dips).item()
    assert bandit.truth(bandit.targets[0]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_targets_are_densities_and_draws_agree_with_the_truth(kind):
    bandit, rng = Bandit(kind), Rng(0)
    labels = bandit.contexts(100_000, rng)
    actions = bandit.reference(labels, 1, rng)
    loss = bandit.loss(labels, actions)[:, 0]
    for target in bandit.targets:
        assert target.nodes.exp().mean(1).tolist() == pytest.approx([1.0] * LABELS)
        density = target.log_density(labels, loss).exp()
        for terms, wanted in ((density, 1.0), (density * loss, bandit.truth(target))):
            error = (terms.std() / len(terms) ** 0.5).item()
            assert abs(terms.mean().item() - wanted) < 3.5 * error + 1e-9
    assert bandit.targets[2].nodes.exp().max().item() == pytest.approx(10)
    values = [bandit.truth(target) for target in bandit.targets]
    assert values[0] > values[1] > values[2]


def test_the_diffusion_law_is_the_mixture_up_to_its_steps():
    bandit = Bandit("diffusion")
    best = torch.tensor(BEST).double()
    away = best - 0.8 * best.sign()
    assert bandit.actions.mean(1).tolist() == pytest.approx(
        (0.25 * best + 0.75 * away).tolist(), abs=0.02
    )
    assert (bandit.actions.diff(dim=1) >= 0).all()  # a monotone map of the noise
    mixed, z = torch.tensor([2, 0, 2]), torch.tensor([0.1, 0.2, -0.3]).double()
    law = Diffusion()
    alone = [law(mixed[i : i + 1], z[i : i + 1]).item() for i in range(3)]
    assert law(mixed, z).tolist() == pytest.approx(alone)


def test_the_prediction_learns_the_loss():
    bandit, rng, prediction = Bandit("uniform"), Rng(0), Prediction()
    labels = bandit.contexts(20_000, rng)
    actions = bandit.reference(labels, 1, rng)
    before = prediction(labels, actions)
    assert (before == 0.5).all()
    prediction.learn(labels, actions[:, 0], bandit.loss(labels, actions)[:, 0])
    gap = prediction(EVERY, bandit.actions[..., None]) - bandit.losses
    assert gap.abs().mean() < 0.02


@pytest.mark.parametrize("logger", ["rejection", "among"])
def test_losses_fall_with_the_rounds(logger):
    log = logged(Bandit("uniform"), logger, 2000, Cap(draws=100), Rng(0))
    blocks = log.blocks()
    assert np.mean(blocks[-5:]) < np.mean(blocks[:5]) - 0.08
    plain = logged(Bandit("uniform"), "reference", 2000, Cap(), Rng(0))
    assert abs(np.mean(plain.blocks()[-5:]) - np.mean(plain.blocks()[:5])) < 0.08
    assert (plain.log_density == 0).all() and (plain.draws == 1).all()


@pytest.mark.parametrize("logger", LOGGERS)
def test_estimates_deviate_as_their_errors_say(logger):
    bandit, deviations = Bandit("uniform"), []
    for seed in range(16):
        rows = estimates(bandit, logged(bandit, logger, 400, Cap(draws=60), Rng(seed)))
        deviations.append([[row[way]["deviation"] for way in ("ips", "dr")] for row in rows[:2]])
    found = np.array(deviations)
    assert np.abs(found.mean(0)).max() < 0.9
    assert found.std(0).max() < 1.5 and found.std(0).min() > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("logger", LOGGERS)
def test_estimates_around_the_diffusion_law_cover_the_truth(logger):
    bandit = Bandit("diffusion")
    found = np.array(
        [
            [
                [row[way]["deviation"] for way in ("ips", "snips", "dr")]
                for row in estimates(bandit, logged(bandit, logger, 2000, Cap(), Rng(seed)))
            ]
            for seed in range(20)
        ]
    )
    assert (np.abs(found) <= 2).mean((0, 2)).min() > 0.8
    assert np.abs(found.mean(0)).max() < 0.8


def explorer(span=None, **settings):
    torch.manual_seed(0)
    model = ModelConfig(width=16, depth=2, energy_width=16, energy_depth=2)
    bounds = torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 10.0])
    normaliser = Normaliser(torch.zeros(3), torch.ones(3), *bounds)
    critic = Critic(3, 2, CriticConfig(hidden=(16,)))
    networks = Networks(behaviour(model, 3, 2), normaliser, critic, None, model)
    policy = DiffusionPolicy(networks, Sampling(steps=4, scale=0.0))
    return CappedIGW(policy, draws=16, span=span, **settings)


STATES = torch.randn(1, 3, generator=torch.Generator().manual_seed(0)).expand(4000, 3)


def q_values(actor, actions):
    return actor.value(actor.normaliser.states(STATES[: len(actions)]), actions)


def test_a_policy_explored_has_weights_that_give_the_policy_back():
    actor = explorer(tau=8, gamma=40)
    played = actor.play(STATES, Rng(1))
    plain = actor.policy.sample(STATES, Rng(2))
    weights = (-played.log_density).exp()
    explored, own = q_values(actor, played.actions), q_values(actor, plain)
    assert explored.mean() > own.mean() + 0.5 * own.std()
    for h in (lambda x, q: q, lambda x, q: x[:, 0], lambda x, q: x[:, 1].square()):
        first, second = weights * h(played.actions, explored), h(plain, own)
        error = (first.var() / 4000 + second.var() / 4000).sqrt()
        assert abs(first.mean() - second.mean()) < 3.5 * error
    assert abs(weights.mean() - 1) < 3.5 * weights.std() / 4000**0.5


def test_one_draw_or_tau_of_one_is_the_policy():
    actor = explorer(tau=1)
    assert (actor.play(STATES[:50], Rng(0)).log_density == 0).all()
    actor = explorer(tau=5)
    actor.draws = 1
    played = actor.play(STATES[:50], Rng(3))
    assert torch.equal(played.actions, actor.policy.sample(STATES[:50], Rng(3)))
    assert (played.log_density == 0).all()


def test_the_explorer_acts_as_policies_do():
    actor = explorer()
    obs = STATES[:5].numpy() + np.arange(5, dtype=np.float32)[:, None]
    many = actor.act(obs, rng=Rng([1, 2, 3, 4, 5]))
    assert many.shape == (5, 2) and (many >= [-2, 0]).all() and (many <= [2, 10]).all()
    np.testing.assert_allclose(actor.act(obs[3], rng=Rng([4])), many[3], atol=1e-4)
    assert (actor.act(obs) != actor.act(obs)).any()
    with pytest.raises(ValueError, match="random; act with the policy itself"):
        actor.act(obs, deterministic=True)


def test_values_become_losses():
    values = torch.tensor([[1.0, 3.0, 2.0], [5.0, 5.0, 5.0]])
    assert losses(values).tolist() == [[1.0, 0.0, 0.5], [0.0, 0.0, 0.0]]
    assert losses(values, 4.0).tolist() == [[0.5, 0.0, 0.25], [0.0, 0.0, 0.0]]
    assert losses(values, 1.0).tolist() == [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]


def test_an_explorer_needs_a_critic_and_a_span():
    actor = explorer()
    nets = actor.policy.networks
    blind = DiffusionPolicy(Networks(nets.behaviour, nets.normaliser), Sampling(4, 0.0))
    with pytest.raises(ValueError, match="no critic"):
        CappedIGW(blind)
    for bad in ({"draws": 0}, {"span": 0.0}, {"span": float("nan")}):
        with pytest.raises(ValueError, match="at least 1 draw and a span"):
            CappedIGW(actor.policy, **bad)
    for bad in ({"tau": 0.5}, {"gamma": -1.0}):
        with pytest.raises(ValueError, match="tau >= 1 and a finite gamma > 0"):
            CappedIGW(actor.policy, **bad)


def test_unknown_names_and_too_few_rounds_are_refused():
    with pytest.raises(ValueError, match="expected diffusion or uniform"):
        Bandit("gaussian")
    with pytest.raises(ValueError, match="at least 20 rounds"):
        logged(Bandit("uniform"), "among", 19, Cap(), Rng(0))


def test_the_command_prints_writes_and_draws(tmp_path, capsys):
    picture, figures = tmp_path / "p.png", tmp_path / "f.json"
    main(["off-policy", "--quick", "--picture", str(picture), "--json", str(figures)])
    said = capsys.readouterr().out
    assert "IPS estimates from CappedIGW logs" in said and "best tenth" in said
    assert picture.read_bytes().startswith(b"\x89PNG")
    facts = json.loads(figures.read_text())
    assert facts["options"]["draws"] == 200 and set(facts["logs"]) == set(KINDS)
    log = facts["logs"]["diffusion"]["rejection"]
    assert [row["target"] for row in log["targets"]] == ["reference", "softmax", "best tenth"]
    ips = log["targets"][0]["ips"]
    assert ips["deviation"] == pytest.approx(
        (ips["value"] - log["targets"][0]["truth"]) / ips["error"]
    )


def test_a_seed_repeats_the_figures(tmp_path):
    def run(name, seed):
        path = tmp_path / name
        main(["off-policy", "--quick", "--references", "uniform", "--seed", seed,
              "--json", str(path)])  # fmt: skip
        return json.loads(path.read_text())["logs"]

    assert run("a", "1") == run("b", "1") != run("c", "2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rounds", "3"], "at least 20 rounds"),
        (["--seed", "-1"], "a seed of 0 or more"),
        (["--tau", "0.2"], "tau >= 1"),
        (["--tau", "nan"], "tau >= 1"),
        (["--gamma", "0"], "gamma > 0"),
    ],
)
def test_the_command_refuses_in_a_sentence(options, message, capsys):
    assert message in refused(main, ["off-policy", *options], capsys)
