"""Policies guided by contrast, by name: as the formulas say, at their cost, neutral, refused."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from domains.rl.contrast import no_state
from domains.rl.model import energy
from domains.rl.stack import standard_stack
from guided.energy import FunctionEnergy
from guided.guidance import BestOfN
from guided.guidance.level_rng import level_rng
from guided.guidance.registry import Named
from guided.hoist import HoistedDenoiser
from guided.nets import Control, Skip
from guided.rng import Rng, initial_weights
from guided.sampler import Sampler
from tests.rl.contrasts import OBS, A, S, imitated, named, networks, policy

SEEN = np.float32([[1, 0], [-1, 0], [-1, 0], [1, 0], [1, 0]])
NAMES = ("cfg", "icg", "tsg", "stg", "autoguidance")


# Formulas


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A behaviour that was trained for a moment, with hidden states and a snapshot."""
    return imitated(tmp_path_factory.mktemp("run"), 500, drop=0.3, weak=True)


@pytest.fixture(scope="module")
def learned(run):
    """Its networks, with an energy that knows nothing."""
    with initial_weights(5):
        return replace(run.networks, energy=energy(run.config.model, 2, 1))


def predicted(p, x, cond_of):
    """What the policy's guided denoiser says at its second time, and what the networks say."""
    level = p.denoiser.schedule.level(p.times[1])
    state = p.networks.normaliser.states(torch.from_numpy(OBS))
    asked = []
    p._sampler.sample = lambda x, times, cond, rng: asked.append(cond) or x  # type: ignore
    p.act(OBS)
    found = p._sampler.denoiser(x, level, asked[0])
    return found.x0, cond_of(p.networks, level, state)


def by_formula(name, x, w):
    """The same from the networks as they are trained, given raw states."""

    def mixed(nets, level, state):
        net = nets.behaviour
        strong = net(x, level, state).x0
        weak = {
            "cfg": lambda: net(x, level, no_state(state)),
            "icg": lambda: net(
                x, level, level_rng(0, level, "ICG").normal((1, S)).expand_as(state)
            ),
            "stg": lambda: net.controlled(
                x, level, state, Control(skip=Skip(frozenset({1}), 0.25))
            ),
            "autoguidance": lambda: nets.weak(x, level, state),
        }[name]().x0
        return weak + w * (strong - weak)

    return mixed


@pytest.mark.parametrize("name", ["cfg", "icg", "stg", "autoguidance"])
def test_a_policy_is_guided_by_the_formula(name):
    x = Rng(1).normal((5, A))
    options = {"keep": 0.25} if name == "stg" else {}
    own = policy(named(name, 2.5, **options))
    found, wanted = predicted(own, x, by_formula(name, x, 2.5))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["cfg", "autoguidance"])
def test_the_energy_acts_around_the_contrast(name):
    x = Rng(1).normal((5, A))

    def wanted(nets, level, state):
        slope = nets.energy.slope(x, level, state)
        return by_formula(name, x, 2.5)(nets, level, state) - (
            1.5 * level.sigma**2 / level.alpha * slope
        )

    found, expected = predicted(policy(named(name, 2.5), scale=1.5), x, wanted)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [0.0, 2.0])
def test_the_neutral_scale_is_the_policy_itself(learned, name, scale):
    plain = policy(own=learned, scale=scale, steps=8)
    wanted = plain.act(SEEN, seed=1)
    for null, weak in ((True, True), (name == "cfg", name == "autoguidance")):
        own = replace(learned, weak=learned.weak if weak else None)
        if not null:
            own = replace(own, behaviour=deepcopy(own.behaviour))
            own.behaviour.net.nothing = None
        neutral = policy(named(name, 1.0), own, scale=scale, steps=8)
        assert (neutral.act(SEEN, seed=1) == wanted).all()
    pushed = plain.guided(named=named(name, 3.0)).act(SEEN, seed=1)
    assert np.abs(pushed - wanted).max() > 1e-2


