"""Small models of diffusers with random weights, and what their pipelines need."""

import pytest
import torch

from guided.rng import initial_weights

diffusers = pytest.importorskip("diffusers", reason="needs the extra diffusers")


def seeded(make, loud=True, **config):
    with initial_weights(0):
        model = make(**config)
        for name, parameter in model.named_parameters() if loud else ():
            if parameter.ndim < 2 or not parameter.any():  # zero-initialised layers say nothing
                torch.nn.init.normal_(parameter, std=0.3)
            elif ".to_" in name:  # and small ones attend to everything alike
                parameter.data *= 4
    return model.eval()


def unet(**config):
    own = {
        "sample_size": 8,
        "in_channels": 2,
        "out_channels": 2,
        "layers_per_block": 1,
        "block_out_channels": (8, 16),
        "norm_num_groups": 4,
        "attention_head_dim": 4,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    return seeded(diffusers.UNet2DModel, **(own | config))


def text_unet():
    return seeded(
        diffusers.UNet2DConditionModel,
        sample_size=8,
        in_channels=2,
        out_channels=2,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=6,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )


def dit(learned_sigma=True):
    return seeded(
        diffusers.DiTTransformer2DModel,
        sample_size=4,
        patch_size=1,
        in_channels=4,
        out_channels=8 if learned_sigma else 4,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=6,
        num_embeds_ada_norm=1000,
        norm_num_groups=2,
    )


def autoencoder(**config):
    return seeded(
        diffusers.AutoencoderKL,
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        **config,
    )


def scheduler(steps=6, **config):
    made = diffusers.DDIMScheduler(clip_sample=False, **config)
    made.set_timesteps(steps)
    return made


def quiet(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def assert_same(found, expected):
    """Equal up to rounding in float32, over the range of a run that random weights let grow."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 2e-6 * expected.abs().max()
