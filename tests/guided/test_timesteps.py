"""Schedules and grids of diffusers in our t."""

import math

import pytest
import torch
from torch import nn

from guided import DDIM, DDPM, DPMpp2M, NetDenoiser, Rng
from guided.adapters import (
    DiffusersDenoiser,
    DiffusersFlow,
    DiffusersSchedule,
    schedule_of,
    timesteps_grid,
)
from guided.schedule import RectifiedFlow
from tests.guided.tiny_models import assert_same, diffusers, unet

TABLES = {
    "linear": {},
    "stable": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "ends in noise": {"rescale_betas_zero_snr": True},
    "short": {"num_train_timesteps": 7, "beta_end": 0.5},
}


@pytest.mark.parametrize("name", TABLES)
def test_the_table_is_met_at_every_timestep(name):
    scheduler = diffusers.DDPMScheduler(**TABLES[name])
    schedule, table = schedule_of(scheduler), scheduler.alphas_cumprod.double()
    times = torch.arange(1, len(table) + 1).double() / len(table)
    alpha, sigma = schedule(times)
    torch.testing.assert_close(alpha, table.sqrt(), rtol=0, atol=1e-15)
    torch.testing.assert_close(sigma, (1 - table).sqrt(), rtol=0, atol=1e-14)
    assert schedule(0.0) == (1.0, 0.0)
    for n in (0, len(table) // 2, len(table) - 1):
        assert schedule.timestep(schedule.at(n)) == pytest.approx(n, abs=1e-9)
        level = schedule.level(schedule.at(n))
        assert schedule.time(level.noise_to_signal) == pytest.approx(level.t, abs=1e-12)
    assert (schedule(1.0)[0] == 0) == (name == "ends in noise")


def test_between_the_timesteps_it_is_one_to_one_and_preserves_variance():
    schedule = schedule_of(diffusers.DDPMScheduler())
    times = torch.linspace(0, 1, 4321, dtype=torch.float64)
    alpha, sigma = schedule(times)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(times))
    assert (alpha.diff() < 0).all() and (sigma.diff() > 0).all()
    for t in times[::97].tolist():
        assert schedule.time(schedule.level(t).noise_to_signal) == pytest.approx(t, abs=1e-12)
    assert (schedule.time(0.0), schedule.time(1e9), schedule.time(math.inf)) == (0, 1, 1)
    assert schedule(times.float())[0].dtype == torch.float32
    assert schedule.timestep(torch.tensor([0.0, 0.0015, 1.0])).tolist() == [0, 0.5, 999]
    assert schedule.timestep(0.0005) == 0


def test_a_schedule_is_a_value():
    one, other = (schedule_of(diffusers.DDIMScheduler()) for _ in range(2))
    one(0.3)
    assert one == other and hash(one) == hash(other)
    assert one != schedule_of(diffusers.DDIMScheduler(beta_end=0.03))
    assert repr(one) == "DiffusersSchedule(1000 timesteps, alpha^2 from 0.9999 to 4.03583e-05)"
    assert len(one.to_dict()["alphas_cumprod"]) == 1000


@pytest.mark.parametrize("table", [(), (1.0, 0.5), (0.9, 0.9), (0.5, -0.1)])
def test_other_tables_are_refused(table):
    with pytest.raises(ValueError, match=f"must fall strictly.*got {len(table)} values"):
        DiffusersSchedule(table)


def test_schedulers_without_a_table_are_refused():
    with pytest.raises(ValueError, match="EDMEulerScheduler has no alphas_cumprod and is not of"):
        schedule_of(diffusers.EDMEulerScheduler())
    with pytest.raises(ValueError, match="DDIMScheduler has no timesteps yet; call its set_timest"):
        timesteps_grid(diffusers.DDIMScheduler())
    with pytest.raises(ValueError, match="FlowMatchEulerDiscreteScheduler has no timesteps yet"):
        timesteps_grid(diffusers.FlowMatchEulerDiscreteScheduler())


# The length of the grid of 10 steps. Where the last step would go to its own level, it is left out.
SPACINGS = [
    (11, {"timestep_spacing": "leading"}),
    (11, {"timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": False}),
    (10, {"timestep_spacing": "leading", "set_alpha_to_one": False}),
    (11, {"timestep_spacing": "trailing", "rescale_betas_zero_snr": True}),
]


