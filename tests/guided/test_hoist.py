"""Hoisted networks give what the networks themselves give, and know a raw condition."""

import pytest
import torch

from guided import DDIM, NetDenoiser, Rng, VPLinear
from guided.guidance import CEP, EnergyNet, HoistedEnergy
from guided.hoist import HoistedDenoiser
from guided.nets import MLP, ResidualMLP, ScalarMLP
from guided.schedule import Level, RectifiedFlow, uniform

F64 = torch.float64
TIMES = uniform(6, start=0.99)


def normal(*shape, seed=0):
    return Rng(seed).normal(shape, F64)


def networks(cond_dim=2, schedule=None, prediction="eps"):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ResidualMLP(6, cond_dim, width=8, depth=2, time_features=4).double()
        f = ScalarMLP(6, cond_dim, width=8, depth=3, time_features=4).double()
    schedule = schedule or VPLinear()
    return NetDenoiser(net, schedule, prediction), EnergyNet(f, schedule)


@pytest.mark.parametrize("shape", [(5, 6), (7, 2, 3), (2, 1, 3, 2)])
def test_a_hoisted_run_is_the_run(shape) -> None:
    denoiser, energy = networks()
    x, cond = normal(*shape), normal(shape[0], 2, seed=1)
    plain = DDIM(CEP(denoiser, energy, 1.5)).sample(x, TIMES, cond, rng=Rng(0))
    quick = HoistedDenoiser(denoiser, TIMES, "actor")
    slope = HoistedEnergy(energy, TIMES, "energy")
    parts = {"actor": quick.embed(cond), "energy": slope.embed(cond)}
    found = DDIM(CEP(quick, slope, 1.5)).sample(x, TIMES, parts, rng=Rng(0))
    torch.testing.assert_close(found, plain, rtol=1e-10, atol=1e-10)
    assert found.dtype == F64


@pytest.mark.parametrize("prediction", ["x0", "eps", "v", "flow"])
def test_every_prediction_and_times_off_the_grid(prediction: str) -> None:
    schedule = RectifiedFlow() if prediction == "flow" else VPLinear()
    denoiser, energy = networks(schedule=schedule, prediction=prediction)
    quick, slope = HoistedDenoiser(denoiser, TIMES), HoistedEnergy(energy, TIMES)
    x, cond = normal(5, 6), normal(5, 2, seed=1)
    per_row = schedule.level(torch.linspace(0.1, 0.9, 5, dtype=F64)[:, None])
    for level in (schedule.level(TIMES[2]), schedule.level(0.1234), per_row):
        torch.testing.assert_close(quick(x, level, quick.embed(cond)), denoiser(x, level, cond))
        for name in ("forward", "slope"):
            found = getattr(slope, name)(x, level, slope.embed(cond))
            torch.testing.assert_close(found, getattr(energy, name)(x, level, cond))


def test_no_time_of_the_grid_is_embedded_twice() -> None:
    denoiser, _ = networks()
    calls = []
    denoiser.net.time.register_forward_hook(lambda *_: calls.append(1))
    quick = HoistedDenoiser(denoiser, TIMES)
    assert len(calls) == 1
    DDIM(quick).sample(normal(5, 6), TIMES, quick.embed(normal(5, 2)), rng=Rng(0))
    assert len(calls) == 1
    quick(normal(5, 6), Level(0.5, 0.6, 0.8), quick.embed(normal(5, 2)))
    assert len(calls) == 2


def test_networks_without_conditions_hoist_their_times() -> None:
    denoiser, energy = networks(cond_dim=0)
    x = normal(5, 6)
    plain = DDIM(CEP(denoiser, energy)).sample(x, TIMES, rng=Rng(0))
    quick = CEP(HoistedDenoiser(denoiser, TIMES), HoistedEnergy(energy, TIMES))
    torch.testing.assert_close(DDIM(quick).sample(x, TIMES, rng=Rng(0)), plain)


def test_a_raw_or_missing_condition_is_refused() -> None:
    """One of width 1 would broadcast, and be wrong in silence."""
    x, level = normal(5, 6), VPLinear().level(TIMES[1])
    for cond_dim in (1, 2):
        for hoisted, net in zip((HoistedDenoiser, HoistedEnergy), networks(cond_dim), strict=True):
            quick = hoisted(net, TIMES)
            with pytest.raises(ValueError, match=r"embedded condition of width .*give embed"):
                quick(x, level, normal(5, cond_dim))
            with pytest.raises(ValueError, match=f"cond_dim={cond_dim} was given the condition No"):
                quick(x, level, None)
    quick = HoistedDenoiser(networks(cond_dim=0)[0], TIMES)
    with pytest.raises(ValueError, match=r"cond_dim=0 was given the condition \(5, 16\)"):
        quick(x, level, normal(5, 16))


def test_what_cannot_be_hoisted_is_refused() -> None:
    plain = NetDenoiser(MLP(6, 6), VPLinear())
    with pytest.raises(TypeError, match=r"got MLP without embed_time, embed_cond, body"):
        HoistedDenoiser(plain, TIMES)
    with pytest.raises(TypeError, match=r"got MLP without"):
        HoistedEnergy(EnergyNet(MLP(6, 1), VPLinear()), TIMES)
    edm = NetDenoiser(ResidualMLP(6), VPLinear(), "edm")
    with pytest.raises(ValueError, match="'edm'"):
        HoistedDenoiser(edm, TIMES)
