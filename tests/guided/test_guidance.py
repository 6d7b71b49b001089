"""Guidance against closed forms: mean and variance, at eta 0 and 1; accuracy proves nothing."""

import itertools
import math

import pytest
import torch

from guided import (
    CFG,
    DDIM,
    DDPM,
    SCG,
    VE,
    BestOfN,
    Between,
    ClassifierGuidance,
    Counted,
    FunctionEnergy,
    Heun,
    RectifiedFlow,
    Rng,
    State,
    VPLinear,
)
from guided.exact import LinearEnergy, Mixture, QuadraticEnergy, gaussian
from guided.guidance.step.restart import noised_back
from guided.guidance.step.scg import choose
from guided.schedule import log_snr, uniform
from tests.guided.laws import extrapolated, law_of_samples
from tests.guided.registry import ENERGY
from tests.guided.toy import Toy, null

TIMES = uniform(6, start=0.99)
F64 = torch.float64


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=F64)


PRIOR = gaussian(one(0.4), 0.8)
ENERGIES = {"linear": LinearEnergy(one(-1.5)), "quadratic": QuadraticEnergy(3.0, one(1.5))}
grids = [log_snr(VPLinear(), n, sigma_min=1e-3, sigma_max=100.0) for n in (200, 400)]


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("name", ENERGIES)
def test_classifier_guidance_samples_the_tilted_gaussian(name: str, eta: float) -> None:
    energy = ENERGIES[name]
    tilted, _ = energy.tilt(PRIOR)
    guided = ClassifierGuidance(PRIOR.denoiser(VPLinear()), PRIOR.noisy_energy(energy))
    mean, var = extrapolated(DDIM(guided, eta), *grids, tilted)
    assert mean == pytest.approx(tilted.mean().item(), rel=5e-3)
    assert var == pytest.approx(tilted.cov().item(), rel=5e-3)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_a_scaled_linear_energy_is_the_linear_energy_scaled(scale: float) -> None:
    """Only for linear energies does the scale sample p exp(-scale E)."""
    tilted, _ = PRIOR.tilted_linear(one(-1.5 * scale))
    noisy = PRIOR.noisy_energy(ENERGIES["linear"])
    guided = ClassifierGuidance(PRIOR.denoiser(VPLinear()), noisy, scale)
    mean, var = extrapolated(DDIM(guided), *grids, tilted)
    assert mean == pytest.approx(tilted.mean().item(), rel=5e-3)
    assert var == pytest.approx(tilted.cov().item(), rel=5e-3)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_classifier_guidance_samples_the_tilted_mixture(eta: float) -> None:
    """Two modes in the plane; the tilt moves both and changes their weights (4 standard errors)."""
    means = torch.tensor([[-1.5, 0.0], [1.5, 0.5]], dtype=F64)
    prior = Mixture(torch.tensor([0.7, 0.3]), means, torch.tensor([0.2, 0.4], dtype=F64))
    energy = QuadraticEnergy(0.8, torch.tensor([1.0, 1.0], dtype=F64))
    tilted, _ = energy.tilt(prior)
    guided = ClassifierGuidance(prior.denoiser(VPLinear()), prior.noisy_energy(energy))
    sampler = Heun(guided) if eta == 0 else DDIM(guided, eta)
    times = log_snr(VPLinear(), 60 if eta == 0 else 400, sigma_min=1e-3, sigma_max=100.0)
    n = 6_000
    x = sampler.sample(sampler.initial((n, 2), times, Rng(0), F64), times, rng=Rng(1))
    spread = tilted.cov().diagonal().sqrt()
    bias = 0.0 if eta == 0 else 0.01  # the first-order sampler's own, at 400 steps
    assert ((x.mean(0) - tilted.mean()).abs() / spread < 4 / math.sqrt(n) + bias).all()
    right = (prior.responsibilities(x)[:, 1] > 0.5).double().mean().item()
    exact = tilted.sample(200_000, Rng(2))
    share = (prior.responsibilities(exact)[:, 1] > 0.5).double().mean().item()
    assert right == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / n) + bias)
    kurtosis = ((exact - tilted.mean()) ** 4).mean(0) / tilted.cov().diagonal() ** 2
    ratio = x.var(0) / tilted.cov().diagonal()
    assert ((ratio - 1).abs() < 4 * ((kurtosis - 1) / n).sqrt() + 2 * bias).all()


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_cfg_is_exact_where_condition_and_null_share_a_variance(scale: float, eta: float) -> None:
    """p(x|c) = N(m, v), p(x) = N(0, v): log p(c|x) is linear, and CFG samples N(w m, v)."""
    toy = Toy(VPLinear())  # N(cond, 0.09); a null of 0.5
    guided = CFG(toy, scale, null)
    mean, var = 0.5 + scale * 0.4, 0.09

    class Conditional(type(toy)):
        def forward(self, x, level, cond=None):
            return guided(x, level, torch.full((len(x),), 0.9, dtype=x.dtype))

    found = extrapolated(DDIM(Conditional(VPLinear()), eta), *grids)
    assert found == pytest.approx((mean, var), rel=5e-3)


