import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from guided import Chunked, NetDenoiser, VPLinear
from guided.guidance.branches import Call, evaluate
from guided.nets import MLP, AttentionControl, Control, Maps, ScalarMLP, Skip, Stacked, attend
from guided.nets.attention import MODES, blurred
from tests.guided.draws import normal
from tests.guided.small_net import assert_same, denoiser, inputs, transformer

LAYERS = frozenset({0, 2})
AMOUNT = {"blur": 1.3, "soft": 0.4, "scale": 2.5}


def twisted(e: torch.Tensor) -> torch.Tensor:
    return e.flip(-1)


CONTROLS = {
    **{mode: Control(AttentionControl(LAYERS, mode, AMOUNT.get(mode, 1.0))) for mode in MODES},
    "blur-inf": Control(AttentionControl(LAYERS, "blur", math.inf)),
    "skip": Control(skip=Skip(frozenset({1}))),
    "skip in part": Control(skip=Skip(LAYERS, 0.3)),
    "embedding": Control(embedding=twisted),
    "all": Control(AttentionControl(LAYERS), Skip(frozenset({1}), 0.5), twisted),
}
every = pytest.mark.parametrize("control", CONTROLS.values(), ids=CONTROLS.keys())


# Attention


def gaussian_matrix(size: int, sigma: float) -> torch.Tensor:
    place = torch.arange(size, dtype=torch.float64)
    weight = (-((place[:, None] - place) ** 2) / (2 * sigma**2)).exp()
    return weight / weight.sum(1, keepdim=True)


def test_every_mode_is_its_formula() -> None:
    q, k, v = (normal(2, 3, 6, 4, seed=s) for s in range(3))
    plain = (q @ k.mT / 2).softmax(-1)
    blur = gaussian_matrix(6, 1.3)
    expected = {
        "identity": v,
        "uniform": v.mean(2, keepdim=True).expand_as(v),
        "drop": torch.zeros_like(v),
        "soft": (0.6 * plain + 0.4 * torch.eye(6, dtype=torch.float64)) @ v,
        "scale": (2.5 * q @ k.mT / 2).softmax(-1) @ v,
        "blur": ((blur @ q) @ k.mT / 2).softmax(-1) @ v,
    }
    assert set(expected) == set(MODES)
    for mode, value in expected.items():
        torch.testing.assert_close(attend(q, k, v, CONTROLS[mode].at(0)), value)
    same = q.mean(2, keepdim=True).expand_as(q)
    found = attend(q, k, v, CONTROLS["blur-inf"].at(0))
    torch.testing.assert_close(found, (same @ k.mT / 2).softmax(-1) @ v)


@pytest.mark.parametrize("grid", [(12,), (3, 4), (2, 3, 2)])
@pytest.mark.parametrize("sigma", [0.4, 2.0])
def test_blur_is_a_normalised_gaussian_filter(grid: tuple[int, ...], sigma: float) -> None:
    tokens = normal(2, 12, 5)
    found = blurred(tokens, sigma, grid).unflatten(1, grid)
    options = {"mode": "constant", "truncate": 40.0}
    share = gaussian_filter(np.ones(grid), sigma, **options)
    for row in range(2):
        for channel in range(5):
            field = tokens[row, :, channel].reshape(grid).numpy()
            expected = gaussian_filter(field, sigma, **options) / share
            np.testing.assert_allclose(found[row, ..., channel].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.3, 5.0, math.inf])
def test_blur_keeps_a_constant(sigma: float) -> None:
    tokens = normal(2, 1, 5).expand(2, 12, 5)
    torch.testing.assert_close(blurred(tokens, sigma, (3, 4)), tokens)


def test_bad_controls_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the share of 'soft' is in \[0, 1\], got 1.5"):
        AttentionControl(LAYERS, "soft", 1.5)
    with pytest.raises(ValueError, match=r"the sigma of 'blur' is above 0, got 0\.0"):
        AttentionControl(LAYERS, "blur", 0.0)
    with pytest.raises(ValueError, match=r"share of a block that is kept is in \[0, 1\], got -1"):
        Skip(LAYERS, -1)
    with pytest.raises(ValueError, match="12 tokens do not lie on a grid of 3 x 5"):
        blurred(normal(2, 12, 5), 1.0, (3, 5))


# Inside a network


@every
def test_stacked_branches_are_separate_calls(control: Control) -> None:
    net, (x, level, cond) = denoiser(), inputs()
    other = CONTROLS["soft"] if control is not CONTROLS["soft"] else CONTROLS["identity"]
    owns = [None, control, other, control]
    calls = [Call(net, x + i, level, cond, own) for i, own in enumerate(owns)]
    apart = [evaluate([call])[0] for call in calls]
    for together, alone in zip(evaluate(calls), apart, strict=True):
        assert_same(together, alone)
    plain = net(x + 1, level, cond)
    assert (apart[1].x0 - plain.x0).abs().max() > 1e-3


@every
@pytest.mark.parametrize("size", [1, 3, 4, 7])
def test_rows_of_a_control_under_chunks(control: Control, size: int) -> None:
    net, (x, level, cond) = denoiser(), inputs(7)
    for own in (control, Stacked((None, control, None), (2, 4, 1))):
        chunked = Chunked(net, size).controlled(x, level, cond, own)
        assert_same(chunked, net.controlled(x, level, cond, own))


