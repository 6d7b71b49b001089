"""Controls inside the models of diffusers: its own perturbed attention, per row, and no trace."""

import math

import pytest
import torch
from torch import nn

from guided import Rng
from guided.adapters import DiffusersDenoiser
from guided.guidance import CFG, Contrast, Term
from guided.guidance.branches import perturbed
from guided.nets import AttentionControl, Control, Maps, Skip, Stacked
from tests.guided.foreign_nets import hooks
from tests.guided.tiny_models import assert_same, diffusers, dit, scheduler, text_unet, unet

MODELS = {
    "unet": (unet, (2, 8, 8), None),
    "dit": (dit, (4, 4, 4), torch.tensor([1, 2, 3])),
    "text": (text_unet, (2, 8, 8), Rng(1).normal((3, 5, 6))),
}
LAYERS = {
    "unet": [f"{part}.attentions.0" for part in
             ("down_blocks.1", "up_blocks.0", "mid_block")],
    "dit": [f"transformer_blocks.{i}.attn1" for i in (0, 1)],
    "text": [f"{part}.attentions.0.transformer_blocks.0.attn1" for part in
             ("down_blocks.1", "up_blocks.0", "mid_block")],
}  # fmt: skip


def made(name, **options):
    make, shape, cond = MODELS[name]
    denoiser = DiffusersDenoiser(make(), scheduler(), **options)
    return denoiser, Rng(0).normal((3, *shape)), cond


@pytest.mark.parametrize("name", MODELS)
def test_all_self_attention_is_found(name):
    denoiser, _, _ = made(name)
    expected = LAYERS[name] + (["up_blocks.0.attentions.1"] if name == "unet" else [])
    if name == "text":
        expected.append("up_blocks.0.attentions.1.transformer_blocks.0.attn1")
    assert sorted(denoiser.names) == sorted(expected)
    assert denoiser.layers == len(expected)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_identity_is_the_processor_of_their_own_pag(name):
    denoiser, x, cond = made(name)
    level, layer = denoiser.schedule.level(0.7), denoiser.names.index(LAYERS[name][-1])
    control = Control(AttentionControl(frozenset({layer})))
    found = denoiser.controlled(x, level, cond, control)
    assert hooks(denoiser) == 0
    plain = denoiser(x, level, cond)
    # Theirs takes the plain rows and the perturbed ones as halves of a batch.
    theirs = diffusers.models.attention_processor.PAGIdentitySelfAttnProcessor2_0()
    denoiser.model.get_submodule(LAYERS[name][-1]).set_processor(theirs)
    twice = None if cond is None else torch.cat([cond, cond])
    both = denoiser(torch.cat([x, x]), level, twice)
    assert_same(plain.eps, both.eps[:3])
    assert_same(found.eps, both.eps[3:])
    assert (found.eps - plain.eps).abs().max() > 1e-4


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_rows_of_a_stacked_call_are_separate_calls(name):
    denoiser, x, cond = made(name)
    level, last = denoiser.schedule.level(0.7), denoiser.layers - 1
    maps = Maps(frozenset({0}))
    parts = [
        None,
        Control(AttentionControl(frozenset({0, last}), "blur", 0.8)),
        Control(skip=Skip(frozenset({last}), 0.3), embedding=lambda e: 1.1 * e),
        Control(AttentionControl(frozenset({0}), "scale", 0.0), maps=maps),
    ]
    times = 4 * [cond] if cond is not None else None
    stacked = denoiser.controlled(
        torch.cat(4 * [x]), level, None if times is None else torch.cat(times),
        Stacked.of(parts, [3] * 4),
    )  # fmt: skip
    assert maps.found[0].shape[0] == 3 and hooks(denoiser) == 0
    torch.testing.assert_close(maps.found[0].sum(-1), torch.ones(maps.found[0].shape[:3]))
    assert math.prod(maps.grid) == maps.found[0].shape[-1] and len(maps.grid) == 2
    for part, found in zip(parts, stacked.eps.split(3), strict=True):
        alone = denoiser.controlled(x, level, cond, part) if part else denoiser(x, level, cond)
        torch.testing.assert_close(found, alone.eps, rtol=1e-5, atol=1e-5)
        assert part is None or (found - stacked.eps[:3]).abs().max() > 1e-4


