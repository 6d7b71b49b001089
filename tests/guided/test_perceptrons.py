import math

import pytest
import torch

from guided import NetDenoiser, VPLinear
from guided.energy import gradient
from guided.hoist import HoistedDenoiser
from guided.nets import (
    MLP,
    AttentionControl,
    Control,
    FourierTime,
    Maps,
    RandomFourier,
    ResidualMLP,
    ScalarMLP,
    Skip,
    Stacked,
)
from guided.rng import initial_weights
from tests.guided.draws import normal

# Embedding of the noise level


def test_time_features_are_waves_of_their_frequencies():
    features = FourierTime(6)(torch.tensor([0.0, 0.3], dtype=torch.float64))
    for column, cycles in enumerate((1 / 8, math.sqrt(2.0), 16.0)):
        angle = 2 * math.pi * cycles * 0.3
        expected = torch.tensor([[1, 0], [math.cos(angle), math.sin(angle)]], dtype=torch.float64)
        torch.testing.assert_close(features[:, [column, column + 3]], expected)


def test_time_features_tell_all_levels_of_edm_apart():
    time = torch.linspace(-2, 2, 401, dtype=torch.float64)
    features = FourierTime(64)(time)
    nearest = torch.cdist(features, features).fill_diagonal_(9).amin()
    assert nearest > 0.3


def test_time_features_need_an_even_number():
    with pytest.raises(ValueError, match="even number of features >= 4, got 5"):
        FourierTime(5)


def test_a_network_of_one_time_a_sample_refuses_a_time_per_token():
    with pytest.raises(ValueError, match=r"one time per sample, of shape \(B,\), got \(2, 3\); a"):
        MLP(3, 3)(torch.zeros(2, 3), torch.zeros(2, 3))


def test_random_features_are_waves_beside_the_numbers():
    torch.manual_seed(0)
    features = RandomFourier(2, 3, 0.7).double()
    x = normal(5, 2)
    found = features(x)
    assert found.shape == (5, features.out) == (5, 8)
    for column in range(3):
        angle = 2 * math.pi * (x * features.frequencies[:, column]).sum(1)
        torch.testing.assert_close(found[:, 2 + column], angle.sin())
        torch.testing.assert_close(found[:, 5 + column], angle.cos())
    torch.testing.assert_close(found[:, :2], x)
    assert RandomFourier(500, 500, 0.7).frequencies.std().item() == pytest.approx(0.7, rel=0.01)


@pytest.mark.parametrize(("waves", "scale"), [(0, 1.0), (-1, 1.0), (4, 0.0), (4, math.nan)])
def test_random_features_refuse_impossible_settings(waves, scale):
    with pytest.raises(ValueError, match="need waves >= 1 and a scale > 0"):
        RandomFourier(2, waves, scale)


# Multilayer perceptron


def test_mlp_is_the_formula():
    net = MLP(2, 3, hidden=(4, 4), time_features=4, cond_dim=1).double()
    x, time, cond = normal(5, 2), torch.rand(5, dtype=torch.float64), normal(5, 1, seed=1)
    h = torch.cat([x, net.time(time), cond], dim=1)
    for layer in net.layers:
        z = h @ layer.weight.T + layer.bias
        h = z / (1 + (-z).exp())
    torch.testing.assert_close(net(x, time, cond), h @ net.out.weight.T + net.out.bias)


def test_mlp_keeps_the_shape_of_a_sample_of_higher_rank():
    net = MLP(6, 6).double()
    x, time = normal(4, 3, 2), torch.rand(4, dtype=torch.float64)
    assert torch.equal(net(x, time), net(x.flatten(1), time).reshape(4, 3, 2))
    assert MLP(6, 1).double()(x, time).shape == (4, 1)


def test_mlp_refuses_wrong_inputs():
    x, time = torch.zeros(4, 3), torch.zeros(4)
    with pytest.raises(ValueError, match=r"expects 2 numbers a sample, got x of \(4, 3\)"):
        MLP(2, 2)(x, time)
    with pytest.raises(ValueError, match=r"cond_dim=1.*none"):
        MLP(3, 3, cond_dim=1)(x, time)
    with pytest.raises(ValueError, match=r"cond_dim=0.*\(4, 2\)"):
        MLP(3, 3)(x, time, torch.zeros(4, 2))


# Perceptrons whose embeddings are apart from their bodies


def silu(z):
    return z / (1 + (-z).exp())


def written(layers, h):
    """A stack of Linear, SiLU, Linear, written out."""
    a, b = (layer for layer in layers if isinstance(layer, torch.nn.Linear))
    return silu(h @ a.weight.T + a.bias) @ b.weight.T + b.bias


def affine(layer, h):
    return h @ layer.weight.T + layer.bias