def test_rows_of_a_stacked_control() -> None:
    a, b = CONTROLS["soft"], CONTROLS["skip"]
    stacked = Stacked((a, None, b), (3, 2, 4))
    assert stacked.rows(2, 8) == Stacked((a, None, b), (1, 2, 3))
    assert stacked.rows(3, 5) == Stacked((None,), (2,))
    assert stacked.rows(5, 9) == Stacked((b,), (4,))


def test_a_skipped_block_is_a_network_without_it() -> None:
    x, time, cond = normal(3, 8, 5), torch.linspace(0, 1, 3, dtype=torch.float64), None
    net, short = transformer(), transformer()
    del short.blocks[1]
    torch.testing.assert_close(net(x, time, cond, CONTROLS["skip"]), short(x, time, cond))
    assert torch.equal(net(x, time, cond, Control(skip=Skip(LAYERS, 1.0))), net(x, time, cond))


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_remains_after_a_call(fails: bool) -> None:
    net, (x, level, cond) = denoiser(), inputs()
    plain, names = net(x, level, cond), [sorted(vars(m)) for m in net.modules()]

    def embedding(e: torch.Tensor) -> torch.Tensor:
        if fails:
            raise RuntimeError("stop")
        return 2 * e

    control = Control(AttentionControl(LAYERS), Skip(LAYERS, 0.5), embedding, Maps(LAYERS))
    if fails:
        with pytest.raises(RuntimeError, match="stop"):
            net.controlled(x, level, cond, control)
    else:
        net.controlled(x, level, cond, control)
    after = net(x, level, cond)
    assert torch.equal(after.x0, plain.x0) and torch.equal(after.eps, plain.eps)
    assert [sorted(vars(m)) for m in net.modules()] == names
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_missing_blocks_are_listed() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    for wrong in (
        Control(AttentionControl(frozenset({1, 3}))),
        Control(skip=Skip(frozenset({3}))),
        Stacked((None, Control(maps=Maps(frozenset({-1})))), (2, 2)),
    ):
        with pytest.raises(ValueError, match=r"\], but the Transformer has blocks 0 to 2"):
            net.controlled(x, level, cond, wrong)


def test_a_network_without_blocks_takes_no_control() -> None:
    for net in (MLP(4, 4), ScalarMLP(4), torch.nn.Flatten()):
        bare = NetDenoiser(net, VPLinear())
        assert bare.layers == 0
        with pytest.raises(TypeError, match=f"{type(net).__name__} takes no control, so nothing"):
            bare.controlled(torch.zeros(2, 4), VPLinear().level(0.4), None, CONTROLS["skip"])


@pytest.mark.parametrize("mode", MODES)
def test_one_token_is_refused(mode: str) -> None:
    net, (x, level, cond) = denoiser(), inputs(tokens=1)
    with pytest.raises(ValueError, match="attention over one token cannot be perturbed"):
        net.controlled(x, level, cond, CONTROLS[mode])


# Maps


def test_maps_are_rows_of_probabilities_and_change_nothing() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    maps = Maps(LAYERS)
    found = net.controlled(x, level, cond, Control(maps=maps))
    assert_same(found, net(x, level, cond))
    assert set(maps.found) == LAYERS and maps.grid == (10,)
    for looks in maps.found.values():
        assert looks.shape == (4, 2, 10, 10) and looks.min() >= 0
        torch.testing.assert_close(looks.sum(-1), torch.ones(4, 2, 10, dtype=torch.float64))
    assert (maps.found[0] - maps.found[2]).abs().max() > 1e-3


def test_maps_are_the_softmax_of_queries_and_keys() -> None:
    q, k, v = (normal(2, 3, 6, 4, seed=s) for s in range(3))
    maps = Maps(frozenset({0}))
    out = attend(q, k, v, Control(maps=maps).at(0), (2, 3))
    expected = torch.einsum("bhid,bhjd->bhij", q, k).div(2).softmax(-1)
    torch.testing.assert_close(maps.found[0], expected)
    torch.testing.assert_close(out, expected @ v)
    assert maps.grid == (2, 3)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_maps_of_chunks_are_those_of_the_batch(size: int) -> None:
    net, (x, level, cond) = denoiser(), inputs(7)
    whole, parts = Maps(LAYERS), Maps(LAYERS)
    net.controlled(x, level, cond, Control(maps=whole))
    Chunked(net, size).controlled(x, level, cond, Stacked((Control(maps=parts), None), (5, 2)))
    for layer in LAYERS:
        torch.testing.assert_close(parts.found[layer], whole.found[layer][:5])


def test_unwatched_controls_act_as_before() -> None:
    watching, acting = Control(maps=Maps(LAYERS)), CONTROLS["all"]
    both = Control(acting.attention, acting.skip, acting.embedding, Maps(LAYERS))
    assert watching.unwatched() is None and acting.unwatched() is acting
    assert both.unwatched() == acting
    assert Stacked((watching, None), (2, 3)).unwatched() is None
    assert Stacked((both, None), (2, 3)).unwatched() == Stacked((acting, None), (2, 3))
