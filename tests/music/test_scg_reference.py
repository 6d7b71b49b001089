"""One step of SCG against numbers of the original implementation (with the paper's look-ahead)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from domains.music.roll import Rolls
from domains.music.rules.density import NoteDensity
from domains.music.rules.pitch import PitchHistogram
from domains.music.rules.rule import RuleEnergy
from guided import SCG, Decoded, Denoiser, Level, Prediction, Rng, State, VPLinear, WeightedSum
from guided.samplers import DDPM

B, N = 2, 4


class Toy(Denoiser):
    """The network of the reference: eps = 0.3 x W + 1e-4 t, with t in steps of 0 to 999."""

    schedule = VPLinear()

    def forward(self, x: torch.Tensor, level: Level, cond: None = None) -> Prediction:
        eps = 0.3 * x * torch.linspace(0.2, 1, 128)[None, None, :, None] + 1e-4 * level.t
        return Prediction((x - level.sigma * eps) / level.alpha, eps)


class ReferenceNoise(Rng):
    """The reference's noise; its candidates of one request are B apart, ours side by side."""

    def normal(self, shape, dtype=torch.float32, device=None) -> torch.Tensor:
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(123), dtype=dtype)
        return noise.unflatten(0, (N, B)).transpose(0, 1).flatten(0, 1)


def rolls(x0: torch.Tensor) -> Rolls:
    """The reference's rules read x0 in [-1, 1] of (B, 1, 128, T) as it is."""
    velocity = (x0[:, 0, 21:109].transpose(1, 2) + 1) / 2
    return Rolls(velocity, torch.zeros_like(velocity, dtype=torch.bool), 128)


def rules(both: bool) -> WeightedSum:
    histogram = torch.zeros(12)
    histogram[[0, 4, 7]] = torch.tensor([0.5, 0.25, 0.25])
    terms = {"pitch": RuleEnergy(PitchHistogram(), histogram)}
    if both:
        density = torch.tensor([3.0] * 8 + [2.0] * 8)
        terms["density"] = RuleEnergy(NoteDensity(window=128, starts="sustain"), density)
    return WeightedSum(terms, {"pitch": 40.0 if both else 1.0})


@pytest.mark.parametrize(("name", "index"), [("scg_pitch_t700", 700), ("scg_both_t300", 300)])
def test_candidates_losses_and_choice(name: str, index: int, shared: Path) -> None:
    oracle = np.load(shared / "oracle" / "music_rules.npz")
    alpha = np.sqrt(oracle["alphas_cumprod"])
    sigma = np.sqrt(1 - oracle["alphas_cumprod"])
    t, s = (Level(i, float(alpha[i]), float(sigma[i])) for i in (index, index - 1))
    x = torch.randn(B, 1, 128, 128, generator=torch.Generator().manual_seed(1)).repeat(1, 1, 1, 8)

    energies: list[torch.Tensor] = []
    energy = Decoded(rules("both" in name), rolls, differentiable=False)

    class Recorded(Decoded):
        def __call__(self, x0, cond=None):
            energies.append(energy(x0, cond))
            return energies[-1]

    sampler = DDPM(Toy(), "fixed_large")
    kernel = sampler.kernel(Toy()(x, t), t, s)
    assert kernel.std == pytest.approx(float(oracle[f"{name}_std"]), rel=1e-6)
    mean_sum = kernel.mean.double().sum((1, 2, 3))
    assert mean_sum.numpy() == pytest.approx(oracle[f"{name}_mean_sum"], abs=0.05)

    guided = SCG(sampler, Recorded(rules(False), rolls), candidates=N)
    state = guided.step(State(x), t, s, None, ReferenceNoise(0))
    found = energies[0].unflatten(0, (B, N)).T.numpy()  # (N, B), as the reference stores it
    np.testing.assert_allclose(found, oracle[f"{name}_loss_paper_tm1"], rtol=2e-4)
    best = oracle[f"{name}_loss_paper_tm1"].argmin(0)
    assert np.array_equal(best, oracle[f"{name}_best"])  # the reference chose the same ones
    chosen = state.x.double().sum((1, 2, 3)).numpy()
    assert chosen == pytest.approx(oracle[f"{name}_sample_sum"], abs=0.05)