def test_cfg_has_its_known_bias_where_the_variances_differ() -> None:
    """p(x|c) = N(0, 1), p(x) = N(0, 2): the flow ends with variance 2^(1 - w), not 2 / (1 + w)."""
    wide = Mixture(
        torch.tensor([1e-12, 1.0]),
        torch.zeros(2, 1, dtype=F64),
        torch.tensor([1.0, 2.0], dtype=F64),
    )
    labels = wide.denoiser(VE(), classes=torch.tensor([0, 1]))
    guided = CFG(labels, 3.0, null=torch.ones_like)
    times = log_snr(VE(), 600, sigma_min=1e-3, sigma_max=80.0)
    x = torch.tensor([[-80.0], [80.0]], dtype=F64)
    end = Heun(guided).sample(x, times, torch.zeros(2, dtype=torch.long), rng=Rng(0))
    assert (end[1] - end[0]).item() ** 2 / 4 == pytest.approx(2**-2, rel=2e-3)


def test_cfg_is_the_interpolation_of_its_source() -> None:
    toy, level = Toy(VPLinear()), VPLinear().level(0.6)
    x, cond = Rng(0).normal((5, 3), F64), torch.linspace(0, 1, 5, dtype=F64)
    strong, weak = toy(x, level, cond), toy(x, level, null(cond))
    for scale in (-0.5, 0.3, 4.0):
        found = CFG(toy, scale, null)(x, level, cond)
        torch.testing.assert_close(found.eps, weak.eps + scale * (strong.eps - weak.eps))
        torch.testing.assert_close(found.x0, weak.x0 + scale * (strong.x0 - weak.x0))
        torch.testing.assert_close(x, level.alpha * found.x0 + level.sigma * found.eps)


def test_between_switches_by_noise_to_signal() -> None:
    toy = Counted(Toy(VPLinear()))
    guided = Between(CFG(toy, 2.0, null), low=0.5, high=2.0)
    x, cond = torch.ones(3, 2), torch.full((3,), 0.9)
    for ratio, rows in ((0.5, 3), (0.51, 6), (2.0, 6), (2.01, 3)):
        toy.reset()
        level = VPLinear().level(VPLinear().time(ratio))
        # The bounds are exclusive below and inclusive above; nudge off the rounding of time().
        level = level._replace(sigma=ratio * level.alpha)
        guided(x, level, cond)
        assert toy.rows == rows, ratio


def test_scg_keeps_the_candidate_that_looks_best_from_where_it_is() -> None:
    """Against a plain loop: candidates from the kernel, judged at s, and the prediction reused."""
    toy = Toy(VPLinear())
    method = SCG(DDPM(toy), ENERGY, candidates=4)
    levels = VPLinear().levels(TIMES)
    t, s = levels[2], levels[3]
    x = Rng(0).normal((3, 5), F64)
    state = method.step(State(x), t, s, None, Rng(7))
    kernel = DDPM(toy).kernel(toy(x, t), t, s)
    noise = Rng(7).normal((12, 5), F64)
    for b in range(3):
        found = [kernel.mean[b] + kernel.std * noise[4 * b + k] for k in range(4)]
        ahead = [toy(c[None], s) for c in found]
        energies = [ENERGY(a.x0).item() for a in ahead]
        best = min(range(4), key=energies.__getitem__)
        torch.testing.assert_close(state.x[b], found[best])
        torch.testing.assert_close(state.prediction.x0[b], ahead[best].x0[0])
        assert state.energy[b].item() == pytest.approx(energies[best])


def test_scg_lowers_the_energy_with_every_candidate_and_over_optimises() -> None:
    """On N(0.4, 0.8) with a quadratic energy: monotone in n; at n = 64 below the exact target's.

    The exact tilted law is a compromise between prior and energy. Greedy choice has no such limit:
    its mean energy and its variance fall under those of the target it is said to sample.
    """
    energy = ENERGIES["quadratic"]
    tilted, _ = energy.tilt(PRIOR)
    times = uniform(40)
    means, law = [], None
    for n in (1, 4, 16, 64):
        method = SCG(DDPM(PRIOR.denoiser(VPLinear())), energy, candidates=n)
        law = method.sample(method.initial((1000, 1), times, Rng(0), F64), times, rng=Rng(1))
        means.append(energy(law).mean().item())
    assert all(a > b for a, b in itertools.pairwise(means)), means
    exact = 0.5 * 3.0 * (tilted.cov().item() + (tilted.mean().item() - 1.5) ** 2)
    assert means[-1] < 0.5 * exact
    assert law.var().item() < 0.5 * tilted.cov().item()


