"""Guided sampling: the length of a step, its bounds, the last step, and scenes apart."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from domains.trajectory.asking import setting_of
from domains.trajectory.costs.cost import Cost
from domains.trajectory.costs.goal import GoalPoint
from domains.trajectory.costs.spacing import Apart
from domains.trajectory.guiding import Futures, Guidance, response
from domains.trajectory.predict import Sampling, sampled, unguided
from domains.trajectory.prepared import prepare
from guided.energy import Energy, FunctionEnergy, WeightedSum
from tests.trajectory.small_predictor import FUTURE, METHODS, MODEL, crowd, small, walkers

ONE = Sampling(samples=5, steps=1, start=0.4)
GUIDED = [m for m in METHODS if m != "none"]
NOTHING = FunctionEnergy(lambda p, cond=None: 0 * p.sum((1, 2, 3)))


class Counting(Energy):
    """Counts how often a gradient of an energy is taken."""

    differentiable = True

    def __init__(self, energy):
        self.energy, self.gradients = energy, 0

    def __call__(self, x0, cond=None):
        self.gradients += x0.requires_grad
        return self.energy(x0, cond)


def goal(prepared, i=0, agents=None, to=(9.0, 4.0)):
    """Ask agents of scene i to end at a point, metres from where the scene's origin is."""
    setting = setting_of(prepared, prepared.scenes[i], prepared.cases[i])
    agents = range(len(setting.ids)) if agents is None else agents
    return GoalPoint(setting, agents, setting.origin + np.array(to))


def run(prepared, energies, how=ONE, **guidance):
    """Return what a method does, and what happens without."""
    method = Guidance(**guidance)
    told = sampled(prepared, how, lambda p, times: method.sampler(p, times, energies))
    return told, sampled(prepared, how, unguided)


def with_latents(predictor, basis, std):
    """Give a predictor latents that are made by hand."""
    predictor.latents.basis.copy_(torch.as_tensor(basis))
    predictor.latents.std.copy_(torch.as_tensor(std))
    return predictor


def scaled_paths():
    """Return two latents that pull the whole way along x and y, and two that move the middle."""
    rise = torch.arange(1.0, FUTURE + 1) / FUTURE
    bump = (math.pi * rise).sin()
    basis = torch.zeros(FUTURE, 2, 4)
    for k, shape in enumerate((rise, rise, bump, bump)):
        basis[:, k % 2, k] = shape
    return basis.reshape(2 * FUTURE, 4) / basis.reshape(-1, 4).norm(dim=0)


def test_response_is_the_longest_way_of_a_point():
    predictor = small()
    prepared = prepare(predictor, crowd()[:1])
    random = torch.Generator().manual_seed(0)
    unit = torch.randn(200_000, MODEL.latents, generator=random)
    unit = unit / unit.norm(dim=1, keepdim=True)
    ways = predictor.latents.decode(unit) - predictor.latents.decode(torch.zeros_like(unit))
    longest = float(ways.norm(dim=-1).max())
    assert 0.99 * response(prepared) < longest**2 <= 1.0001 * response(prepared)


@pytest.mark.parametrize("prior", ["ogd", "vanilla"])
def test_half_a_step_alone_reaches_the_goal(prior):
    """Where the end is what latents move most, in both directions alike."""
    predictor = with_latents(small(prior), scaled_paths(), [3.0, 3.0, 0.5, 0.5])
    prepared = prepare(predictor, [walkers(2)])
    how = replace(ONE, start=1.0)
    settings = {"strength": 0.5, "clip": math.inf, "shaped": False}
    told, plain = run(prepared, [goal(prepared)], how, method="ecm", **settings)
    wanted = torch.tensor([9.0, 4.0])
    assert (plain[:, :, -1] - wanted).norm(dim=-1).min() > 1.0
    torch.testing.assert_close(told[:, :, -1], wanted.expand(5, 2, 2), atol=1e-3, rtol=0)


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.9])
def test_a_step_of_ecm_by_its_formula(strength):
    r"""The end moves by -2 w J J^T (p - g), J being its derivative by the latents."""
    prepared = prepare(small(), [walkers(2)])
    settings = {"strength": strength, "clip": math.inf, "shaped": False}
    told, plain = run(prepared, [goal(prepared)], method="ecm", **settings)
    latents = prepared.predictor.latents
    jacobian = (latents.basis * latents.std).reshape(FUTURE, 2, -1)[-1]
    gap = plain[:, :, -1] - torch.tensor([9.0, 4.0])
    angle = prepared.inputs.headings[0, :, -1]
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).view(-1, 2, 2)
    shrink = turn @ jacobian @ jacobian.T @ turn.mT / response(prepared)  # (A, 2, 2)
    wanted = plain[:, :, -1] - 2 * strength * torch.einsum("aij,saj->sai", shrink, gap)
    torch.testing.assert_close(told[:, :, -1], wanted, atol=1e-3, rtol=0)


