"""The shield: what it picks, when it falls back and stops, what it tells, and that it protects."""

import json
import warnings
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from domains.rl.critics.critic import Critic, CriticConfig
from domains.rl.data.normalise import Normaliser
from domains.rl.environments import make
from domains.rl.evaluate import Trials, evaluate
from domains.rl.model import ModelConfig, behaviour
from domains.rl.networks import Networks
from domains.rl.policy import DiffusionPolicy, Sampling
from domains.rl.safe import Grid, feasible_value
from domains.rl.safe.scores import exact_danger, learned_danger, learned_value
from domains.rl.safe.shield import Shield, ShieldStop, pick
from domains.rl.safe.shield_log import KEPT, ShieldLog
from guided.rng import Rng
from tests.rl.arenas import Noisy, limited_walk

OBS = np.zeros((2, 3))
INF, NAN = np.inf, np.nan


class Menu:
    """Proposes the same candidates to every observation."""

    def __init__(self, *actions):
        self.actions = np.array(actions, dtype=float)[:, None]

    def propose(self, obs, n, rng):
        return np.tile(self.actions[:n], (len(obs), 1, 1))


class Random:
    """Draws actions from each row's own stream, one row at a time, as wrappers of policies do."""

    def act(self, obs, *, deterministic=False, rng=None):
        rows = [rng.take([i]).uniform((1, 2)) for i in range(len(obs))]
        return torch.cat(rows).numpy() * 2 - 1


def own_score(obs, candidates):
    """The danger of an action is the action."""
    return candidates[..., 0]


def farthest(obs, candidates):
    return -((candidates[..., 0] + 2.5) ** 2)


@pytest.mark.parametrize(
    ("scores", "values", "chosen", "fallback"),
    [
        ([-3, -1, 2], [0, 5, 9], 1, False),  # the best value among the admissible
        ([-3, -1, 2], None, 0, False),  # no values: the safest
        ([3, 1, 2], [0, 5, 9], 1, True),  # none admissible: the safest, whatever the value
        ([0, -1, 2], [5, 4, 9], 0, False),  # the threshold itself is admissible
        ([NAN, -1, -2], [9, 4, 3], 1, False),  # NaN is unsafe
        ([NAN, 7, 8], [9, 4, 3], 1, True),
        ([NAN, NAN, NAN], [9, 4, 3], 0, True),
        ([INF, NAN, 5], None, 2, True),
        ([1, -1, -2], [9, NAN, -1e300], 2, False),  # a value of NaN is the least
        ([1, -1, 2], [9, NAN, 9], 1, False),  # but even that comes before the inadmissible
        ([1, 2, -1], [9, 9, -INF], 2, False),
        ([-INF, -1, 2], None, 0, False),
    ],
)
def test_what_is_picked(scores, values, chosen, fallback):
    values = None if values is None else np.array([values], dtype=float)
    found = pick(np.array([scores], dtype=float), values, 0.0)
    assert [part.tolist() for part in found] == [[chosen], [fallback]]


def test_a_large_threshold_is_best_of_n_and_scores_only_rule_out():
    rng = np.random.default_rng(0)
    scores, values = rng.normal(size=(2, 200, 7))
    free, none = pick(scores, values, 1e300)
    np.testing.assert_array_equal(free, values.argmax(1))
    assert not none.any()
    for threshold in (-1.0, 0.0, 1.0):
        found, fallback = pick(scores, values, threshold)
        for i in range(200):
            allowed = [j for j in range(7) if scores[i, j] <= threshold]
            wanted = max(allowed, key=lambda j: values[i, j]) if allowed else scores[i].argmin()
            assert (found[i], fallback[i]) == (wanted, not allowed)