@pytest.mark.parametrize("cond_dim", [0, 2])
def test_residual_mlp_is_the_formula(cond_dim):
    net = ResidualMLP(3, cond_dim, width=4, depth=2, time_features=4).double()
    x, time = normal(5, 3), torch.rand(5, dtype=torch.float64)
    cond = normal(5, cond_dim, seed=1) if cond_dim else None
    a = written(net.time, FourierTime(4)(time))
    a = a if cond is None else a + written(net.cond, cond)
    h = affine(net.inlet, x)
    for k in range(2):
        inner = affine(net.first[k], silu(h)) + a[:, 4 * k : 4 * k + 4]
        h = h + affine(net.second[k], silu(inner))
    torch.testing.assert_close(net(x, time, cond), affine(net.outlet, h))


@pytest.mark.parametrize("cond_dim", [0, 2])
@pytest.mark.parametrize("depth", [1, 3])
def test_scalar_mlp_is_the_formula_and_knows_its_gradient(cond_dim, depth):
    net = ScalarMLP(6, cond_dim, width=4, depth=depth, time_features=4).double()
    x, time = normal(5, 2, 3), torch.rand(5, dtype=torch.float64)
    cond = normal(5, cond_dim, seed=1) if cond_dim else None
    a = written(net.time, FourierTime(4)(time))
    a = a if cond is None else a + written(net.cond, cond)
    h = silu(affine(net.inlet, x.flatten(1)) + a)
    for layer in net.layers:
        h = silu(affine(layer, h))
    assert len(net.layers) == depth - 1
    torch.testing.assert_close(net(x, time, cond), affine(net.outlet, h)[:, 0])
    slope = net.slope(x, time, cond)
    expected = gradient(lambda y: net(y, time, cond), x)[1]
    torch.testing.assert_close(slope, expected, rtol=1e-10, atol=1e-12)
    assert slope.shape == x.shape


def test_a_body_takes_groups_with_one_embedding_each():
    for kind, tail in ((ResidualMLP, (3,)), (ScalarMLP, ())):
        net = kind(3, 2, width=4, depth=2, time_features=4).double()
        x, time, cond = normal(5, 7, 3), torch.rand(5, dtype=torch.float64), normal(5, 2, seed=1)
        found = net.body(x, (net.embed_time(time) + net.embed_cond(cond))[:, None])
        assert found.shape == (5, 7, *tail)
        for k in range(7):
            torch.testing.assert_close(found[:, k], net(x[:, k], time, cond))


@pytest.mark.parametrize("kind", [ResidualMLP, ScalarMLP])
def test_perceptrons_apart_keep_a_sample_of_higher_rank_and_refuse_wrong_inputs(kind):
    net, time = kind(6, width=4).double(), torch.rand(4, dtype=torch.float64)
    x = normal(4, 3, 2)
    out = net(x, time)
    assert out.shape == ((4, 3, 2) if kind is ResidualMLP else (4,))
    assert torch.equal(out.flatten(), net(x.flatten(1), time).flatten())
    with pytest.raises(ValueError, match=r"expects 6 numbers a sample, got x of \(4, 5\)"):
        net(normal(4, 5), time)
    with pytest.raises(ValueError, match=r"cond_dim=0.*\(4, 2\)"):
        net(x, time, normal(4, 2))
    with pytest.raises(ValueError, match=r"cond_dim=0.*\(4, 2\)"):
        net.embed_cond(normal(4, 2))
    with pytest.raises(ValueError, match=r"cond_dim=1.*none"):
        kind(6, 1)(x, time)
    with pytest.raises(ValueError, match=r"cond_dim=1.*\(4, 2\)"):
        kind(6, 1).double()(x, time, normal(4, 2))


# What a control does in the residual perceptron, and "no condition"


def residual(null=False):
    """Every weight matters; double precision; three blocks of width 4, conditions of width 2."""
    with initial_weights(1):
        net = ResidualMLP(3, 2, width=4, depth=3, time_features=4, null=null).double()
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return net.requires_grad_(False)


def shown(rows=6):
    return normal(rows, 3), torch.linspace(0.1, 0.9, rows, dtype=torch.float64), normal(rows, 2)


@pytest.mark.parametrize("keep", [0.0, 0.3, 1.0])
def test_a_skipped_block_counts_in_part(keep):
    net, (x, time, cond) = residual(), shown()
    found = net(x, time, cond, Control(skip=Skip(frozenset({0, 2}), keep)))
    a = written(net.time, FourierTime(4)(time)) + written(net.cond, cond)
    h = affine(net.inlet, x)
    for k, share in enumerate((keep, 1.0, keep)):
        inner = affine(net.first[k], silu(h)) + a[:, 4 * k : 4 * k + 4]
        h = h + share * affine(net.second[k], silu(inner))
    torch.testing.assert_close(found, affine(net.outlet, h))


