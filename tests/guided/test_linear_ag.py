"""Linear adaptive guidance: exact where noise estimates are linear in each other."""

import json

import numpy as np
import pytest
import torch

from guided import CFG, DDIM, DDPM, Counted, DPMpp2M, Heun, Rng, VPLinear
from guided.denoiser import Denoiser, Prediction
from guided.exact import Mixture
from guided.guidance import Between, LinearAG, LinearTable, fit_linear_ag
from guided.guidance.scale import interval
from guided.schedule import uniform
from tests.guided.toy import Toy, null

F64 = torch.float64
TIMES = uniform(12, start=0.6)


class Isotropic(Denoiser):
    """N(m, v I) for conditions {"mean": (B, d), "wide": (B,)}: v = 0.1, or 1 where it is wide."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = VPLinear()

    def forward(self, x, level, cond=None) -> Prediction:
        v = (0.1 + 0.9 * cond["wide"])[:, None]
        eps = level.sigma * (x - level.alpha * cond["mean"]) / (level.alpha**2 * v + level.sigma**2)
        return Prediction((x - level.sigma * eps) / level.alpha, eps)


def nothing(cond):
    """A wide law around a place of its own."""
    return {"mean": torch.full_like(cond["mean"], -0.3), "wide": torch.ones_like(cond["wide"])}


def conditions(count: int, seed: int):
    return {"mean": Rng(seed).normal((count, 5), F64), "wide": torch.zeros(count, dtype=F64)}


def fitted(make=DDIM, **options) -> LinearTable:
    sampler = make(CFG(Isotropic(), 2.5, nothing))
    x = Rng(1).normal((100, 5), F64)
    return fit_linear_ag(sampler, x, TIMES, conditions(100, 2), rng=Rng(3), **options)


@pytest.mark.parametrize("make", [DDIM, DPMpp2M])
def test_it_is_exact_on_gaussians_for_other_samples_and_conditions(make) -> None:
    table = fitted(make)
    assert sorted(table.weights) == [1, 3, 5]
    counted = Counted(Isotropic())
    x, cond = Rng(8).normal((7, 5), F64), conditions(7, 9)
    full = make(CFG(Isotropic(), 2.5, nothing)).sample(x, TIMES, cond, rng=Rng(0))
    method = LinearAG(make(CFG(counted, 2.5, nothing)), table)
    found = method.sample(x, TIMES, cond, rng=Rng(0))
    torch.testing.assert_close(found, full, rtol=1e-6, atol=1e-6)
    assert (counted.calls, counted.rows) == (12, 7 * (2 * 12 - 3))
    wrong = LinearTable(table.times, {k: (0.0,) * len(v) for k, v in table.weights.items()})
    blind = LinearAG(make(CFG(Isotropic(), 2.5, nothing)), wrong)
    missed = blind.sample(x, TIMES, cond, rng=Rng(0))
    assert (missed - full).abs().mean() > 0.01


def test_foretold_branches_beat_left_out_ones_on_a_mixture() -> None:
    """Not linear, not exact, but far closer to CFG than guidance left out in the same steps."""
    means = 1.5 * Rng(4).normal((6, 5), F64)
    law = Mixture(torch.ones(6), means, 0.05)
    model = law.denoiser(VPLinear(), classes=torch.tensor([0, 0, 1, 1, 2, 2]))
    guided = DDIM(CFG(model, 2.0, lambda labels: torch.full_like(labels, -1)))
    labels = torch.arange(200) % 3
    table = fit_linear_ag(guided, Rng(5).normal((200, 5), F64), TIMES, labels, rng=Rng(0))
    x, cond = Rng(6).normal((30, 5), F64), torch.arange(30) % 3
    full = guided.sample(x, TIMES, cond, rng=Rng(0))
    foretold = LinearAG(guided, table).sample(x, TIMES, cond, rng=Rng(0))
    skipped = [TIMES[i] for i in table.weights]

    def now_and_then(level) -> float:
        return 1.0 if level.t in skipped else 2.0

    sparse = DDIM(CFG(model, now_and_then, lambda labels: torch.full_like(labels, -1)))
    left_out = sparse.sample(x, TIMES, cond, rng=Rng(0))
    error, rival = ((a - full).square().mean().sqrt().item() for a in (foretold, left_out))
    assert error < 0.2 * rival, (error, rival)


def test_the_factors_are_those_of_least_squares() -> None:
    """One foretold step, against NumPy's on stored estimates; noise makes the factors unique."""
    guided = CFG(Isotropic(), 2.5, nothing)
    x, cond = Rng(1).normal((40, 5), F64), conditions(40, 2)
    table = fit_linear_ag(DDPM(guided), x, TIMES, cond, rng=Rng(0), steps=[1], ridge=0.0)
    t, s = VPLinear().levels(TIMES)[:2]
    y = DDPM(guided).sample(x, TIMES[:2], cond, rng=Rng(0))
    model = Isotropic()
    columns = [model(x, t, cond), model(y, s, cond), model(x, t, nothing(cond))]
    target = model(y, s, nothing(cond)).eps.flatten()
    expected = np.linalg.lstsq(np.stack([c.eps.flatten() for c in columns], 1), target)[0]
    np.testing.assert_allclose(table.weights[1], expected, rtol=1e-6)


