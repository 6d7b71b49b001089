"""CFG-Zero* against its formula, least squares, and steps that do nothing."""

import pytest
import torch

from guided import DDIM, Counted, Rng, VPLinear
from guided.guidance import CFGZeroStar, Momentum
from guided.guidance.space import coordinates
from guided.schedule import RectifiedFlow, uniform
from tests.guided.pushes import COND, FLOW, LEVEL, VP, X, both, close, consistent, null

T = RectifiedFlow().level(0.6)


def velocities(level=T, denoiser=FLOW):
    return (coordinates(p, level, "flow") for p in both(denoiser, level))


def velocity(method, level=T):
    return coordinates(method(X, level, COND), level, "flow")


@pytest.mark.parametrize("w", [0.0, 2.5])
def test_it_is_the_formula_with_the_least_squares_fit(w):
    strong, weak = velocities()
    fits = [
        torch.linalg.lstsq(u.reshape(-1, 1), c.reshape(-1, 1)).solution.item()
        for c, u in zip(strong, weak, strict=True)
    ]
    assert max(abs(fit - 1) for fit in fits) > 0.05
    fitted = torch.tensor(fits, dtype=X.dtype)[:, None, None] * weak
    method = CFGZeroStar(FLOW, w, null)
    close(velocity(method), fitted + w * (strong - fitted))
    consistent(method(X, T, COND), T)


def test_what_it_pushes_from_is_orthogonal_to_the_unconditional_velocity():
    strong, weak = velocities()
    push = velocity(CFGZeroStar(FLOW, 3.0, null)) - strong
    close((push * weak).sum((1, 2)), torch.zeros(5, dtype=X.dtype))


def test_it_is_what_diffusers_has():
    guiders = pytest.importorskip("diffusers.guiders.classifier_free_zero_star_guidance")
    strong, weak = velocities()
    s = guiders.cfg_zero_star_scale(strong.flatten(1), weak.flatten(1))[:, :, None]
    expected = s * weak + 2.5 * (strong - s * weak)
    close(velocity(CFGZeroStar(FLOW, 2.5, null)), expected, 1e-5)


def test_a_multiple_of_the_unconditional_velocity_is_no_reason_to_push():
    """Where u_c = 1.5 u_0 the fit is perfect."""

    class Longer(type(FLOW)):
        def forward(self, x, level, cond=None):
            x0, eps = super().forward(x, level, None)
            by = torch.where(cond == -1, 0.0, 0.5)[:, None, None] * (eps - x0)
            return type(both()[0])(x0 - level.sigma * by, eps + level.alpha * by)

    found = velocity(CFGZeroStar(Longer(FLOW.mixture, FLOW.schedule), 7.0, null))
    close(found, 1.5 * coordinates(FLOW(X, T), T, "flow"))


def test_the_first_steps_do_nothing_and_cost_nothing():
    counted = Counted(FLOW)
    sampler = DDIM(CFGZeroStar(counted, 2.0, null, zero=0.2))
    states = [s.x for s in sampler.iterate(X, uniform(10), COND, rng=Rng(0))]
    # t = 1 and 0.9 are above 0.8.
    close(states[0], X)
    close(states[1], X)
    assert (states[2] - X).abs().max() > 0.01
    assert (counted.calls, counted.rows) == (8, 2 * 5 * 8)


def test_on_another_schedule_x_over_alpha_plus_sigma_stays():
    method = DDIM(CFGZeroStar(VP, 2.0, null, zero=0.7))
    (first, *_) = method.iterate(X, [0.4, 0.2, 0.0], COND, rng=Rng(0))
    t, s = VPLinear().level(0.4), VPLinear().level(0.2)
    close(first.x / (s.alpha + s.sigma), X / (t.alpha + t.sigma))


def test_without_guidance_no_step_is_left_out():
    counted = Counted(FLOW)
    found = DDIM(CFGZeroStar(counted, 1.0, null, zero=0.5)).sample(X, uniform(4), COND, rng=Rng(0))
    assert torch.equal(found, DDIM(FLOW).sample(X, uniform(4), COND, rng=Rng(0)))
    assert counted.rows == 4 * 5


def test_momentum_changes_the_difference_only():
    """The second of two steps by hand: s u_0 stays, and beta times the first difference is added.

    The buffer is of u_c - u_0 at the first level.
    """
    method = CFGZeroStar(FLOW, 3.0, null, zero=0.0)
    times = [0.8, 0.6, 0.4]
    first, second = Momentum(DDIM(method), -0.5).iterate(X, times, COND, rng=Rng(0))
    t, s, r = (RectifiedFlow().level(time) for time in times)
    c, u = (coordinates(p, t, "flow") for p in both(FLOW, t))
    expected = coordinates(method(first.x, s, COND), s, "flow") - 2 * 0.5 * (c - u)
    close(second.x, first.x + (r.t - s.t) * expected)


@pytest.mark.parametrize("zero", [-0.1, 1.0])
def test_what_is_refused(zero):
    with pytest.raises(ValueError, match=r"share of levels without velocity is in \[0, 1\), 0 for"):
        CFGZeroStar(FLOW, 2.0, null, zero)


def test_a_velocity_of_zero_fits_nothing():
    """Both predictions equal to x0 = eps: u = 0 and no NaN."""

    class Still(type(FLOW)):
        def forward(self, x, level, cond=None):
            still = x / (level.alpha + level.sigma)
            return type(both()[0])(still, still)

    found = CFGZeroStar(Still(FLOW.mixture, FLOW.schedule), 7.0, null)(X, LEVEL, COND)
    assert found.x0.isfinite().all()
