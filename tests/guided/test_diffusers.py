"""The models of diffusers under our samplers and methods, against its own pipelines."""

import pytest
import torch

from guided import DDIM, DDPM, Chunked, Rng
from guided.adapters import ClipSample, DiffusersDenoiser, timesteps_grid
from guided.guidance import CFG
from guided.schedule import Level
from tests.guided.tiny_models import (
    assert_same,
    autoencoder,
    diffusers,
    dit,
    quiet,
    scheduler,
    text_unet,
    unet,
)


def images(denoiser, x):
    """What their pipelines return, from ours."""
    return (x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).detach().numpy()


# Whole pipelines


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_ddim_pipeline_with_the_clipping_of_its_scheduler(eta):
    theirs, model = diffusers.DDIMScheduler(), unet(in_channels=3, out_channels=3)
    assert theirs.config.clip_sample
    pipeline = quiet(diffusers.DDIMPipeline(model, theirs))
    expected = pipeline(
        3, torch.Generator().manual_seed(4), eta=eta, num_inference_steps=10, output_type="np"
    ).images
    denoiser, rng = DiffusersDenoiser(model, theirs), Rng(4)
    x = rng.normal((3, 3, 8, 8))
    found = DDIM(ClipSample(denoiser), eta).sample(x, timesteps_grid(pipeline.scheduler), rng=rng)
    assert expected.std() > 0.1
    assert abs(images(denoiser, found) - expected).max() < 5e-6


def test_the_ddpm_pipeline():
    theirs, model = diffusers.DDPMScheduler(clip_sample=True), unet(in_channels=3, out_channels=3)
    pipeline = quiet(diffusers.DDPMPipeline(model, theirs))
    expected = pipeline(
        2, torch.Generator().manual_seed(4), num_inference_steps=10, output_type="np"
    ).images
    denoiser, rng = DiffusersDenoiser(model, theirs), Rng(4)
    x = rng.normal((2, 3, 8, 8))
    found = DDPM(ClipSample(denoiser, consistent=True)).sample(x, timesteps_grid(theirs), rng=rng)
    assert abs(images(denoiser, found) - expected).max() < 1e-5


@pytest.mark.parametrize("learned_sigma", [True, False])
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_the_dit_pipeline_with_its_guidance_and_autoencoder(learned_sigma, scale):
    model, vae, theirs = dit(learned_sigma), autoencoder(), scheduler()
    pipeline = quiet(diffusers.DiTPipeline(model, vae, theirs))
    labels = [3, 999]
    expected = pipeline(
        labels, scale, torch.Generator().manual_seed(1), num_inference_steps=6, output_type="np"
    ).images
    denoiser, rng = DiffusersDenoiser(model, theirs, vae=vae), Rng(1)
    guided = CFG(denoiser, scale, denoiser.null)
    x = rng.normal((2, 4, 4, 4))
    z = DDIM(guided).sample(x, timesteps_grid(theirs), torch.tensor(labels), rng=rng)
    found = images(denoiser, denoiser.decode(z))
    assert found.shape == expected.shape == (2, 8, 8, 3)
    assert expected.std() > 0.02
    assert abs(found - expected).max() < 1e-5


@torch.no_grad()
def test_text_guidance_as_in_the_loop_of_stable_diffusion():
    model, theirs = text_unet(), scheduler(prediction_type="v_prediction")
    text, empty = Rng(1).normal((3, 5, 6)), Rng(2).normal((1, 5, 6))
    x = start = Rng(0).normal((3, 2, 8, 8))
    for t in theirs.timesteps:
        both = torch.cat([empty.expand(3, -1, -1), text])
        out = model(torch.cat([x, x]), t, encoder_hidden_states=both).sample
        weak, strong = out.chunk(2)
        x = theirs.step(weak + 3.0 * (strong - weak), t, x).prev_sample
    times = timesteps_grid(theirs)
    for null, cond in [(empty, text), ({"encoder_hidden_states": empty}, text),
                       (empty, {"encoder_hidden_states": text})]:  # fmt: skip
        denoiser = DiffusersDenoiser(model, theirs, null=null)
        guided = Chunked(CFG(denoiser, 3.0, denoiser.null), 2)
        assert_same(DDIM(guided).sample(start, times, cond, rng=Rng(0)), x)
    assert_same(
        denoiser.output(start, denoiser.schedule.level(0.5)),
        model(start, 499, empty.expand(3, -1, -1)).sample,
    )


