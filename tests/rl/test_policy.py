"""The policy object: shapes, seeds, guidance, files, and the interface of other libraries."""

import gymnasium
import numpy as np
import pytest
import torch

from domains.rl.critics.critic import Critic, CriticConfig
from domains.rl.data.normalise import Normaliser
from domains.rl.model import ModelConfig, behaviour, energy
from domains.rl.networks import Networks
from domains.rl.policy import DiffusionPolicy, Sampling
from domains.rl.stack import CriticEnergy, standard_stack
from guided.checkpoint import CheckpointError
from guided.guidance import SCG
from guided.rng import Rng
from guided.samplers import DDIM

S, A = 3, 2
MODEL = ModelConfig(width=16, depth=2, energy_width=16, energy_depth=2)


def networks(with_energy=True, with_critic=True):
    torch.manual_seed(0)
    own = behaviour(MODEL, S, A)
    normaliser = Normaliser(
        torch.tensor([1.0, 0.0, -1.0]), torch.tensor([2.0, 1.0, 0.5]),
        torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 10.0]),
    )  # fmt: skip
    critic = Critic(S, A, CriticConfig(hidden=(16,), fourier=4)) if with_critic else None
    noisy = energy(MODEL, S, A) if with_energy else None
    return Networks(own, normaliser, critic, noisy, MODEL)


def policy(**sampling):
    return DiffusionPolicy(networks(), Sampling(steps=6, **sampling))


OBS = np.random.default_rng(0).normal(size=(5, S)).astype(np.float32)


def test_shapes_bounds_and_types():
    many = policy().act(OBS, seed=1)
    assert many.shape == (5, A) and many.dtype == np.float32
    assert (many >= [-2, 0]).all() and (many <= [2, 10]).all()
    one = policy().act(OBS[0], seed=1)
    assert one.shape == (A,)
    assert policy().act(OBS[:0], seed=1).shape == (0, A)
    for candidates in (1, 3):
        nothing = policy(candidates=candidates).act(OBS[:0], deterministic=True)
        assert nothing.shape == (0, A)


def test_seeds_repeat_and_the_policys_own_stream_goes_on():
    p = policy()
    assert (p.act(OBS, seed=3) == p.act(OBS, seed=3)).all()
    assert (p.act(OBS, seed=3) != p.act(OBS, seed=4)).any()
    assert (p.act(OBS) != p.act(OBS)).any()
    assert (policy().act(OBS) == policy().act(OBS)).all()


@pytest.mark.parametrize("candidates", [1, 4])
def test_deterministic_actions_depend_on_the_observation_alone(candidates):
    p = policy(candidates=candidates)
    alone = np.stack([p.act(o, deterministic=True) for o in OBS])
    np.testing.assert_allclose(p.act(OBS, deterministic=True), alone, atol=1e-4)


def test_a_row_with_its_own_stream_does_not_know_its_batch():
    p = policy(candidates=3)
    together = p.act(OBS, rng=Rng([7, 8, 9, 10, 11]))
    np.testing.assert_allclose(together[3], p.act(OBS[3], rng=Rng([10])), atol=1e-4)


def test_scale_zero_is_the_behaviour_and_never_asks_the_energy():
    with_energy, without = (
        policy(scale=0.0),
        DiffusionPolicy(networks(with_energy=False), Sampling(steps=6, scale=0.0)),
    )
    assert (with_energy.act(OBS, seed=1) == without.act(OBS, seed=1)).all()

    def fail(*_):
        raise AssertionError("the energy was called")

    with_energy.energy.slope = fail
    with_energy.act(OBS, seed=1)
    with pytest.raises(AssertionError):
        with_energy.act(OBS, seed=1, scale=1.0)
    for p in (with_energy, without):  # nor where every row has its own
        assert (p.act(OBS, seed=1, scale=np.zeros(5)) == without.act(OBS, seed=1)).all()
    with pytest.raises(ValueError, match="no energy"):
        without.act(OBS, seed=1, scale=np.eye(5)[0])


def test_a_scale_per_row_acts_as_each_scale_does():
    p = policy(candidates=2)
    scales = np.array([0.0, 1.0, 5.0, 1.0, 0.0])
    got = p.act(OBS, rng=Rng(range(5)), scale=scales)
    for i, scale in enumerate(scales):
        alone = p.act(OBS[i], rng=Rng([i]), scale=float(scale))
        np.testing.assert_allclose(got[i], alone, atol=1e-4)