def test_a_control_sees_the_embedding_of_time_alone():
    net, (x, time, cond) = residual(), shown()
    control = Control(embedding=lambda e: 2 * e + 1)
    a = 2 * written(net.time, FourierTime(4)(time)) + 1 + written(net.cond, cond)
    torch.testing.assert_close(net(x, time, cond, control), net.body(x, a))


def test_branches_of_a_stack_have_their_own_controls():
    net, (x, time, cond) = residual(), shown()
    parts = (None, Control(skip=Skip(frozenset({1}))), Control(embedding=torch.sin))
    whole = net(x, time, cond, Stacked(parts, (2, 1, 3)))
    rows = [slice(0, 2), slice(2, 3), slice(3, 6)]
    each = [net(x[r], time[r], cond[r], part) for r, part in zip(rows, parts, strict=True)]
    torch.testing.assert_close(whole, torch.cat(each), rtol=1e-12, atol=1e-12)
    assert (whole - net(x, time, cond)).abs().amax(1)[2:].min() > 1e-3
    assert torch.equal(whole[:2], net(x, time, cond)[:2])


def test_what_does_not_act_in_a_perceptron_is_refused():
    net, given = residual(), shown()
    denoiser = NetDenoiser(net, VPLinear())
    assert denoiser.layers == net.layers == 3
    with pytest.raises(ValueError, match=r"layers \[3\], but the ResidualMLP has blocks 0 to 2"):
        net(*given, Control(skip=Skip(frozenset({3}))))
    layers = frozenset({1})
    for wrong in (Control(AttentionControl(layers)), Control(maps=Maps(layers))):
        for control in (wrong, Stacked((None, wrong), (3, 3))):
            with pytest.raises(ValueError, match="acts on attention, but a ResidualMLP has none"):
                net(*given, control)


def test_a_row_of_nan_is_no_condition():
    net, (x, time, cond) = residual(null=True), shown()
    assert net.null and not residual().null
    cond[[1, 4]] = math.nan
    found = net(x, time, cond)
    for row in range(6):
        own = net.nothing if row in (1, 4) else net.cond(cond[row])
        a = net.embed_time(time[row : row + 1]) + own
        torch.testing.assert_close(found[row : row + 1], net.body(x[row : row + 1], a))
    cond[0, 1] = math.nan  # a part of a condition is missing, which nothing was learned for
    assert net(x, time, cond)[0].isnan().all()
    with pytest.raises(ValueError, match="a null condition needs a network with conditions"):
        ResidualMLP(3, null=True)


def test_no_condition_is_learned_and_spoils_no_gradient():
    net, (x, time, cond) = residual(null=True).requires_grad_(True), shown()
    cond[[1, 4]] = math.nan
    net(x, time, cond).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
    assert net.nothing.grad.abs().max() > 1e-3
    assert all(p.grad.abs().max() > 1e-6 for p in net.cond.parameters())


def test_a_network_begins_the_same_with_and_without_a_null_condition():
    def made(null):
        with initial_weights(0):
            return ResidualMLP(3, 2, width=4, null=null)

    plain, other = made(False), made(True)
    assert {*other.state_dict()} - {*plain.state_dict()} == {"nothing"}
    x, time, cond = (part.float() for part in shown())
    assert torch.equal(plain(x, time, cond), other(x, time, cond))


@pytest.mark.parametrize("cond_dim", [0, 2])
def test_a_hoisted_network_takes_the_same_controls(cond_dim):
    with initial_weights(0):
        net = ResidualMLP(3, cond_dim, width=4, depth=3, time_features=4).double()
    denoiser = NetDenoiser(net.requires_grad_(False), VPLinear())
    hoisted, level = HoistedDenoiser(denoiser, [0.5, 0.2]), VPLinear().level(0.5)
    x, _, cond = shown()
    given = cond if cond_dim else None
    embedded = hoisted.embed(cond) if cond_dim else None
    one = Control(skip=Skip(frozenset({1}), 0.3), embedding=torch.sin)
    for control in (None, one, Stacked((None, one), (2, 4))):
        wanted = denoiser.controlled(x, level, given, control)
        found = hoisted.controlled(x, level, embedded, control)
        torch.testing.assert_close(found.x0, wanted.x0, rtol=1e-12, atol=1e-12)
    assert hoisted.layers == 3


def test_a_hoisted_network_of_another_kind_takes_no_control():
    hoisted = HoistedDenoiser(NetDenoiser(ScalarMLP(3), VPLinear()), [0.5])
    with pytest.raises(TypeError, match="a hoisted ScalarMLP takes no control; use a ResidualMLP"):
        hoisted.output(torch.zeros(2, 3), VPLinear().level(0.5), None, Control())