@torch.no_grad()
def test_a_skipped_transformer_block_passes_its_input_on():
    denoiser, x, cond = made("dit", layers={"transformer_blocks.1": "block"})
    level = denoiser.schedule.level(0.7)
    found = denoiser.controlled(x, level, cond, Control(skip=Skip(frozenset({0}))))
    blocks = denoiser.model.transformer_blocks
    denoiser.model.transformer_blocks = nn.ModuleList([blocks[0]])
    fewer = DiffusersDenoiser(denoiser.model, scheduler())
    assert_same(found.eps, fewer(x, level, cond).eps)


@torch.no_grad()
def test_skipped_attention_with_a_residual_of_its_own_passes_its_input_on():
    denoiser, x, _ = made("unet")
    level, mid = denoiser.schedule.level(0.7), denoiser.names.index("mid_block.attentions.0")
    found = denoiser.controlled(x, level, None, Control(skip=Skip(frozenset({mid}))))
    attention = denoiser.model.mid_block.attentions[0]
    attention.to_out[0].weight.zero_(), attention.to_out[0].bias.zero_()
    assert_same(found.eps, denoiser(x, level).eps)


@pytest.mark.parametrize("name", MODELS)
def test_a_contrast_is_its_formula_and_leaves_no_hooks(name):
    denoiser, x, cond = made(name, null=MODELS[name][2][:1] if name == "text" else None)
    weak = Control(AttentionControl(frozenset({0})))
    terms = [Term(perturbed(weak), 3.0)]
    level = denoiser.schedule.level(0.7)
    found = Contrast(denoiser, terms)(x, level, cond)
    strong, worse = denoiser(x, level, cond), denoiser.controlled(x, level, cond, weak)
    assert_same(found.eps, worse.eps + 3 * (strong.eps - worse.eps))
    if cond is not None:
        nulled = denoiser(x, level, denoiser.null(cond))
        both = Contrast(CFG(denoiser, 2.0, denoiser.null), terms)(x, level, cond)
        # The terms of a Contrast around CFG perturb all of its branches.
        weak_null = denoiser.controlled(x, level, denoiser.null(cond), weak)
        first, second = (n.eps + 2 * (c.eps - n.eps) for n, c in
                         ((nulled, strong), (weak_null, worse)))  # fmt: skip
        torch.testing.assert_close(both.eps, second + 3 * (first - second), rtol=1e-4, atol=1e-4)
    assert hooks(denoiser) == 0


def test_hooks_come_off_after_an_exception():
    denoiser, x, _ = made("unet")
    everything = Control(
        AttentionControl(frozenset({0})),
        Skip(frozenset({1})),
        lambda e: 1 / 0,
        Maps(frozenset({2})),
    )
    with pytest.raises(ZeroDivisionError):
        denoiser.controlled(x, denoiser.schedule.level(0.5), None, everything)
    assert hooks(denoiser) == 0


def test_sliced_attention_is_refused_with_the_mend():
    denoiser, x, _ = made("unet")
    explicit = diffusers.models.attention_processor.AttnProcessor()
    denoiser.model.get_submodule(denoiser.names[0]).set_processor(explicit)
    with pytest.raises(ValueError, match=r"0 times in 1 calls.*give it AttnProcessor2_0"):
        denoiser.controlled(
            x, denoiser.schedule.level(0.5), None, Control(AttentionControl(frozenset({0})))
        )
    assert hooks(denoiser) == 0


def test_cross_attention_is_refused_by_name():
    name = LAYERS["text"][0].replace("attn1", "attn2")
    with pytest.raises(ValueError, match="attn2' is cross-attention, joint attention or"):
        DiffusersDenoiser(text_unet(), scheduler(), layers={name: "attention"})