# Conditions


def test_conditions_reach_the_model_and_null_has_their_form():
    model = unet(num_class_embeds=5)
    denoiser = DiffusersDenoiser(model, scheduler(), null=4)
    x, labels, level = Rng(0).normal((3, 2, 8, 8)), torch.tensor([0, 3, 2]), Level(0.3, 0.8, 0.6)
    expected = model(x, 299, labels).sample
    assert_same(denoiser.output(x, level, labels), expected)
    assert_same(denoiser.output(x, level, {"class_labels": labels}), expected)
    empty = model(x, 299, torch.tensor([4, 4, 4])).sample
    assert_same(denoiser.output(x, level), empty)
    assert_same(denoiser.output(x, level, denoiser.null(labels)), empty)
    assert denoiser.null({"class_labels": labels})["class_labels"].tolist() == [4, 4, 4]
    assert denoiser.null(None) is None
    assert denoiser.null(labels.int()).dtype == torch.int32


def test_nested_conditions_have_nested_nulls():
    empty = {"encoder_hidden_states": torch.zeros(1, 5, 6), "added_cond_kwargs": {"a": 7}}
    denoiser = DiffusersDenoiser(text_unet(), scheduler(), null=empty)
    cond = {
        "encoder_hidden_states": torch.ones(2, 5, 6).double(),
        "added_cond_kwargs": {"a": torch.tensor([1, 2]), "b": torch.tensor([3, 4])},
    }
    found = denoiser.null(cond)
    assert found["encoder_hidden_states"].eq(0).all()
    assert found["encoder_hidden_states"].dtype == torch.float64
    assert [v.tolist() for v in found["added_cond_kwargs"].values()] == [[7, 7], [3, 4]]


def test_wrong_conditions_are_refused():
    x, level = torch.zeros(2, 2, 8, 8), Level(0.5, 0.8, 0.6)
    text = DiffusersDenoiser(text_unet(), scheduler())
    with pytest.raises(ValueError, match=r"UNet2DConditionModel is conditioned on encoder_hidden_st"
                       r"ates, .*, got nothing; give encoder_hidden_states$"):  # fmt: skip
        text.output(x, level)
    with pytest.raises(ValueError, match="got prompt; drop prompt and give encoder_hi"):
        text.output(x, level, {"prompt": x})
    with pytest.raises(ValueError, match="null condition of UNet2DConditionModel is not known;"):
        text.null(x)
    with pytest.raises(ValueError, match=r"of one sample, \(1, ...\), got the shape \(5, 6\)"):
        DiffusersDenoiser(text_unet(), scheduler(), null=torch.zeros(5, 6))
    with pytest.raises(ValueError, match="there is no autoencoder; give DiffusersDenoiser"):
        text.decode(x)


def test_wrong_models_and_schedulers_are_refused():
    theirs = diffusers.DDIMScheduler(prediction_type="velocity")
    with pytest.raises(ValueError, match="DDIMScheduler has the prediction_type 'velocity', expec"):
        DiffusersDenoiser(unet(), theirs)
    denoiser = DiffusersDenoiser(unet(out_channels=3), scheduler())
    with pytest.raises(ValueError, match="UNet2DModel returned 3 channels for 2; expected as many"):
        denoiser.output(torch.zeros(1, 2, 8, 8), Level(0.5, 0.8, 0.6))
    with pytest.raises(ValueError, match="ClipSample needs a positive bound, got 0"):
        ClipSample(denoiser, 0)


# Types, latents, training