@pytest.mark.parametrize("prior", ["ogd", "vanilla"])
def test_a_shaped_step_by_its_formula(prior):
    r"""The end moves by -2 w K C K^T (p - g) / r, K being its derivative by u, C of the modes."""
    prepared = prepare(small(prior), [walkers(2)])
    how = ONE if prior == "ogd" else replace(ONE, start=1.0)
    settings = {"strength": 0.4, "clip": math.inf}
    told, plain = run(prepared, [goal(prepared)], how, method="ecm", **settings)
    modes, latents = prepared.modes, prepared.predictor.latents
    for a in range(2):
        # The covariance of draws from the mixture of the agent's modes, in u.
        random = torch.Generator().manual_seed(a)
        m = torch.multinomial(modes.probabilities[0, a], 400_000, True, generator=random)
        noise = torch.randn(400_000, latents.dim, generator=random)
        x = modes.latents[0, a, m] + modes.spread[0, a, m] * noise
        C = ((x - prepared.mean[0, a]) / prepared.std[0, a]).T.cov()
        turn = prepared.inputs.headings[0, a, -1]
        turned = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()]).view(2, 2)
        K = turned @ (latents.basis * latents.std * prepared.std[0, a]).reshape(FUTURE, 2, -1)
        largest = torch.linalg.matrix_norm(K @ C @ K.mT, ord=2).max()
        gap = plain[:, a, -1] - torch.tensor([9.0, 4.0])
        wanted = plain[:, a, -1] - 0.8 / largest * gap @ (K[-1] @ C @ K[-1].T)
        torch.testing.assert_close(told[:, a, -1], wanted, atol=0.05, rtol=0.02)
        assert (told[:, a, -1] - plain[:, a, -1]).norm(dim=-1).min() > 0.01


def test_a_step_of_mpgd_is_that_of_ecm_in_other_units():
    """It has no spread: a latent of deviation s moves s squared times as far."""
    prepared = prepare(small(), [walkers(2)])
    energy = Futures(prepared, [goal(prepared)])
    u = prepared.noise(5, 0)
    settings = {"strength": 0.3, "clip": math.inf, "shaped": False}
    denoisers = [
        Guidance(m, **settings).sampler(prepared, [0.4, 0.0], energy.energies).denoiser
        for m in ("ecm", "mpgd")
    ]
    level = prepared.denoiser.schedule.level(0.4)
    plain, ecm, mpgd = (d(u, level).x0 for d in (prepared.denoiser, *denoisers))
    torch.testing.assert_close((ecm - plain) * prepared.std**2, mpgd - plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["ecm", "ecmr"])
@pytest.mark.parametrize("clip", [0.01, 0.3])
def test_no_latent_moves_farther_than_the_clip(method, clip):
    """In deviations over all data, whatever the spread of the prior; far goals move it so far."""
    prepared = prepare(small(), [walkers(2)])
    energies = [goal(prepared, to=(2e3, 1e3))]
    sampler = Guidance(method, 1.0, clip).sampler(prepared, [0.4, 0.0], energies)
    u, level = prepared.noise(5, 0), prepared.denoiser.schedule.level(0.4)
    start = prepared.denoiser(u, level).x0
    if method == "ecmr":  # a jump to a reference has no bound
        start = sampler.denoiser.denoiser.replaced(start)
    moves = (sampler.denoiser(u, level).x0 - start) * prepared.std
    assert float(moves.abs().max()) == pytest.approx(clip, rel=1e-3)
    assert (moves.abs() > 0.99 * clip).float().mean() > 0.9


@pytest.mark.parametrize("method", GUIDED)
@pytest.mark.parametrize("steps", [1, 4])
def test_the_last_step_is_left_alone_if_asked(method, steps):
    prepared = prepare(small(), crowd()[1:2])
    how = replace(ONE, steps=steps)
    taken = {}
    for last in (True, False):
        energy = Counting(goal(prepared))
        settings = {"method": method, "strength": 0.2, "last": last}
        told, plain = run(prepared, [energy], how, **settings)
        taken[last] = energy.gradients
        assert torch.equal(told, plain) == (steps == 1 and not last)
    assert taken == {True: steps, False: steps - 1}