def test_temperature_resamples_by_the_softmax() -> None:
    energies = torch.tensor([0.0, 1.0, 2.0, math.inf], dtype=F64).repeat(40_000)
    picked = choose(energies, 4, 0.7, Rng(0)) % 4
    found = torch.bincount(picked, minlength=4).double() / 40_000
    expected = torch.softmax(-torch.tensor([0.0, 1.0, 2.0, math.inf], dtype=F64) / 0.7, 0)
    assert ((found - expected).abs() <= 4 * (expected * (1 - expected) / 40_000).sqrt()).all()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_failed_candidates_never_win(temperature: float) -> None:
    nan, inf = math.nan, math.inf
    energies = torch.tensor([nan, 5.0, inf, inf, nan, inf, -inf, 3.0, 1.0])
    assert choose(energies, 3, temperature, Rng(0))[:2].tolist() == [1, 3]
    assert choose(energies[:3], 3, temperature, Rng(0)).tolist() == [1]


def test_scg_noises_back_and_steps_again_where_noise_is_high() -> None:
    """Against the same steps written out, with the same noise: x alone is carried back."""
    toy, levels = Toy(VPLinear()), VPLinear().levels(TIMES)
    t, s = levels[1], levels[2]
    x = Rng(0).normal((2, 3), F64)
    once = SCG(DDPM(toy), ENERGY, candidates=4)
    rng = Rng(3)
    first = once.step(State(x), t, s, None, rng).x
    ratio = t.alpha / s.alpha
    std = math.sqrt(t.sigma**2 - (ratio * s.sigma) ** 2)
    again = once.step(State(ratio * first + std * rng.normal((2, 3), F64)), t, s, None, rng)
    low = t.noise_to_signal * 0.99
    repeated = SCG(DDPM(toy), ENERGY, candidates=4, restarts=2, high=low)
    torch.testing.assert_close(repeated.step(State(x), t, s, None, Rng(3)).x, again.x)
    below = SCG(DDPM(toy), ENERGY, candidates=4, restarts=2, high=t.noise_to_signal)
    plain = once.sample(x, TIMES, rng=Rng(4))
    assert torch.equal(below.step(State(x), t, s, None, Rng(3)).x, first)
    assert torch.equal(
        SCG(DDPM(toy), ENERGY, 4, restarts=1, high=0).sample(x, TIMES, rng=Rng(4)), plain
    )
    with pytest.raises(ValueError, match="taken at least once, got 0 restarts"):
        SCG(DDPM(toy), ENERGY, restarts=0)


def test_noise_put_back_keeps_the_law_of_a_level() -> None:
    t, s = VPLinear().level(0.7), VPLinear().level(0.5)
    low, high = PRIOR.noised(s), PRIOR.noised(t)
    x = noised_back(low.sample(200_000, Rng(0)), s, t, Rng(1))
    assert x.mean().item() == pytest.approx(high.mean().item(), abs=0.01)
    assert x.var().item() == pytest.approx(high.cov().item(), rel=0.01)


def test_best_of_n_keeps_the_best_and_the_given_start() -> None:
    toy = Toy(VPLinear())
    x = Rng(0).normal((4, 3), F64)
    sampler = DDIM(toy)
    rng = Rng(9)
    best = BestOfN(sampler, ENERGY, candidates=5).sample(x, TIMES, rng=rng)
    starts = sampler.initial((20, 3), TIMES, Rng(9), F64).reshape(4, 5, 3)
    starts[:, 0] = x
    everyone = sampler.sample(starts.flatten(0, 1), TIMES, rng=Rng(0)).reshape(4, 5, 3)
    for b in range(4):
        torch.testing.assert_close(best[b], everyone[b][ENERGY(everyone[b]).argmin()])


def test_wrong_nesting_is_a_type_error_in_words() -> None:
    toy = Toy(VPLinear())
    black_box = FunctionEnergy(lambda x0: x0.flatten(1).sum(1), differentiable=False)
    with pytest.raises(TypeError, match=r"SCG wraps a Sampler, got Toy"):
        SCG(toy, ENERGY)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"CFG wraps a Denoiser, got DDIM"):
        CFG(DDIM(toy), 2.0, null)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="needs a differentiable energy"):
        ClassifierGuidance(toy, black_box)
    with pytest.raises(TypeError, match="got a plain Sampler"):
        Between(DDIM(toy))  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=r"needs a stochastic sampler, got a deterministic DDIM"):
        SCG(DDIM(toy), ENERGY)
    with pytest.raises(ValueError, match="not defined at alpha = 0"):
        flow = ClassifierGuidance(Toy(RectifiedFlow()), _Slope())
        DDIM(flow).sample(torch.zeros(1, 1), uniform(2), rng=Rng(0))


class _Slope:
    differentiable = True

    def __call__(self, x, level, cond=None):
        return x.flatten(1).sum(1)


def test_law_of_samples_notices_a_wrong_sign() -> None:
    """The instrument itself: guidance with the sign flipped misses the target by far."""
    energy = ENERGIES["quadratic"]
    tilted, _ = energy.tilt(PRIOR)
    noisy = PRIOR.noisy_energy(energy)
    wrong = ClassifierGuidance(PRIOR.denoiser(VPLinear()), noisy, scale=-0.2)
    mean, _ = law_of_samples(DDIM(wrong), grids[0])
    assert abs(mean - tilted.mean().item()) > 0.3
