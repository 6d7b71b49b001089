"""CappedIGW and estimates from its logs: against closed forms, quadrature and many repeats."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from domains.rl.off_policy.capped_igw import Cap, acceptance, among, rejection, solve_beta
from domains.rl.off_policy.estimators import doubly_robust, ips, snips
from domains.rl.off_policy.normalised import certified
from guided import Rng

GRID = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
MANY = 40_000


def uniform(contexts, count, rng):
    return rng.uniform((len(contexts), count, 1), torch.float64)


def dip(contexts, actions):
    return (actions[..., 0] - 0.7).abs()


def integral(beta, tau, gamma):
    """The integral of q for |a - 0.7| and U[0, 1], in closed form: the flat top and two sides."""
    low = max(beta, 0.0)
    flat = min(low, 0.7) + min(low, 0.3)
    sides = sum(
        math.log((1 + gamma * (end - beta)) / (1 + gamma * (low - beta))) / gamma
        for end in (0.7, 0.3)
        if end > low
    )
    return tau * (flat + sides)


@pytest.mark.parametrize(("tau", "gamma"), [(20, 50), (4, 10), (1.5, 200), (100, 3)])
def test_beta_normalises_the_closed_form(tau, gamma):
    beta = solve_beta((GRID - 0.7).abs()[None], tau, gamma).item()
    assert integral(beta, tau, gamma) == pytest.approx(1, abs=1e-4)


def test_the_worked_example():
    losses = (GRID - 0.7).abs()[None]
    beta = solve_beta(losses, 20, 50)
    q = 20 * acceptance(losses, beta, 50)
    assert beta.item() == pytest.approx(-0.169, abs=5e-4)
    assert q.mean().item() == pytest.approx(1, abs=1e-9)
    assert q.min().item() == pytest.approx(0.45, abs=1e-3)


def test_beta_stays_in_its_bounds_at_any_losses():
    losses = torch.cat([torch.zeros(1, 9), torch.ones(1, 9), Rng(0).uniform((50, 9))])
    for tau, gamma in ((1, 5.0), (3, 0.1), (50, 1e4)):
        beta = solve_beta(losses, tau, gamma)
        q = tau * acceptance(losses, beta, gamma)
        assert (beta >= (1 - tau) / gamma).all() and (beta <= 1).all()
        assert torch.allclose(q.mean(1), torch.ones(52, dtype=torch.float64), atol=1e-6)
        assert q.max() <= tau and q.min() >= tau / (tau + gamma) - 1e-9


def test_rejection_follows_the_law_of_its_beta_and_the_integral_is_where_it_should_be():
    cap = Cap(tau=8, gamma=30, draws=160)
    played = rejection(torch.zeros(3000), uniform, dip, cap, Rng(3))
    sure = played.certified.tolist()
    inside = [0.25 <= integral(b, 8, 30) <= 1 for b in played.beta.tolist()]
    assert np.mean(sure) > 0.95 and np.mean(inside) > 0.999 and played.accepted.all()
    # Through its own distribution function every action becomes uniform.
    edges = torch.linspace(0, 1, 501, dtype=torch.float64)
    p = acceptance((edges - 0.7).abs().expand(3000, -1), played.beta, cap.gamma)
    law = torch.cumulative_trapezoid(p, edges)
    law = torch.nn.functional.pad(law, (1, 0)) / law[:, -1:]
    u = [np.interp(a, edges, row) for a, row in zip(played.actions[:, 0], law, strict=True)]
    assert kstest(u, "uniform").pvalue > 1e-3
    assert kstest(played.actions[:, 0], "uniform").pvalue < 1e-9


def test_tries_are_geometric():
    cap = Cap(tau=8, gamma=30, draws=400)
    played = rejection(torch.zeros(3000), uniform, dip, cap, Rng(4))
    expected = np.mean([8 / integral(b, 8, 30) for b in played.beta.tolist()])
    assert played.tries.double().mean().item() == pytest.approx(expected, rel=0.08)
    assert played.tries.min() == 1


def weighted(actions, log_density, losses=lambda a: a):
    """The deviation of an IPS estimate of E[h(a)] under U[0, 1] from 1/2, in standard errors."""
    terms = losses(actions[:, 0]).double() * (-log_density).exp()
    return ((terms.mean() - 0.5) / (terms.std() / len(terms) ** 0.5)).item()


@pytest.mark.parametrize("count", [2, 3, 20])
def test_weights_of_a_choice_among_few_draws_are_unbiased(count):
    rng = Rng(5)
    actions = uniform(torch.zeros(MANY), count, rng)
    played = among(actions, dip(None, actions), 6, 40, rng)
    assert abs(weighted(played.actions, played.log_density)) < 3.5
    assert played.log_density.exp().max() <= 6 + 1e-9
    assert played.log_density.exp().min() >= 6 / 46 - 1e-9
    if count < 20:  # where the density for one beta is clearly wrong, this test sees it
        q = 6 * acceptance(dip(None, played.actions[:, None]), played.beta.mean().expand(MANY), 40)
        assert abs(weighted(played.actions, q[:, 0].log())) > 10


def test_weights_of_rejection_are_unbiased_with_few_draws_and_many_that_gave_up():
    class Impatient(Cap):
        budget = 4

    cap = Impatient(tau=6, gamma=40, draws=5)
    played = rejection(torch.zeros(MANY), uniform, dip, cap, Rng(6))
    gave_up = ~played.accepted
    assert 0.05 < gave_up.double().mean() < 0.9
    assert (played.log_density[gave_up] == 0).all() and (played.tries[gave_up] == 4).all()
    assert abs(weighted(played.actions, played.log_density)) < 3.5
    assert abs(weighted(played.actions[gave_up], played.log_density[gave_up])) < 3.5
    assert abs(weighted(played.actions[~gave_up], played.log_density[~gave_up])) < 3.5


def test_tau_of_one_plays_the_reference():
    rng = Rng(7)
    actions = uniform(torch.zeros(2000), 10, rng)
    played = among(actions, dip(None, actions), 1, 50, rng)
    assert (played.log_density == 0).all()
    assert kstest(played.actions[:, 0], "uniform").pvalue > 1e-3
    played = rejection(torch.zeros(2000), uniform, dip, Cap(tau=1), rng)
    assert (played.log_density == 0).all() and (played.tries == 1).all() and played.certified.all()
    assert kstest(played.actions[:, 0], "uniform").pvalue > 1e-3


def test_among_picks_in_proportion():
    actions = torch.tensor([[0.0], [1.0], [2.0]]).expand(MANY, 3, 1)
    losses = torch.tensor([0.0, 0.5, 1.0]).expand(MANY, 3)
    played = among(actions, losses, 2, 4, Rng(8))
    q = 2 * acceptance(losses[:1], played.beta[:1], 4)[0]
    shares = torch.bincount(played.actions[:, 0].long(), minlength=3) / MANY
    assert shares.tolist() == pytest.approx((q / 3).tolist(), abs=0.01)
    assert played.log_density.exp().float().unique().tolist() == pytest.approx(
        q.float().sort().values.tolist(), rel=1e-5
    )


def test_a_row_with_its_own_stream_does_not_know_its_batch():
    contexts, seeds = torch.zeros(6), [1, 2, 3, 4, 5, 6]
    cap = Cap(tau=20, gamma=100, draws=50)
    together = rejection(contexts, uniform, dip, cap, Rng(seeds))
    alone = rejection(contexts[:1], uniform, dip, cap, Rng(seeds[4:5]))
    assert torch.equal(together.actions[4:5], alone.actions)
    assert torch.equal(together.log_density[4:5], alone.log_density)


@pytest.mark.parametrize(("mass", "wanted"), [(1.0, False), (0.25, False), (0.5, True)])
def test_the_bets_certify_what_is_inside_alone(mass, wanted):
    """q is tau with probability mass / tau, else 0: of all such densities the widest spread."""
    q = 10 * (Rng(9).uniform((1500, 1500), torch.float64) < mass / 10).double()
    share = certified(q, 10, 4, 0.05).double().mean()
    assert share > 0.9 if wanted else 0 < share <= 0.05


def test_estimators_by_hand():
    r, logged, target = [1.0, 0.0, 2.0], np.log([0.5, 1.0, 2.0]), np.log([1.0, 0.5, 1.0])
    w = np.array([2.0, 0.5, 0.5])
    found = ips(r, logged, target)
    assert found.value == pytest.approx(1.0) and found.rounds == 3
    assert found.error == pytest.approx(np.std([2.0, 0.0, 1.0], ddof=1) / 3**0.5)
    assert found.size == pytest.approx(9 / 4.5)
    assert snips(r, logged, target).value == pytest.approx(1.0)
    assert snips(r, logged + 1, target).value == pytest.approx(1.0)
    assert ips(r, logged + 1, target).value == pytest.approx(math.exp(-1))
    model, base = np.array([1.0, 0.5, 1.0]), np.array([0.2, 0.4, 0.6])
    expected = np.mean(base + w * (np.array(r) - model))
    assert doubly_robust(r, logged, target, model, base).value == pytest.approx(expected)
    none = ips(r, logged, np.full(3, -np.inf))
    assert none.value == none.error == none.size == 0


def test_doubly_robust_with_the_right_model_has_no_error():
    r = np.random.default_rng(0).uniform(size=50)
    found = doubly_robust(r, np.zeros(50), np.linspace(-3, 0, 50), r, np.full(50, 0.3))
    assert found.value == pytest.approx(0.3) and found.error == pytest.approx(0)


def test_errors_of_estimates_have_their_size():
    rng = np.random.default_rng(1)
    z = []
    for _ in range(300):
        a = rng.uniform(size=400)
        r = (rng.uniform(size=400) < a).astype(float)
        log = np.zeros(400), np.log(2 * a)  # the target has the density 2a, and the value 2/3
        z.append([(e.value - 2 / 3) / e.error for e in (ips(r, *log), snips(r, *log))])
    assert np.abs(np.mean(z, 0)).max() < 0.25
    assert np.std(z, 0) == pytest.approx([1, 1], abs=0.15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcomes": [1.0, math.nan]}, "outcomes that are finite"),
        ({"outcomes": [1.0]}, "at least 2"),
        ({"outcomes": [[1.0, 2.0]]}, "at least 2"),
        ({"logged": [0.0]}, "a log density of each"),
        ({"logged": [0.0, -math.inf]}, "cannot have taken"),
        ({"logged": [0.0, math.nan]}, "cannot have taken"),
        ({"target": [0.0, math.nan]}, "finite or -inf"),
        ({"target": [0.0, math.inf]}, "finite or -inf"),
        ({"target": [0.0, 800.0]}, "overflow"),
    ],
)
def test_logs_that_tell_nothing_are_refused(change, message):
    log = {"outcomes": [1.0, 0.0], "logged": [0.0, 0.0], "target": [0.0, 0.0]} | change
    for estimate in (ips, snips):
        with pytest.raises(ValueError, match=message):
            estimate(**log)


def test_a_target_without_a_logged_action_has_no_ratio():
    with pytest.raises(ValueError, match="takes none of the 2"):
        snips([1.0, 0.0], [0.0, 0.0], [-math.inf] * 2)
    with pytest.raises(ValueError, match="baseline that are finite"):
        doubly_robust([1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tau": 0.5}, "tau >= 1"),
        ({"tau": math.nan}, "tau >= 1"),
        ({"gamma": 0.0}, "gamma > 0"),
        ({"gamma": math.inf}, "gamma > 0"),
        ({"kappa": 1.0}, "kappa > 1"),
        ({"alpha": 0.0}, "alpha in"),
        ({"draws": 1}, "at least 2 draws"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Cap(**settings)


def test_losses_out_of_range_are_refused():
    actions = torch.zeros(2, 3, 1)
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"losses in \[0, 1\]"):
            among(actions, torch.full((2, 3), bad), 2, 1, Rng(0))
        with pytest.raises(ValueError, match=r"losses in \[0, 1\]"):
            wrong = torch.full((2, Cap().draws), bad)
            rejection(torch.zeros(2), uniform, lambda x, a, f=wrong: f, Cap(), Rng(0))
    with pytest.raises(ValueError, match=r"actions \(B, K, A\)"):
        among(actions, torch.zeros(2, 4), 2, 1, Rng(0))
    with pytest.raises(ValueError, match="need the shape"):
        rejection(torch.zeros(2), uniform, lambda x, a: a, Cap(), Rng(0))
    with pytest.raises(ValueError, match="at least one draw"):
        solve_beta(torch.zeros(2, 0), 2, 1)
