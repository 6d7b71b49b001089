import pytest
import torch

from guided import CFG, DDIM, DDPM, Counted, Rng, VPLinear
from guided.exact import Mixture
from guided.guidance.training import NoiseRefine, NoiseRefiner, refine_loss
from guided.nets import ResidualMLP
from guided.rng import initial_weights
from guided.schedule import uniform
from guided.train import TrainConfig, train

F64 = torch.float64
TIMES = uniform(6)
SIGMA = VPLinear()(TIMES[0])[1]


class Affine(torch.nn.Module):
    """A network that is affine in x."""

    def __init__(self):
        super().__init__()
        self.out = torch.nn.Linear(2, 2, dtype=F64)

    def forward(self, x, time, cond=None):
        return self.out(x)


class Blind(ResidualMLP):
    """A network that ignores the condition."""

    def forward(self, x, time, cond=None):
        return super().forward(x, time)


def runs(scale=2.0):
    """Samplers without and with guidance of linear Gaussian models, two correlated numbers."""
    covs = torch.tensor([[[0.5, 0.2], [0.2, 0.4]], [[1.0, -0.3], [-0.3, 0.8]]], dtype=F64)
    means = torch.tensor([[0.6, -0.4], [0.0, 0.0]], dtype=F64)
    law = Mixture(torch.tensor([1e-12, 1.0], dtype=F64), means, covs)
    denoiser = law.denoiser(VPLinear(), torch.tensor([0, 1]))
    return DDIM(denoiser), DDIM(CFG(denoiser, scale, torch.ones_like))


def labels(x):
    return torch.zeros(len(x), dtype=torch.long)


def affine(sampler):
    """The matrix and the shift of a run, from its values on the basis."""
    x = torch.cat([torch.zeros(1, 2, dtype=F64), torch.eye(2, dtype=F64)])
    end = sampler.sample(x, TIMES, labels(x), rng=Rng(0))
    return (end[1:] - end[0]).T, end[0]


def test_the_best_refiner_of_linear_gaussians_is_the_closed_form():
    """g = U^-1 G, from the runs on basis vectors; the refined run then ends with the guided one."""
    plain, guided = runs()

    noise = SIGMA * Rng(2).normal((500, 2), F64)
    ends = guided.sample(noise, TIMES, labels(noise), rng=Rng(0))

    def batch(step, generator):
        rows = torch.randint(0, 500, (64,), generator=generator)
        return noise[rows], {"end": ends[rows], "cond": labels(rows)}

    refiner = NoiseRefiner(Affine(), SIGMA)
    config = TrainConfig(steps=150, lr=0.1, warmup=5, weight_decay=0.0, log_every=150)
    list(train(refiner, batch, config, loss=refine_loss(refiner, plain, TIMES)))
    (U, u), (G, g) = affine(plain), affine(guided)
    x = SIGMA * Rng(1).normal((50, 2), F64)
    best = torch.linalg.solve(U, (x @ G.T + g - u).T).T
    with torch.no_grad():
        torch.testing.assert_close(refiner(x, labels(x)), best, atol=1e-3, rtol=0)
    assert (best - x).abs().max() > 0.3
    refined = NoiseRefine(plain, refiner).sample(x, TIMES, labels(x), rng=Rng(0))
    wanted = guided.sample(x, TIMES, labels(x), rng=Rng(0))
    torch.testing.assert_close(refined, wanted, atol=1e-3, rtol=0)


def test_before_training_it_is_the_plain_run_bit_for_bit_and_costs_no_call_more():
    plain, _ = runs()
    counted = Counted(plain.denoiser)
    with initial_weights(0):
        refiner = NoiseRefiner(Blind(2).double(), SIGMA)
    x = Rng(0).normal((5, 2), F64)
    before = x.clone()
    found = NoiseRefine(DDIM(counted), refiner).sample(x, TIMES, labels(x), rng=Rng(0))
    assert torch.equal(found, plain.sample(x, TIMES, labels(x), rng=Rng(0)))
    assert torch.equal(x, before) and not found.requires_grad
    assert (counted.calls, counted.vjps) == (6, 0)


def test_the_loss_is_the_distance_of_the_ends_and_its_gradient_skips_the_run():
    plain, guided = runs()
    counted = Counted(plain.denoiser)
    refiner = NoiseRefiner(Affine(), SIGMA)
    torch.nn.init.constant_(refiner.net.out.weight, 0.3)
    x = Rng(0).normal((6, 2), F64)
    end = guided.sample(x, TIMES, labels(x), rng=Rng(0))
    loss = refine_loss(refiner, DDIM(counted), TIMES)(x, {"end": end, "cond": labels(x)}, Rng(0))
    start = x + 0.3 * x.sum(1, keepdim=True)
    off = plain.sample(start, TIMES, labels(x), rng=Rng(0)) - end
    torch.testing.assert_close(loss, off.square().mean(1))
    (gradient,) = torch.autograd.grad(loss.sum(), refiner.net.out.weight)
    torch.testing.assert_close(gradient, (off[:, :, None] * x[:, None]).sum(0))
    assert counted.vjps == 0


def test_what_refined_noise_does_not_go_with_is_refused():
    plain, _ = runs()
    refiner = NoiseRefiner(Affine(), SIGMA)
    noisy = DDPM(plain.denoiser)
    for make in (lambda: NoiseRefine(noisy, refiner), lambda: refine_loss(refiner, noisy, TIMES)):
        with pytest.raises(ValueError, match="needs a deterministic sampler, got a stochastic DDI"):
            make()
    x, late = torch.zeros(1, 2, dtype=F64), uniform(5, start=0.3)
    with pytest.raises(ValueError, match=r"sigma = 0\.99\d*, but the run starts at 0\.\d+; start"):
        NoiseRefine(plain, refiner).sample(x, late, labels(x), rng=Rng(0))
    with pytest.raises(ValueError, match="start where it was trained"):
        refine_loss(refiner, plain, late)