def test_half_precision_is_cast_and_timesteps_are_not_rounded():
    model = unet().to(torch.bfloat16)
    denoiser, x = DiffusersDenoiser(model, scheduler()), Rng(0).normal((2, 2, 8, 8))
    found = denoiser.output(x, denoiser.schedule.level(1.0))
    assert found.dtype == torch.float32
    assert torch.equal(found, model(x.bfloat16(), 999).sample.float())
    assert denoiser._time(x.bfloat16(), Level(0.501, 1, 1)).tolist() == [500, 500]
    own = denoiser.schedule.level(torch.tensor([0.1, 1.0]).reshape(2, 1, 1, 1))
    torch.testing.assert_close(denoiser._time(x, own), torch.tensor([99.0, 999.0]))


@pytest.mark.parametrize("config", [
    {"scaling_factor": 0.5},
    {"scaling_factor": 0.5, "shift_factor": 0.3},
    {"scaling_factor": 2.0, "latents_mean": [0.1, 0.2, 0.3, 0.4], "latents_std": [1.0, 2, 3, 4]},
])  # fmt: skip
@torch.no_grad()
def test_latents_are_shifted_and_scaled_both_ways(config):
    vae, x = autoencoder(**config), Rng(0).uniform((2, 3, 8, 8)) * 2 - 1
    denoiser = DiffusersDenoiser(dit(), scheduler(), vae=vae)
    law, scale = vae.encode(x).latent_dist, config["scaling_factor"]
    if "latents_mean" in config:
        mean, std = (
            torch.tensor(config[k])[:, None, None] for k in ("latents_mean", "latents_std")
        )
        expected = (law.mean - mean) * scale / std
    else:
        expected = (law.mean - config.get("shift_factor", 0)) * scale
    assert_same(denoiser.encode(x), expected)
    assert_same(denoiser.decode(expected), vae.decode(law.mean).sample)
    drawn = [denoiser.encode(x, Rng(s)) for s in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_training_draws_the_timesteps_of_ddpm():
    denoiser = DiffusersDenoiser(unet(), scheduler())
    level = denoiser._random_level(torch.zeros(4000, 2, 8, 8), Rng(0), 1)
    n = denoiser._time(torch.zeros(4000, 1), level)
    assert (n - n.round()).abs().max() < 1e-4
    assert -0.5 < n.min() < 10 and 990 < n.max() < 999.5
    loss = denoiser.loss(Rng(0).normal((3, 2, 8, 8)), None, Rng(1))
    loss.sum().backward()
    assert loss.shape == (3,) and denoiser.model.conv_in.weight.grad.abs().sum() > 0


# A trained model


@pytest.mark.slow
def test_guidance_raises_the_agreement_of_classes_on_digits():
    datasets = pytest.importorskip("sklearn.datasets", reason="needs the extra image")
    neighbors = pytest.importorskip("sklearn.neighbors")
    digits = datasets.load_digits()
    data = torch.from_numpy(digits.images / 8 - 1).float()[:, None]
    labels = torch.from_numpy(digits.target)
    judge = neighbors.KNeighborsClassifier(5).fit(data.flatten(1).numpy(), digits.target)
    own = {"in_channels": 1, "out_channels": 1, "block_out_channels": (16, 32)}
    model = unet(loud=False, num_class_embeds=11, **own)
    theirs = scheduler(15, timestep_spacing="trailing")
    denoiser = DiffusersDenoiser(model, theirs, null=10)
    optimizer, rng = torch.optim.Adam(model.parameters(), 3e-3), Rng(0)
    for _ in range(300):
        rows = rng.integers(0, len(data), (64,))
        dropped = torch.where(rng.uniform((64,)) < 0.15, 10, labels[rows])
        optimizer.zero_grad()
        denoiser.loss(data[rows], dropped, rng).sum().div(64).backward()
        optimizer.step()
    wanted, times = torch.arange(10).repeat(12), timesteps_grid(theirs)
    agreement = {}
    for w in (0.0, 1.0, 3.0):
        sampler = DDIM(CFG(denoiser, w, denoiser.null))
        x = sampler.sample(Rng(1).normal((120, 1, 8, 8)), times, wanted, rng=Rng(2))
        found = judge.predict(x.flatten(1).numpy())
        agreement[w] = float((found == wanted.numpy()).mean())
    assert agreement[0.0] < 0.3 < agreement[1.0] < agreement[3.0]
    assert agreement[3.0] > 0.85
