"""CFGiG: its stationary law on Gaussians, which tends to the powered one as the ratio falls."""

import pytest
import torch

from guided import CFG, DDIM, VE, Counted, Heun, RectifiedFlow, Rng, VPLinear
from guided.guidance import CFGiG
from guided.schedule import log_snr, uniform
from tests.guided.toy import Toy, null
from tests.guided.two_laws import F64, Always, TwoGaussians, dropped

TIMES = log_snr(VE(), 40, sigma_min=0.02, sigma_max=80.0)
W, VARIANCES = 3.0, (1.0, 2.0)


def stationary(ratio: float) -> float:
    """V = f^2 (V + ratio^2), with f the factor of the flow of CFG from the ratio to data."""
    f2 = 1.0
    for v, weight in zip(VARIANCES, (W, 1 - W), strict=True):
        f2 *= (v / (v + ratio**2)) ** weight
    return f2 * ratio**2 / (1 - f2)


@pytest.mark.parametrize(("ratio", "repetitions"), [(1.0, 8), (0.5, 20)])
def test_repetitions_end_in_the_stationary_law(ratio: float, repetitions: int) -> None:
    laws = TwoGaussians(VE(), (0.0, 0.0), VARIANCES)
    method = CFGiG(Heun(Always(laws)), Heun(Always(CFG(laws, W, dropped))), ratio, repetitions)
    n = 10_000
    x0 = method.sample(80 * Rng(0).normal((n, 1), F64), TIMES, rng=Rng(1))
    assert x0.var().item() == pytest.approx(stationary(ratio), rel=4 * (2 / n) ** 0.5)
    assert x0.mean().item() == pytest.approx(0, abs=4 * (stationary(ratio) / n) ** 0.5)


def test_the_stationary_law_tends_to_the_powered_one_from_that_of_cfg() -> None:
    """Variances 2 / (w + 1) as the ratio falls and 2^(1 - w) as it grows (w = 3: 0.5 and 0.25)."""
    assert stationary(0.01) == pytest.approx(2 / (W + 1), rel=1e-3)
    assert stationary(1e3) == pytest.approx(2 ** (1 - W), rel=1e-3)
    ratios = [stationary(r) for r in (0.1, 0.5, 1.0, 3.0)]
    assert ratios == sorted(ratios, reverse=True)


def test_what_a_repetition_costs_and_where_it_starts() -> None:
    counted = Counted(Toy(VPLinear()))
    times, cond = uniform(10), torch.full((3,), 0.8)
    method = CFGiG(
        DDIM(counted), DDIM(CFG(counted, 2.0, null)), VPLinear().level(0.35).noise_to_signal, 2
    )
    method.sample(torch.zeros(3, 2), times, cond, rng=Rng(0))
    # 10 steps, and twice 0.35, 0.3, 0.2, 0.1 -> 0
    assert (counted.calls, counted.rows) == (10 + 2 * 4, 3 * (10 + 2 * 2 * 4))
    counted.reset()
    everything = CFGiG(DDIM(counted), DDIM(CFG(counted, 2.0, null)), 1e9, 1)
    everything.sample(torch.zeros(3, 2), uniform(10, start=0.9), cond, rng=Rng(0))
    assert counted.calls == 20


def test_mistakes_are_refused() -> None:
    toy = Toy(VPLinear())
    with pytest.raises(TypeError, match="CFGiG needs two samplers, got CFG"):
        CFGiG(DDIM(toy), CFG(toy, 2.0, null), 1.0)
    with pytest.raises(ValueError, match="both must mean the same noise"):
        CFGiG(DDIM(toy), DDIM(CFG(Toy(RectifiedFlow()), 2.0, null)), 1.0)
    for ratio, repetitions in ((0.0, 1), (1.0, -1)):
        with pytest.raises(ValueError, match="needs a ratio > 0 and repetitions >= 0, got"):
            CFGiG(DDIM(toy), DDIM(toy), ratio, repetitions)