@pytest.mark.parametrize("method", GUIDED)
def test_scenes_of_a_batch_do_not_mix(method):
    """The first scene has a goal, the second none, in the same run; and the other way round."""
    scenes, how = [walkers(2), walkers(4)], replace(ONE, steps=3)
    prepared = prepare(small(), scenes)
    settings = {"method": method, "strength": 0.3}
    left, plain = run(prepared, [goal(prepared), NOTHING], how, **settings)
    right, _ = run(prepared, [NOTHING, goal(prepared, 1)], how, **settings)
    both, _ = run(prepared, [goal(prepared), goal(prepared, 1)], how, **settings)
    torch.testing.assert_close(left[5:], plain[5:], atol=1e-4, rtol=0)
    torch.testing.assert_close(right[:5], plain[:5], atol=1e-4, rtol=0)
    torch.testing.assert_close(left[:5], both[:5], atol=1e-4, rtol=0)
    torch.testing.assert_close(right[5:], both[5:], atol=1e-4, rtol=0)
    assert (left[:5] - plain[:5]).abs().max() > 0.1 < (right[5:] - plain[5:]).abs().max()


@pytest.mark.parametrize("method", GUIDED)
def test_guidance_comes_nearer_to_the_goal_and_leaves_others(method):
    """Only agent 0 is sent; agents 1 and 2 feel it through the network alone."""
    prepared, how = prepare(small(), [walkers(3)]), replace(ONE, steps=6, start=1.0)
    strength = 2.0 if method == "score-function" else 0.2
    energies = [goal(prepared, agents=[0])]
    told, plain = run(prepared, energies, how, method=method, strength=strength)
    before, after = (
        (x[:, :, -1] - torch.tensor([9.0, 4.0])).norm(dim=-1).mean(0) for x in (plain, told)
    )
    assert after[0] < 0.8 * before[0]
    assert (told[:, 1:] - plain[:, 1:]).abs().max() < 0.5 * (told[:, 0] - plain[:, 0]).abs().max()


@pytest.mark.parametrize("method", GUIDED)
def test_a_strength_of_zero_is_neutral(method):
    prepared = prepare(small(), crowd()[:2])
    energies = [goal(prepared), goal(prepared, 1)]
    told, plain = run(prepared, energies, replace(ONE, steps=3), method=method, strength=0.0)
    assert torch.equal(told, plain)


def test_energies_are_those_of_the_scenes_and_their_parts_add_up():
    prepared = prepare(small(), [walkers(2), walkers(4)])
    weighted = WeightedSum({"a": goal(prepared, 1), "b": goal(prepared, 1, [2])}, {"b": 3.0})
    futures = Futures(prepared, [goal(prepared), weighted])
    u = prepared.noise(3, 0)
    energies, parts = futures(u), futures.parts(u)
    p = prepared.decode(u)
    gaps = (p[:, :, -1] - torch.tensor([9.0, 4.0])).square().sum(-1)
    wanted = torch.cat([gaps[:3, :2].sum(1), gaps[3:].sum(1) + 3 * gaps[3:, 2]])
    torch.testing.assert_close(energies, wanted)
    torch.testing.assert_close(parts.sum(1), energies)
    assert not parts[:3, 2:].any()
    torch.testing.assert_close(parts[3:, 2], 4 * gaps[3:, 2])


def test_energies_that_are_no_sum_over_agents_have_no_parts():
    prepared = prepare(small(), [walkers(2), walkers(3)])
    setting = setting_of(prepared, prepared.scenes[0], prepared.cases[0])
    apart: Cost = Apart(setting, [0, 1], 2.0)
    for other in (NOTHING, apart, WeightedSum({"a": goal(prepared), "b": apart})):
        assert Futures(prepared, [other, goal(prepared, 1)]).parts(prepared.noise(2, 0)) is None


def test_as_many_energies_as_scenes_are_needed():
    prepared = prepare(small(), crowd()[:2])
    with pytest.raises(ValueError, match="2 scenes need as many energies, got 1"):
        Guidance("ecm").sampler(prepared, [0.4, 0.0], [NOTHING])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "magic"}, "unknown method 'magic'; expected"),
        ({"strength": -0.1}, r"a strength of 0 or more and a positive clip, got -0\.1 and 1"),
        ({"strength": math.nan}, "a strength of 0 or more"),
        ({"strength": math.inf}, "a strength of 0 or more"),
        ({"clip": 0.0}, r"a positive clip, got 0\.8 and 0\.0"),
        ({"clip": math.nan}, "a positive clip"),
    ],
    ids=str,
)
def test_impossible_guidance_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Guidance(**wrong)
