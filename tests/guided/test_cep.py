"""The contracts of CEP and its loss; closed forms are in test_cep_truth."""

import itertools

import pytest
import torch
from torch import nn

from guided import DDIM, Counted, FunctionEnergy, NetDenoiser, Rng, VPLinear
from guided.checkpoint import load, save
from guided.energy import gradient
from guided.guidance import CEP, ClassifierGuidance, EnergyNet, cep_loss
from guided.nets import ResidualMLP, ScalarMLP
from guided.schedule import uniform
from guided.train import TrainConfig, train
from tests.guided.registry import Toy

F64 = torch.float64
TIMES = uniform(5, start=0.99)
LEVEL = VPLinear().level(0.4)
TARGETS = ("self", "raw", "mse", "emse")


def scalar(dim=3, cond_dim=0, dtype=F64):
    """A small energy net whose every weight matters."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ScalarMLP(dim, cond_dim, width=8, time_features=4)
        for p in net.parameters():
            nn.init.normal_(p, std=0.7)
    return EnergyNet(net.to(dtype), VPLinear())


def normal(*shape, seed=0, dtype=F64):
    return Rng(seed).normal(shape, dtype)


class Plain(nn.Module):
    """f of any shape, without a slope or a body of its own."""

    def forward(self, x, time, cond=None):
        f = -(x - time.reshape(-1, *[1] * (x.ndim - 1))).square().flatten(1).sum(1)
        return f if cond is None else f * cond[:, 0]


class Forbidden(nn.Module):
    """A network that must not be called."""

    def forward(self, x, time, cond=None):
        raise AssertionError("the energy network was called")

    slope = body = body_slope = forward


# Guidance


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


# The loss


def batch(b=4, k=5, dim=3, seed=0):
    x0 = normal(b, k, dim, seed=seed)
    return x0, x0.square().sum(-1)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("cond_dim", [0, 2])
def test_the_loss_is_the_formula(target: str, cond_dim: int) -> None:
    """Against loops over conditions and samples, with the same times and noise."""
    model, (x0, energies) = scalar(cond_dim=cond_dim), batch()
    cond = normal(4, cond_dim, seed=3) if cond_dim else None
    found = cep_loss(model, x0, energies, cond, Rng(5), target, t_min=0.1)
    rng = Rng(5)
    t = 0.1 + 0.9 * rng.uniform((4,), F64)
    noise = rng.normal((4, 5, 3), F64)
    mean = (-energies).exp().mean()
    for b in range(4):
        level = VPLinear().level(t[b])
        f, w = [], []
        for k in range(5):
            x = level.alpha * x0[b, k] + level.sigma * noise[b, k]
            f.append(-model(x[None], level, None if cond is None else cond[b : b + 1])[0])
            w.append((-energies[b, k]).exp())
        f, w = torch.stack(f), torch.stack(w)
        logs = f - f.exp().sum().log()
        expected = {
            "self": lambda f=f, w=w, logs=logs: -(w / w.sum() * logs).sum(),
            "raw": lambda f=f, w=w, logs=logs: -(w / mean * logs).mean(),
            "mse": lambda f=f, w=w, b=b: (f + energies[b]).square().mean(),
            "emse": lambda f=f, w=w: (f.exp() - w / mean).square().mean(),
        }[target]()
        torch.testing.assert_close(found[b], expected)


def test_any_network_and_any_rank_of_samples() -> None:
    """Without a body to share embeddings, and with samples of rank 2: the same loss."""
    model, (x0, energies) = scalar(6, 2), batch(dim=6)
    cond = normal(4, 2, seed=3)

    class Wrapped(nn.Module):
        def forward(self, x, time, cond=None):
            return model.net(x, time, cond)

    expected = cep_loss(model, x0, energies, cond, Rng(0))
    other = EnergyNet(Wrapped(), VPLinear())
    shaped = x0.unflatten(-1, (2, 3))
    assert torch.equal(cep_loss(model, shaped, energies, cond, Rng(0)), expected)
    torch.testing.assert_close(cep_loss(other, shaped, energies, cond, Rng(0)), expected)


def test_the_samples_of_a_condition_share_one_time() -> None:
    """All x0 far away at one point: x_t / x0 is alpha. Conditions have times of their own."""
    seen = []

    class Spy(nn.Module):
        def forward(self, x, time, cond=None):
            seen.append((x[:, 0] / 1e6, time))
            return x.sum(1)

    x0 = torch.full((7, 5, 1), 1e6, dtype=F64)
    cep_loss(EnergyNet(Spy(), VPLinear()), x0, torch.zeros(7, 5), None, Rng(0))
    alpha, time = (part.reshape(7, 5) for part in seen[0])
    assert torch.equal(time, time[:, :1].expand(7, 5)) and len(time[:, 0].unique()) == 7
    torch.testing.assert_close(alpha, VPLinear()(time)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("target", ["self", "raw"])
def test_a_contrast_does_not_see_what_is_common_to_a_condition(target: str) -> None:
    """f + h(t, c) has the same loss, which a time of each sample's own would break."""

    class Shifted(nn.Module):
        def __init__(self, by):
            super().__init__()
            self.by = by

        def forward(self, x, time, cond=None):
            return x.sin().sum(1) + self.by * (7 * time).cos() * cond[:, 0]

    (x0, energies), cond = batch(), normal(4, 1)
    first, other = (
        cep_loss(EnergyNet(Shifted(by), VPLinear()), x0, energies, cond, Rng(0), target)
        for by in (0.0, 3.0)
    )
    torch.testing.assert_close(first, other)


