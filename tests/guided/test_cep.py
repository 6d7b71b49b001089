"""The contracts of CEP; those of its loss are in test_cep_loss, closed forms in test_cep_truth."""

import pytest
import torch
from torch import nn

from guided import DDIM, Counted, FunctionEnergy, NetDenoiser, Rng, VPLinear
from guided.energy import gradient
from guided.guidance import CEP, ClassifierGuidance, EnergyNet
from guided.nets import ResidualMLP
from guided.schedule import uniform
from tests.guided.small_energy import F64, Plain, normal, scalar
from tests.guided.toy import Toy

TIMES = uniform(5, start=0.99)
LEVEL = VPLinear().level(0.4)


class Forbidden(nn.Module):
    """A network that must not be called."""

    def forward(self, x, time, cond=None):
        raise AssertionError("the energy network was called")

    slope = body = body_slope = forward


@pytest.mark.parametrize("shape", [(5, 6), (7, 2, 3), (2, 3, 2, 1)])
@pytest.mark.parametrize(("dtype", "close"), [(F64, 1e-10), (torch.float32, 1e-5)])
def test_slope_is_the_gradient_of_the_energy(shape, dtype, close) -> None:
    model, x = scalar(6, 2, dtype), normal(*shape, dtype=dtype)
    cond = normal(shape[0], 2, seed=1, dtype=dtype)
    found = model.slope(x, LEVEL, cond)
    expected = gradient(lambda y: model(y, LEVEL, cond), x)[1]
    assert found.shape == shape and found.dtype == dtype and expected.abs().max() > 0.1
    assert ((found - expected).abs().max() / expected.abs().max()).item() < close
    plain = EnergyNet(Plain(), VPLinear())
    torch.testing.assert_close(plain.slope(x, LEVEL), 2 * (x - 0.4))


def test_cep_is_classifier_guidance_by_minus_f() -> None:
    model, toy, x = scalar(), Toy(VPLinear()), normal(7, 3)

    class Sloppy:
        """The same energy without a slope of its own."""

        differentiable = True

        def __call__(self, x, level, cond=None):
            return model(x, level, cond)

    found = CEP(toy, model, 1.7)(x, LEVEL)
    expected = ClassifierGuidance(toy, Sloppy(), 1.7)(x, LEVEL)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(LEVEL.alpha * found.x0 + LEVEL.sigma * found.eps, x)
    gain = gradient(lambda y: model.net(y, torch.full((7,), 0.4, dtype=F64)), x)[1]
    moved = toy(x, LEVEL).x0 + 1.7 * LEVEL.sigma**2 / LEVEL.alpha * gain
    torch.testing.assert_close(found.x0, moved)


def test_scale_0_never_calls_the_network_and_is_the_prior_bit_for_bit() -> None:
    toy, x = Toy(VPLinear()), normal(7, 3)
    off = CEP(toy, EnergyNet(Forbidden(), VPLinear()), 0.0)
    prior = DDIM(toy).sample(x, TIMES, rng=Rng(0))
    assert torch.equal(DDIM(off).sample(x, TIMES, rng=Rng(0)), prior)
    off.scale = 1.0
    with pytest.raises(AssertionError, match="was called"):
        DDIM(off).sample(x, TIMES, rng=Rng(0))


def test_a_scale_per_request_serves_its_own_rows() -> None:
    """Three requests of two rows, each as with its own number; at scale 0 the prior's bits."""
    toy, model, x = Toy(VPLinear()), scalar(), normal(6, 3)
    scales = torch.tensor([0.0, 1.0, 2.5])
    found = DDIM(CEP(toy, model, scales)).sample(x, TIMES, rng=Rng(0))
    assert torch.equal(found[:2], DDIM(toy).sample(x, TIMES, rng=Rng(0))[:2])
    for i in (1, 2):
        alone = DDIM(CEP(toy, model, float(scales[i]))).sample(x, TIMES, rng=Rng(0))
        torch.testing.assert_close(found[2 * i : 2 * i + 2], alone[2 * i : 2 * i + 2])
        assert (alone - found).abs().max() > 1e-3


def test_cep_keeps_type_and_spends_one_call_and_no_gradient_of_the_denoiser() -> None:
    counted = Counted(Toy(VPLinear()))
    for dtype in (torch.float32, F64):
        x = normal(7, 3, dtype=dtype)
        found = DDIM(CEP(counted, scalar(dtype=dtype))).sample(x, TIMES, rng=Rng(0))
        assert found.dtype == dtype and not found.requires_grad
    assert (counted.calls, counted.vjps) == (10, 0)


@pytest.mark.parametrize("scale", [torch.ones(4), torch.tensor(1.0), torch.ones(3, 1)])
def test_a_scale_that_does_not_divide_the_batch_is_refused(scale) -> None:
    with pytest.raises(ValueError, match=r"scale per request is \(R,\) with R a divisor"):
        CEP(Toy(VPLinear()), scalar(), scale)(normal(6, 3), LEVEL)


def test_cep_refuses_other_energies() -> None:
    with pytest.raises(TypeError, match=r"CEP needs an EnergyNet.*got FunctionEnergy"):
        CEP(Toy(VPLinear()), FunctionEnergy(lambda x: x.sum(1)))


def test_a_denoiser_and_an_energy_net_guide_conditioned_samples_together() -> None:
    """As in offline RL: both nets take the condition; rows with other conditions are untouched."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = ResidualMLP(3, 2, width=8, depth=2, time_features=4).double()
    guided = CEP(NetDenoiser(net, VPLinear()), scalar(cond_dim=2), torch.tensor([1.0, 3.0]))
    x, cond = normal(4, 3), normal(4, 2, seed=1)
    found = DDIM(guided).sample(x, TIMES, cond, rng=Rng(0))
    changed = cond.clone()
    changed[3] += 1
    other = DDIM(guided).sample(x, TIMES, changed, rng=Rng(0))
    assert torch.equal(found[:3], other[:3]) and not torch.allclose(found[3], other[3])