def test_the_actions_are_those_picked_and_the_log_counts():
    shield = Shield(Menu(1.0, -2.0, -3.0), own_score, farthest, candidates=3)
    np.testing.assert_array_equal(shield.act(OBS), [[-2.0], [-2.0]])
    fewer = Shield(Menu(1.0, -2.0, -3.0), own_score, candidates=3, threshold=-5.0)
    np.testing.assert_array_equal(fewer.act(OBS), [[-3.0], [-3.0]])
    assert (shield.log.decisions, shield.log.fallbacks) == (2, 0)
    assert (fewer.log.decisions, fewer.log.fallbacks) == (2, 2)


def test_a_threshold_is_not_rounded_to_the_precision_of_scores():
    above = np.float32(0.1)  # is more than 0.1
    shield = Shield(Menu(above), lambda o, c: c[..., 0].astype(np.float32), candidates=1,
                    threshold=0.1)  # fmt: skip
    shield.act(OBS)
    assert shield.log.fallbacks == 2


def test_each_row_is_as_if_alone_whatever_the_policy_does_with_its_streams():
    shield = Shield(Random(), own_score, candidates=5)
    together = shield.act(OBS, rng=Rng([3, 4]))
    np.testing.assert_array_equal(together[1:], shield.act(OBS[1:], rng=Rng([4])))
    # and a row's candidates differ: the least of five
    lows = [shield.act(OBS[:1], rng=Rng([s]))[0, 0] for s in range(50)]
    assert np.mean(lows) == pytest.approx(-1 + 2 / 6, abs=0.15)  # E of the least of 5 U[-1, 1]


def test_deterministic_decisions_depend_on_the_observation_alone():
    shield = Shield(Random(), own_score, candidates=4)
    once, again = (shield.act(OBS, deterministic=True, rng=Rng([s, s + 1])) for s in (0, 5))
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(once[0], once[1])


def test_events_and_the_hooks():
    told, asked = [], []

    def stop(event):
        asked.append(event)
        return event.scores[event.chosen] > 4

    shield = Shield(
        Menu(6.0, 5.0), lambda o, c: c[..., 0] - o[:, :1], candidates=2, on_fallback=told.append,
        stop=stop, emergency=lambda event: [-9.0],
    )  # fmt: skip
    obs = np.array([[5.5], [0.0], [2.0]])
    np.testing.assert_array_equal(shield.act(obs), [[5.0], [-9.0], [5.0]])
    assert [event.decision for event in asked] == [0, 1, 2]
    assert [event.decision for event in told] == [1, 2]
    event = told[1]
    assert event.fallback and event.chosen == 1 and event.observation.tolist() == [2.0]
    np.testing.assert_array_equal(event.scores, [4.0, 3.0])
    np.testing.assert_array_equal(event.candidates, [[6.0], [5.0]])
    found = shield.summary()
    assert (found.decisions, found.fallbacks, found.stops, found.worst) == (3, 2, 1, 5.0)
    shield.act(obs)
    assert asked[-1].decision == 5


def test_without_an_emergency_a_stop_raises():
    shield = Shield(Menu(6.0), own_score, candidates=1, stop=lambda event: event.fallback)
    with pytest.raises(ShieldStop, match="decision 0, whose chosen score is 6") as raised:
        shield.act(OBS)
    assert raised.value.event.decision == 0 and shield.summary().stops == 1


def test_dict_observations_reach_hooks_and_scores_as_rows():
    seen = []
    shield = Shield(Noisy(), lambda o, c: c[..., 0] * (o["x"] >= 0), candidates=3,
                    threshold=-1e9, on_fallback=seen.append)  # fmt: skip
    found = evaluate(limited_walk, shield, Trials(2, max_steps=3))
    np.testing.assert_array_equal(seen[0].observation["x"], found.starts["x"][0])
    assert shield.summary().decisions == found.lengths.sum() == 6


