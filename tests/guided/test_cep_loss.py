"""The contracts of the loss of CEP; closed forms are in test_cep_truth."""

import itertools

import pytest
import torch
from torch import nn

from guided import Rng, VPLinear
from guided.checkpoint import load, save
from guided.guidance import EnergyNet, cep_loss
from guided.train import TrainConfig, train
from tests.guided.small_energy import F64, normal, scalar

LEVEL = VPLinear().level(0.4)
TARGETS = ("self", "raw", "mse", "emse")


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