def test_a_table_survives_json() -> None:
    table = fitted()
    again = LinearTable.from_dict(json.loads(json.dumps(table.to_dict())))
    assert again == table
    with pytest.raises(ValueError, match=r"a table has 'times' and 'weights', got \['times'\]"):
        LinearTable.from_dict({"times": [1.0, 0.0]})


def test_steps_of_choice_and_what_is_remembered_of_them() -> None:
    table = fitted(steps=[2, 3])
    assert {k: len(v) for k, v in table.weights.items()} == {2: 3 + 2, 3: 4 + 2}
    method = LinearAG(DDIM(CFG(Isotropic(), 2.5, nothing)), table)
    states = list(method.iterate(Rng(0).normal((4, 5), F64), TIMES, conditions(4, 0), rng=Rng(0)))
    lengths = [(len(s.memory.strong), len(s.memory.weak)) for s in states[:4]]
    assert lengths == [(1, 1), (2, 2), (3, 2), (4, 2)]
    assert states[4].memory is None  # nothing is kept when there is nothing more to foretell
    assert states[3].take(torch.tensor([1])).memory.strong[0].shape == (1, 5)


def test_mistakes_are_refused() -> None:
    guided = DDIM(CFG(Toy(VPLinear()), 2.0, null))
    table = LinearTable((1.0, 0.5, 0.0), {1: (0.5, 0.5, 0.0)})
    x, cond = torch.zeros(2, 3), torch.ones(2)
    with pytest.raises(ValueError, match=r"has no step from t=0\.9; fit it on the time grid"):
        LinearAG(guided, table).sample(x, [0.9, 0.5, 0.0], cond, rng=Rng(0))
    with pytest.raises(ValueError, match="remembers 0 steps at step 1; it needs all steps from"):
        LinearAG(guided, table).sample(x, [0.5, 0.0], cond, rng=Rng(0))
    with pytest.raises(ValueError, match="remembers 0 steps at step 1"):
        late = Between(LinearAG(guided, table), high=1.0 * VPLinear().level(0.9).noise_to_signal)
        late.sample(x, [1.0, 0.5, 0.0], cond, rng=Rng(0))
    with pytest.raises(TypeError, match="LinearAG needs the two branches of a contrast"):
        LinearAG(DDIM(Toy(VPLinear())), table)
    with pytest.raises(TypeError, match="LinearAG changes the one prediction of a step"):
        LinearAG(Heun(CFG(Toy(VPLinear()), 2.0, null)), table)


@pytest.mark.parametrize("weights", [{0: (1.0,)}, {2: (1.0,) * 5}, {1: (1.0, 1.0)}])
def test_a_table_that_does_not_fit_is_refused(weights) -> None:
    with pytest.raises(ValueError, match=r"for 2 steps cannot foretell step \d with \d factors"):
        LinearTable((1.0, 0.5, 0.0), weights)


def test_a_fit_that_cannot_be_made_is_refused() -> None:
    x, cond = torch.zeros(2, 3), torch.ones(2)

    def fit(sampler, **options):
        return fit_linear_ag(sampler, x, TIMES, cond, rng=Rng(0), **options)

    guided = CFG(Toy(VPLinear()), 2.0, null)
    for steps in ([0], [12], [3, -1]):
        with pytest.raises(ValueError, match="steps 1 to 11 of 12 can be foretold, got"):
            fit(DDIM(guided), steps=steps)
    with pytest.raises(TypeError, match="LinearAG needs the two branches of a contrast"):
        fit(DDIM(Toy(VPLinear())))
    with pytest.raises(TypeError, match="LinearAG changes the one prediction of a step"):
        fit(Heun(guided))
    off = CFG(Toy(VPLinear()), interval(2.0, 0.0, 1.0), null)
    with pytest.raises(ValueError, match=r"but the scale is 1 at t=0\.6"):
        fit(DDIM(off))