def test_nothing_but_fallbacks_is_told_once():
    shield = Shield(Menu(1.0, 3.0), own_score, candidates=2, patience=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shield.act(OBS)
        shield.act(OBS)
    assert shield.summary().warning is None
    with pytest.warns(RuntimeWarning, match=r"6 decisions \(threshold 0, lowest score 1\).*raise"):
        shield.act(OBS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shield.act(OBS)
    assert "admitted no candidate in any of its 8" in shield.summary().warning
    assert "raise the threshold" in str(shield.summary())


def test_a_single_admissible_candidate_is_no_reason_to_warn():
    shield = Shield(Menu(1.0), lambda o, c: c[..., 0] - o[:, :1], candidates=1, patience=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shield.act(np.array([[2.0], [0.0]]))
        shield.act(OBS)
    assert shield.summary().warning is None and shield.summary().fallbacks == 3


def test_the_summary_has_quantiles_and_is_json():
    log = ShieldLog(0.5, 100)
    empty = log.summary()
    assert empty.scores is None and json.loads(json.dumps(empty.to_json()))["worst"] is None
    own = np.arange(1.0, 101)[:, None]
    log.note(np.hstack([own, own - 200]), np.zeros(100, dtype=int), own[:, 0] > 90)
    log.note(np.full((1, 2), NAN), np.zeros(1, dtype=int), np.ones(1, dtype=bool))
    found = log.summary()
    assert found.scores == {0.05: 5, 0.5: 50, 0.95: 95} and found.worst == 100
    assert (found.decisions, found.fallbacks, found.unjudged) == (101, 11, 1)
    assert log.lowest == -199
    text = str(found)
    assert "101 decisions at threshold 0.5; 11 fallbacks (10.9%)" in text and "1 without" in text
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["scores"]["0.5"] == 50


def test_the_sample_of_a_long_run_is_fair():
    log, total = ShieldLog(0.0, 100), 20 * KEPT
    for own in np.arange(float(total)).reshape(-1, 500, 1):
        log.note(own, np.zeros(500, dtype=int), np.zeros(500, dtype=bool))
    found = log.summary()
    for level, value in found.scores.items():
        assert value / total == pytest.approx(level, abs=0.02)  # 4 standard errors at most
    assert found.worst == total - 1 and len(log._scores) == KEPT


def diffusion(safety=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ModelConfig(width=16, depth=1)
        normaliser = Normaliser(
            torch.tensor([1.0, 0, 0]), torch.tensor([2.0, 1, 1]),
            torch.tensor([-2.0, 0]), torch.tensor([2.0, 10]),
        )  # fmt: skip
        critic = Critic(3, 2, CriticConfig(hidden=(16,), fourier=4))
        networks = Networks(behaviour(model, 3, 2), normaliser, critic, None, model)
    own = DiffusionPolicy(networks, Sampling(steps=4, scale=0.0))
    if safety is not None:
        object.__setattr__(networks, "safety", safety)
    return own


def test_a_diffusion_policy_is_judged_in_the_units_of_its_networks():
    seen = []

    def q_h(states, actions):
        seen.append((states, actions))
        return actions[..., 1]

    policy = diffusion(SimpleNamespace(q_h=q_h))
    obs = np.array([[1.0, 0, 0], [3.0, 1, 0]], dtype=np.float32)
    candidates = np.array([[[-2.0, 0], [2, 10]], [[0, 5], [1, 5]]], dtype=np.float32)
    scores = learned_danger(policy)(obs, candidates)
    np.testing.assert_allclose(scores, [[-1, 1], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(seen[0][0], [[0, 0, 0], [1, 1, 0]])
    values = learned_value(policy)(obs, candidates)
    states, actions = seen[0]
    for i in range(2):
        alone = policy.networks.critic.q(states[i : i + 1].expand(2, -1), actions[i])
        np.testing.assert_allclose(values[i], alone, rtol=1e-5)


def test_without_danger_a_shielded_diffusion_policy_is_its_best_of_n():
    policy = diffusion()
    obs = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    shield = Shield(policy, lambda o, c: np.zeros(c.shape[:2]), learned_value(policy), candidates=6)
    best = shield.act(obs, rng=Rng([1, 2, 3]))
    drawn = policy.act(np.repeat(obs, 6, 0), rng=Rng([1, 2, 3]).take(np.repeat(range(3), 6)))
    q = learned_value(policy)(obs, drawn.reshape(3, 6, 2))
    np.testing.assert_allclose(best, drawn.reshape(3, 6, 2)[range(3), q.argmax(1)], atol=1e-5)
    np.testing.assert_allclose(shield.act(obs[1:2], rng=Rng([2])), best[1:2], atol=1e-4)


def test_missing_networks_are_one_sentence():
    with pytest.raises(ValueError, match="no feasibility critic; give"):
        learned_danger(diffusion())
    policy = diffusion()
    object.__setattr__(policy.networks, "critic", None)
    with pytest.raises(ValueError, match="no critic; give"):
        learned_value(policy)


class Bold(Random):
    """Draws at random; but knows how to brake fully, whichever way it faces, and to turn away."""

    def propose(self, obs, n, rng):
        drawn = rng.uniform((len(obs) * (n - 6), 2)).numpy().reshape(len(obs), -1, 2) * 2 - 1
        known = [[a, turn] for a in (-1, 1) for turn in (-1, 0, 1)]
        return np.concatenate([drawn, np.tile(known, (len(obs), 1, 1))], 1)


def test_exact_scores_keep_a_bold_robot_out_of_the_hazards():
    value = feasible_value(Grid(45, 24, top_speed=4.1))
    env = partial(make, "guided/PointRobot-v0", max_episode_steps=40)
    trials = Trials(50, seed=1)
    bare = evaluate(env, Bold(), trials)
    faster = Shield(Bold(), exact_danger(value), lambda o, c: c[..., 0], threshold=-0.05)
    guarded = evaluate(env, faster, trials)
    x, y, v, cos, sin = bare.starts[:, :5].T
    feasible = value.value(np.stack([x, y, v, np.arctan2(sin, cos)], -1)) < -0.1
    assert 25 < feasible.sum() < 50
    assert bare.costs[feasible].sum() > 20  # the random robot runs into them
    assert guarded.costs[feasible].sum() == 0
    assert -0.1 < guarded.worst_margin[feasible].max() <= 0  # and it uses the room there is
    summary = faster.summary()
    assert 0 < summary.fallbacks < summary.decisions == guarded.lengths.sum()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threshold": NAN}, "threshold = nan"),
        ({"threshold": INF}, "threshold = inf"),
        ({"candidates": 0}, "candidates = 0"),
        ({"patience": 0}, "patience = 0"),
        ({"emergency": lambda event: 0}, "no stop that calls for it"),
    ],
)
def test_a_shield_that_cannot_be_is_one_sentence(options, said):
    with pytest.raises(ValueError, match=said):
        Shield(Menu(0.0), own_score, **options)


class Returns:
    def __init__(self, actions):
        self.actions = actions

    def act(self, obs, *, deterministic=False, rng=None):
        return self.actions


@pytest.mark.parametrize(
    ("shield", "obs", "said"),
    [
        (Shield(Menu(0.0), own_score, candidates=2), OBS, r"proposed actions of shape \(2, 1, 1\)"),
        (Shield(Returns(np.zeros((2, 1))), own_score, candidates=3), OBS, "for 6 observations"),
        (Shield(Menu(0.0), lambda o, c: c, candidates=1), OBS, r"danger returned.*\(2, 1, 1\)"),
        (Shield(Menu(0.0), own_score, lambda o, c: c[0], candidates=1), OBS, "value returned"),
        (Shield(Menu(0.0), own_score, candidates=1), OBS[0], r"shape \(3,\); give one observation"),
        (Shield(Menu(0.0), own_score, candidates=1), {"x": OBS[0]}, r"as obs\[None\]"),
        (Shield(Menu(0.0), own_score, candidates=1, stop=lambda e: True,
                emergency=lambda e: [1.0, 2.0]), OBS, r"emergency returned.*\(2,\); return \(1,\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(shield, obs, said):
    with pytest.raises(ValueError, match=said):
        shield.act(obs)