@pytest.mark.parametrize("target", ["self", "raw", "emse"])
def test_a_constant_added_to_all_energies_changes_nothing(target: str) -> None:
    x0, energies = batch()
    losses = []
    for shift in (0.0, 700.0, -700.0):  # exp of which leaves even double precision, squared
        model = scalar()
        both = [cep_loss(model, x0, energies + shift, None, Rng(s), target) for s in (0, 1)]
        losses.append(torch.stack(both))
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(losses[0], losses[2])
    if target == "self":
        shifts = normal(4, 1, seed=9)
        found = cep_loss(scalar(), x0, energies + shifts, None, Rng(0), target)
        torch.testing.assert_close(found, losses[0][0])


# The running normaliser


def test_the_normaliser_is_the_mean_so_far_of_earlier_batches() -> None:
    model, means = scalar(), []
    for seed in range(6):
        x0, energies = batch(seed=seed)
        means.append((-energies).exp().mean())
        cep_loss(model, x0, energies, None, Rng(0), "raw")
    torch.testing.assert_close(model.log_norm, torch.stack(means).mean().log())
    assert model.batches == 6
    # A batch does not know its own weights' mean: shifting its energies scales its loss.
    x0, energies = batch(seed=7)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    first = cep_loss(model, x0, energies, None, Rng(0), "raw")
    model.load_state_dict(state)
    shifted = cep_loss(model, x0, energies - 2, None, Rng(0), "raw")
    torch.testing.assert_close(shifted, first * torch.tensor(2.0, dtype=F64).exp())


def test_the_normaliser_forgets_and_stands_still_in_evaluation() -> None:
    model, (x0, energies) = scalar(), batch()
    for _ in range(100):
        cep_loss(model, x0, energies, None, Rng(0), "raw")
    before = model.log_norm.clone()
    cep_loss(model, x0, energies - 3, None, Rng(0), "raw")
    moved = (model.log_norm - before).exp()  # a share of 0.01 of the new mean
    assert moved.item() == pytest.approx(0.99 + 0.01 * torch.tensor(3.0).exp().item(), rel=1e-6)
    state = model.eval().state_dict()
    kept = {k: v.clone() for k, v in state.items()}
    cep_loss(model, x0, energies, None, Rng(0), "raw")
    cep_loss(model.train(), x0, energies, None, Rng(0), "self")
    assert all(torch.equal(kept[k], v) for k, v in state.items())


def test_the_normaliser_is_saved_with_the_weights(tmp_path) -> None:
    model, (x0, energies) = scalar(), batch()
    cep_loss(model, x0, energies, None, Rng(0), "raw")
    save(tmp_path / "c", {}, model=model.state_dict())
    other = scalar()
    other.load_state_dict(load(tmp_path / "c")[1]["model"])
    assert other.log_norm == model.log_norm != 0 and other.batches == 1
    found, expected = (cep_loss(m, x0, 2 * energies, None, Rng(1), "raw") for m in (other, model))
    assert torch.equal(found, expected)


def test_training_resumes_bit_for_bit(tmp_path) -> None:
    config = TrainConfig(steps=12, batch=4, lr=1e-2, warmup=2, save_every=5, log_every=1)

    def samples(step, generator):
        x0 = torch.randn(4, 5, 3, generator=generator)
        return x0, (1 + step) * x0.square().sum(-1)

    def run(folder, steps=None):
        model = scalar(dtype=torch.float32)
        states = train(
            model,
            samples,
            config,
            folder,
            lambda x, e, rng: cep_loss(model, x, e, None, rng, "raw"),
        )
        last = list(itertools.islice(states, steps))[-1]
        return model.state_dict(), last.ema

    whole = run(None)
    run(tmp_path, steps=7)  # killed after its save at step 5
    for found, expected in zip(run(tmp_path), whole, strict=True):
        assert all(torch.equal(found[k], v) for k, v in expected.items())
        assert all(v.isfinite().all() for v in expected.values())
    assert whole[0]["batches"] == whole[1]["batches"] == 12


@pytest.mark.parametrize(
    ("x0", "energies", "target", "message"),
    [
        (torch.zeros(2, 3, 1), torch.zeros(2, 3), "kl", "unknown target 'kl'"),
        (torch.zeros(2, 3, 1), torch.zeros(2, 4), "raw", r"got \(2, 3, 1\) and \(2, 4\)"),
        (torch.zeros(2, 3, 1), torch.zeros(6), "mse", r"got \(2, 3, 1\) and \(6,\)"),
        (torch.zeros(2, 3), torch.zeros(2, 3), "mse", r"an axis after K.*got \(2, 3\)"),
        (torch.zeros(2, 1, 1), torch.zeros(2, 1), "self", "at least K = 2 samples"),
        (torch.zeros(2, 1, 1), torch.zeros(2, 1), "raw", "at least K = 2 samples"),
    ],
)
def test_the_loss_refuses_bad_input(x0, energies, target, message) -> None:
    with pytest.raises(ValueError, match=message):
        cep_loss(scalar(1, dtype=torch.float32), x0, energies, None, Rng(0), target)


def test_the_loss_refuses_a_condition_that_is_missing_or_unexpected() -> None:
    x0, energies = batch()
    with pytest.raises(ValueError, match=r"cond_dim=2.*none"):
        cep_loss(scalar(cond_dim=2), x0, energies, None, Rng(0))
    with pytest.raises(ValueError, match=r"cond_dim=0.*\(4, 2\)"):
        cep_loss(scalar(), x0, energies, normal(4, 2), Rng(0))


def test_a_regression_takes_one_sample_a_condition() -> None:
    x0, energies = batch(k=1)
    assert cep_loss(scalar(), x0, energies, None, Rng(0), "mse").shape == (4,)


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