@pytest.mark.parametrize("name", ["none", *NAMES, "cfg+stg", "past", "pcg"])
def test_network_calls_are_as_declared(name, monkeypatch):
    calls = []
    output = HoistedDenoiser.output

    def counted(self, x, *rest):
        calls.append((self.part, len(x)))
        return output(self, x, *rest)

    monkeypatch.setattr(HoistedDenoiser, "output", counted)
    policy(Named(name), scale=1.0).act(OBS)
    each = {
        "none": [("behaviour", 5)],
        "past": [("behaviour", 5)],
        "cfg+stg": [("behaviour", 15)],
        "autoguidance": [("behaviour", 5), ("weak", 5)],
    }.get(name, [("behaviour", 10)])
    if name == "pcg":  # a step, then a correction, but for the last
        each = [("behaviour", 5), ("behaviour", 10)]
        assert calls == (each * 4)[:-1]
    else:
        assert calls == each * 4


@pytest.mark.parametrize("name", [*NAMES, "adaptive", "apg"])
@pytest.mark.parametrize("candidates", [1, 3])
def test_an_action_does_not_know_its_batch(learned, name, candidates):
    p = policy(Named(name), learned, steps=8)
    if candidates > 1:
        p = p.guided(lambda own: _best(own, candidates))
    together = p.act(SEEN, rng=Rng([7, 8, 9, 10, 11]))
    np.testing.assert_allclose(together[3], p.act(SEEN[3], rng=Rng([10])), atol=1e-4)
    assert len(np.unique(together)) >= 4  # one may be at a bound


def _best(own, candidates):
    sampler = standard_stack(own)
    assert isinstance(sampler, Sampler)
    return BestOfN(sampler, FunctionEnergy(lambda a, cond=None: a.sum(1)), candidates)


def test_a_scale_of_the_energy_per_row_goes_with_a_contrast(learned):
    p, scales = policy(named("cfg", 2.0), learned, steps=8), np.array([0.0, 1.0, 5.0, 1.0, 0.0])
    got = p.act(SEEN, rng=Rng(range(5)), scale=scales)
    for i, scale in enumerate(scales):
        alone = p.act(SEEN[i], rng=Rng([i]), scale=float(scale))
        np.testing.assert_allclose(got[i], alone, atol=1e-4)
    assert np.abs(got - p.act(SEEN, rng=Rng(range(5))))[1:4].max() > 1e-3


# What is refused


@pytest.mark.parametrize(
    ("guidance", "message"),
    [
        (named("cfg"), "cfg needs a null condition.*; this policy has none"),
        (named("autoguidance"), "autoguidance needs a weak network.*; this policy has none"),
        (named("pag"), "pag needs attention in its layers; this policy has none"),
        (named("gfcg"), "gfcg needs a classifier; this policy has none"),
        (named("stg", layers=(3,)), r"blocks 0 to 2 of the network, got \[3\]"),
        (named("stg", radius=1.0), "the guidance stg has no option 'radius'"),
    ],
)
def test_what_a_policy_lacks_is_said(guidance, message):
    with pytest.raises(ValueError, match=message):
        policy(guidance, networks(null=False, weak=False))


def test_a_method_of_steps_does_not_go_with_the_energy():
    assert policy(named("adaptive")).act(OBS).shape == (5, A)
    with pytest.raises(ValueError, match="adaptive does not go with what this policy is sampled"):
        policy(named("adaptive"), scale=1.0)


def test_an_observation_of_nan_is_not_taken_for_none():
    wrong = np.full((2, S), np.nan, np.float32)
    with pytest.raises(ValueError, match="an observation holds NaN, which this policy would"):
        policy().act(wrong)
    assert np.isnan(policy(own=networks(null=False)).act(wrong)).all()


def test_another_policy_of_the_networks_keeps_its_guidance():
    p = policy(named("stg", 3.0))
    assert (p.guided(steps=4).act(OBS, seed=0) == p.act(OBS, seed=0)).all()
    plain = policy().act(OBS, seed=0)
    assert (p.guided(named=Named()).act(OBS, seed=0) == plain).all()
    own = p.guided(lambda q: standard_stack(q, 1.0))
    assert (own.act(OBS, seed=0) == p.act(OBS, seed=0, scale=1.0)).all()
    with pytest.raises(ValueError, match="a stack of its own, which may not read named"):
        own.guided(named=Named("tsg"))
