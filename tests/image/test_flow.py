"""Kolmogorov flow: the solver against closed forms, symmetries, and the inverse problem."""

import math

import pytest
import torch

from domains.image.flow.fields import (
    FieldConfig,
    cached,
    held_out_fields,
    simulated,
    transformed,
)
from domains.image.flow.inverse import EVERY, METHODS, Setting, Settings, measured, scores
from domains.image.flow.model import ModelConfig, build, load_model, save_model
from domains.image.flow.solver import KolmogorovFlow
from guided import Rng
from guided.exact import gaussian
from guided.schedule import VE


def waves(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    axis = 2 * math.pi / size * torch.arange(size, dtype=torch.float64)
    return axis[:, None], axis[None]


def developed(size: int = 32, count: int = 3) -> torch.Tensor:
    """Fields of a flow that has forgotten its start, in double precision."""
    config = FieldConfig(size=size, trajectories=count, burn_in=6.0, snapshots=1)
    return simulated(config).double()


def test_parallel_flow_follows_its_closed_form() -> None:
    # w = a(t) cos 4y has no self-advection: a' = -16 a / Re - 4, whatever the amplitude.
    y, _ = waves(32)
    flow = KolmogorovFlow(32, reynolds=40.0)
    w = flow((3 * (4 * y).cos()).expand(1, 32, 32), 1.5)
    rest = -4 * 40 / 16
    amplitude = rest + (3 - rest) * math.exp(-16 * 1.5 / 40)
    torch.testing.assert_close(w[0], (amplitude * (4 * y).cos()).expand(32, 32))


def test_a_taylor_green_vortex_only_decays() -> None:
    y, x = waves(32)
    vortex = 2 * x.cos() * y.cos()
    flow = KolmogorovFlow(32, reynolds=25.0)
    flow._force.zero_()
    w = flow(vortex[None], 2.0)
    torch.testing.assert_close(w[0], math.exp(-2 * 2.0 / 25) * vortex)


def test_the_solver_is_of_fourth_order_and_exact_enough_at_its_default() -> None:
    w = developed()
    exact = KolmogorovFlow(32, dt=1 / 512)(w, 1.0)
    errors = [float((KolmogorovFlow(32, dt=dt)(w, 1.0) - exact).norm()) for dt in (1 / 16, 1 / 32)]
    assert 10 < errors[0] / errors[1] < 40
    quarter = KolmogorovFlow(32, dt=1 / 128)(w, 1.0)
    gap = (KolmogorovFlow(32)(w, 1.0) - quarter).norm() / quarter.norm()
    assert gap < 1e-4


def test_a_field_does_not_see_its_batch() -> None:
    w = developed()
    w = torch.cat([w, 100 * w])  # the company moves fast, and may blow up
    flow = KolmogorovFlow(32)
    together = flow(w, 0.5)
    alone = flow(w[:1], 0.5)
    torch.testing.assert_close(together[:1], alone, rtol=1e-12, atol=1e-12)


def test_a_field_that_blows_up_is_nan_and_alone() -> None:
    w = developed()
    out = KolmogorovFlow(32, dt=0.5)(torch.cat([0.01 * w[:1], 1e4 * w[:1]]), 2.0)
    assert out[0].isfinite().all() and out[1].isnan().all()


@pytest.mark.parametrize("seed", range(4))
def test_transformed_fields_have_transformed_futures(seed: int) -> None:
    flow, w = KolmogorovFlow(32), developed()
    moved = [torch.Generator().manual_seed(seed) for _ in range(2)]
    after = transformed(flow(w, 0.5), moved[0])
    torch.testing.assert_close(after, flow(transformed(w, moved[1]), 0.5), rtol=0, atol=1e-5)


def test_the_step_limit_is_the_one_of_the_equation() -> None:
    y, _ = waves(64)
    # u = sin 4y / 4 has the speed 1 / 4 at most.
    w = (-(4 * y).cos()).expand(1, 64, 64)
    flow = KolmogorovFlow(64)
    torch.testing.assert_close(flow.speed(w), torch.tensor([0.25]).double())
    torch.testing.assert_close(flow.longest_step(w), torch.tensor([2.8 / (64 / 3) / 0.25]).double())


def test_snapshots_are_cached_and_splits_differ(tmp_path) -> None:
    config = FieldConfig(size=16, trajectories=2, burn_in=1.0, snapshots=2)
    first = cached(config, "train", tmp_path)
    assert first.shape == (4, 16, 16)
    torch.testing.assert_close(cached(config, "train", tmp_path), first)
    assert (cached(config, "test", tmp_path) - first).abs().max() > 0.1
    with pytest.raises(ValueError, match="unknown split"):
        simulated(config, "validation")


def test_held_out_fields_are_of_test_flows_at_times_of_their_own() -> None:
    config = FieldConfig(size=16, trajectories=6, burn_in=1.0, snapshots=3)
    fields, flows = held_out_fields(config), simulated(config, "test").unflatten(0, (6, 3))
    times = [
        (flow == one).all(-1).all(-1).nonzero().item()
        for flow, one in zip(flows, fields, strict=True)
    ]
    assert len(set(times)) > 1
    assert torch.equal(fields, held_out_fields(config))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_recovers_and_is_scored(name: str) -> None:
    prior = gaussian(torch.zeros(1, 16, 16), 1.0).denoiser(VE())
    truth = Rng(0).normal((1, 16, 16))
    measurement = measured(truth, 1.0, 0.1, 0.5, Rng(1))
    assert measurement.seen.shape == (16 // EVERY, 16 // EVERY)
    settings = Settings(members=8, steps=5, levels=4, moves=3, walk=4)
    *_, x = METHODS[name](Setting(prior, measurement, settings, Rng(2)))
    assert x.shape == (8, 1, 16, 16)
    figures = scores(x, truth)
    assert 0 < figures["rel_l2"] < 3 and figures["crps"] > 0
    assert (measurement.tally.rows > 0) == (name != "prior")


def test_models_survive_saving(tmp_path) -> None:
    config = ModelConfig(size=16, widths=(8, 16), depth=1, patch=2)
    denoiser = build(config)
    save_model(tmp_path / "model", config, denoiser.state_dict())
    loaded, found = load_model(tmp_path / "model")
    assert found == config
    x, level = Rng(0).normal((2, 1, 16, 16)), denoiser.schedule.level(0.5)
    torch.testing.assert_close(loaded(x, level).x0, denoiser(x, level).x0, rtol=0, atol=1e-3)


def test_the_solver_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="even size"):
        KolmogorovFlow(9)
    with pytest.raises(ValueError, match="has 16 points"):
        KolmogorovFlow(16)(torch.zeros(1, 8, 8), 1.0)
    with pytest.raises(ValueError, match="runs forward"):
        KolmogorovFlow(16)(torch.zeros(1, 16, 16), -1.0)