def test_guidance_lowers_the_energy_and_candidates_raise_q():
    many = np.repeat(OBS, 40, 0)
    p = policy()
    state = {"state": p.networks.normaliser.states(torch.from_numpy(many))}

    def q(actions):
        scaled = p.networks.normaliser.actions(torch.from_numpy(actions))
        return -CriticEnergy(p.networks.critic)(scaled, state).mean().item()

    assert q(policy(scale=0.0, candidates=8).act(many, seed=0)) > q(
        policy(scale=0.0).act(many, seed=0)
    )
    level = p.denoiser.schedule.level(1e-3)

    def e(actions):
        scaled = p.networks.normaliser.actions(torch.from_numpy(actions))
        return p.networks.energy(scaled, level, state["state"]).mean().item()

    assert e(p.act(many, seed=0, scale=20.0)) < e(p.act(many, seed=0, scale=0.0))


def stack(p):
    energy = CriticEnergy(p.networks.critic)
    return SCG(DDIM(p.denoiser, eta=1.0), energy, candidates=4)


def test_another_policy_of_the_networks_keeps_the_seed_and_the_stack():
    def first(p):
        return p.act(OBS)

    standard = DiffusionPolicy(networks(), Sampling(steps=6), seed=5)
    assert (first(standard.guided()) == first(standard.guided())).all()
    assert (first(standard.guided()) != first(policy())).any()
    own = DiffusionPolicy(networks(), Sampling(steps=6), stack=stack, seed=5)
    wanted = first(own)
    assert (wanted != first(standard.guided())).any()
    assert (first(own.guided()) == wanted).all()
    assert (first(own.guided(steps=8)) != wanted).any()
    for field in ("scale", "candidates"):
        with pytest.raises(ValueError, match=f"may not read {field}; give the stack as well"):
            own.guided(**{field: 2})
    assert (first(own.guided(stack, candidates=2)) == wanted).all()  # this one does not read it
    back = own.guided(standard_stack, scale=2.0)
    assert (first(back) == first(standard.guided(scale=2.0))).all()


def test_any_stack_of_guidance_can_be_given():
    p = DiffusionPolicy(networks(), Sampling(steps=6), stack=stack)
    assert p.act(OBS, seed=0).shape == (5, A)
    with pytest.raises(ValueError, match="a stack of its own"):
        p.act(OBS, scale=2.0)


def test_saved_and_loaded_policies_act_alike(tmp_path):
    p = DiffusionPolicy(
        networks(), Sampling(6, 2.0, 3), keys=("observation",), environment="{}",
        shapes=((3,),), about={"data": "made", "reference": [0.0, 1.0]},
    )  # fmt: skip
    p.save(tmp_path / "p")
    loaded = DiffusionPolicy.load(tmp_path / "p")
    assert (p.act({"observation": OBS}, seed=1) == loaded.act({"observation": OBS}, seed=1)).all()
    assert loaded.environment == "{}" and loaded.about["data"] == "made"
    assert DiffusionPolicy.load(tmp_path / "p", candidates=1).sampling == Sampling(6, 2.0, 1)


def test_foreign_checkpoints_and_missing_networks_are_refused(tmp_path):
    from guided.checkpoint import save

    save(tmp_path / "other", {"model": {}}, model={"w": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="holds no diffusion policy"):
        DiffusionPolicy.load(tmp_path / "other")
    with pytest.raises(ValueError, match="no energy; train one, or give scale=0"):
        DiffusionPolicy(networks(with_energy=False), Sampling(scale=1.0))
    with pytest.raises(ValueError, match="no critic to pick by"):
        DiffusionPolicy(networks(with_critic=False), Sampling(candidates=2))


@pytest.mark.parametrize("obs", [np.zeros(4), np.zeros((5, 2)), np.zeros((2, 2, 3))])
def test_observations_of_another_shape_are_refused(obs):
    with pytest.raises(ValueError, match="got"):
        policy().act(obs)


def test_stable_baselines_evaluates_it_as_it_is():
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    torch.manual_seed(0)
    low, high = torch.tensor([-2.0]), torch.tensor([2.0])
    parts = Normaliser(torch.zeros(3), torch.ones(3), low, high)
    nets = Networks(behaviour(MODEL, 3, 1), parts, None, energy(MODEL, 3, 1), MODEL)
    env = gymnasium.make("Pendulum-v1", max_episode_steps=15)
    mean, std = evaluation.evaluate_policy(DiffusionPolicy(nets, Sampling(3)), env, 2, warn=False)
    assert np.isfinite([mean, std]).all() and mean < 0
