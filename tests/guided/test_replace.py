"""Keeping a known part of the sample."""

import pytest
import torch

from guided import DDIM, DDPM, Counted, Rng, VPLinear
from guided.exact import gaussian
from guided.guidance import Replace
from guided.schedule import log_snr, uniform
from tests.guided.toy import Toy

F64 = torch.float64
TIMES = uniform(20, start=0.99)


def test_the_known_part_is_kept_and_the_rest_is_not() -> None:
    known = torch.tensor([[3.0, -2.0, 0.0]], dtype=F64)
    mask = torch.tensor([[True, True, False]])
    x = Rng(0).normal((5, 3), F64)
    made = DDPM(Replace(Toy(VPLinear()), known, mask)).sample(x, TIMES, rng=Rng(1))
    assert torch.allclose(made[:, :2], known[:, :2].expand(5, 2), atol=1e-12)
    assert made[:, 2].std() > 0.05


def test_an_empty_mask_is_the_unguided_run_bit_for_bit() -> None:
    toy = Counted(Toy(VPLinear()))
    x = Rng(0).normal((4, 3))
    mask = torch.zeros(1, 3, dtype=torch.bool)
    made = DDPM(Replace(toy, torch.ones(1, 3), mask)).sample(x, TIMES, rng=Rng(1))
    assert torch.equal(made, DDPM(Toy(VPLinear())).sample(x, TIMES, rng=Rng(1)))
    assert toy.calls == 20


def test_the_pair_stays_consistent() -> None:
    level = VPLinear().level(0.4)
    x = Rng(0).normal((4, 3), F64)
    guided = Replace(Toy(VPLinear()), torch.ones(3, dtype=F64), torch.tensor([True, False, True]))
    x0, eps = guided(x, level)
    torch.testing.assert_close(level.alpha * x0 + level.sigma * eps, x)
    assert (x0[:, [0, 2]] == 1).all()


def test_the_rest_is_drawn_towards_the_conditional_mean_but_is_not_exact() -> None:
    """Its documented bias: on a correlated Gaussian it stays short of E[x1 | x0 = y]."""
    cov = torch.tensor([[[1.0, 0.8], [0.8, 1.0]]], dtype=F64)
    prior = gaussian(torch.zeros(2, dtype=F64), cov[0])
    times = log_snr(VPLinear(), 100, sigma_min=1e-3, sigma_max=100.0)
    known, mask = torch.tensor([[1.5, 0.0]], dtype=F64), torch.tensor([[True, False]])
    sampler = DDIM(Replace(prior.denoiser(VPLinear()), known, mask), eta=1.0)
    x = sampler.sample(sampler.initial((4000, 2), times, Rng(0), F64), times, rng=Rng(1))
    conditional = 0.8 * 1.5
    assert 0.5 * conditional < x[:, 1].mean().item() < conditional + 0.05


def test_a_mask_that_is_no_mask_is_refused() -> None:
    with pytest.raises(TypeError, match=r"boolean, got torch\.float32"):
        Replace(Toy(VPLinear()), torch.ones(3), torch.ones(3))