def loop(scheduler, model, x, cond=None, **step):
    for t in scheduler.timesteps:
        out = model(scheduler.scale_model_input(x, t), t).sample
        x = scheduler.step(out, t, x, **step).prev_sample
    return x


def start(**config):
    model = unet(**config)
    return model, Rng(0).normal((3, 2, 8, 8))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(("steps", "spacing"), SPACINGS)
@torch.no_grad()
def test_ddim_is_theirs_for_every_prediction_and_spacing(prediction, steps, spacing):
    if prediction == "epsilon":
        spacing = spacing | {"rescale_betas_zero_snr": False}
    scheduler = diffusers.DDIMScheduler(prediction_type=prediction, clip_sample=False, **spacing)
    scheduler.set_timesteps(10)
    model, x = start()
    times = timesteps_grid(scheduler)
    assert len(times) == steps
    found = DDIM(DiffusersDenoiser(model, scheduler)).sample(x, times, rng=Rng(0))
    expected = loop(scheduler, model, x)
    assert_same(found, expected)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@torch.no_grad()
def test_with_the_same_noise_eta_1_is_theirs(prediction):
    scheduler = diffusers.DDIMScheduler(prediction_type=prediction, clip_sample=False)
    scheduler.set_timesteps(10)
    model, x = start()
    sampler, rng = DDPM(DiffusersDenoiser(model, scheduler)), Rng(5)
    found = sampler.sample(x, timesteps_grid(scheduler), rng=Rng(5))
    for t in scheduler.timesteps:
        noise, out = rng.normal(x.shape), model(x, t).sample
        x = scheduler.step(out, t, x, eta=1.0, variance_noise=noise).prev_sample
    assert_same(found, x)


@pytest.mark.parametrize("end", ["zero", "sigma_min"])
@torch.no_grad()
def test_schedulers_that_walk_in_sigma_have_the_same_grid(end):
    model, x = start()
    euler = diffusers.EulerDiscreteScheduler(
        timestep_spacing="leading", steps_offset=1, final_sigmas_type=end
    )
    euler.set_timesteps(8)
    times = timesteps_grid(euler)
    assert len(times) == 9 and (times[-1] == 0) == (end == "zero")
    denoiser = DiffusersDenoiser(model, euler)
    found = DDIM(denoiser).sample(x, times, rng=Rng(0))
    # They walk in x / alpha.
    first, last = (denoiser.schedule.level(t).alpha for t in (times[0], times[-1]))
    expected = last * loop(euler, model, x / first)
    assert_same(found, expected)


@torch.no_grad()
def test_dpm_solver_is_theirs():
    model, x = start()
    theirs = diffusers.DPMSolverMultistepScheduler(timestep_spacing="trailing")
    theirs.set_timesteps(8)
    found = DPMpp2M(DiffusersDenoiser(model, theirs)).sample(x, timesteps_grid(theirs), rng=Rng(0))
    assert_same(found, loop(theirs, model, x))


def test_a_timestep_that_is_visited_twice_is_in_the_grid_once():
    scheduler = diffusers.PNDMScheduler(skip_prk_steps=True)
    scheduler.set_timesteps(5)
    assert len(scheduler.timesteps) == 6
    assert timesteps_grid(scheduler) == [t / 1000 for t in (801, 601, 401, 201, 1)]


# Flow matching


@torch.no_grad()
def test_flow_matching_is_theirs():
    model, x = start()
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(6)
    denoiser = DiffusersDenoiser(model, scheduler)
    assert denoiser.schedule == DiffusersFlow(1000) and denoiser.prediction == "flow"
    times = timesteps_grid(scheduler)
    assert times[0] == 1 and times[-1] == 0
    found = DDIM(denoiser).sample(x, times, rng=Rng(0))
    for t in scheduler.timesteps:
        out = model(x, t.expand(3)).sample
        x = scheduler.step(out, t, x).prev_sample
    assert_same(found, x)


def test_the_flow_schedule_is_ours_with_other_times():
    flow = DiffusersFlow(500)
    assert (flow.timestep(0.5), flow.at(250), flow(0.25)) == (250, 0.5, RectifiedFlow()(0.25))
    flowing = diffusers.UniPCMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction"
    )
    assert schedule_of(flowing) == DiffusersFlow(1000)


def test_a_network_that_predicts_noise_needs_some_signal():
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=True)
    with pytest.raises(ValueError, match="'eps' network needs alpha > 0"):
        NetDenoiser(nn.Identity(), schedule_of(scheduler), "eps")
