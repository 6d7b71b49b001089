"""The multi-world figures against av2's own, and by hand."""

import re
from dataclasses import asdict

import numpy as np
import pytest

from domains.trajectory.metrics import (
    averaged,
    brier_fde,
    collisions,
    misses,
    multi_world,
    world_ade,
    world_fde,
)

EXACT = {"rtol": 0, "atol": 1e-9}
DERIVED = {
    "best_world": "best",
    "JADE_at_best_FDE_world": "ade",
    "actorMR_best_fde_world": "miss_rate",
    "actorCR_best_fde_world": "collision_rate",
    "brierMinFDE_best_fde_world": "brier_fde",
    "minJADE": "min_jade",
    "minJFDE": "min_jfde",
    "marginal_minADE": "min_ade",
    "marginal_minFDE": "min_fde",
}


@pytest.fixture(scope="module")
def oracle(shared):
    with np.load(shared / "oracle" / "trajectory_metrics.npz") as file:
        return dict(file)


def worlds_of(prediction):
    return prediction.swapaxes(0, 1)  # av2 has actors first


@pytest.mark.parametrize("case", [f"case{i:02d}" for i in range(10)])
def test_equals_av2_on_random_worlds(oracle, case):
    of = {name.split("/")[1]: value for name, value in oracle.items() if name.startswith(case)}
    worlds, truth, p = worlds_of(of["pred"]), of["gt"], of["prob"]
    np.testing.assert_allclose(world_ade(worlds, truth), of["world_ade"], **EXACT)
    np.testing.assert_allclose(world_fde(worlds, truth), of["world_fde"], **EXACT)
    np.testing.assert_array_equal(misses(worlds, truth).T, of["world_misses"])
    np.testing.assert_array_equal(misses(worlds, truth, 1.0).T, of["world_misses_1m"])
    np.testing.assert_array_equal(collisions(worlds).T, of["world_collisions"])
    np.testing.assert_array_equal(collisions(worlds, 2.0).T, of["world_collisions_2m"])
    np.testing.assert_allclose(brier_fde(worlds, truth, p), of["world_brier_fde"], **EXACT)
    scaled = brier_fde(worlds, truth, 0.7 * p, renormalise=True)
    np.testing.assert_allclose(scaled, of["world_brier_fde_norm0.7"], **EXACT)
    lone, alone = worlds[:, :1], truth[:1]
    np.testing.assert_allclose(world_ade(lone, alone), of["actor0_ade"], **EXACT)
    np.testing.assert_allclose(world_fde(lone, alone), of["actor0_fde"], **EXACT)
    np.testing.assert_array_equal(misses(lone, alone)[:, 0], of["actor0_missed"])
    np.testing.assert_allclose(brier_fde(lone, alone, p), of["actor0_brier_fde"], **EXACT)
    scores = asdict(multi_world(worlds, truth, p))
    for name, field in DERIVED.items():
        np.testing.assert_allclose(scores[field], of[name].item(), err_msg=name, **EXACT)
    assert scores["fde"] == scores["min_jfde"]


def unit_cases(oracle):
    """Return av2's own unit tests as triples of a test, its arguments, and its truth."""
    cases = {}
    for name, value in oracle.items():
        if name.startswith("av2test/"):
            _, test, number, argument = name.split("/")
            cases.setdefault((test, number), {})[argument] = value
    truth = oracle["av2test_arrays/_STATIONARY_GT_TRAJ"][None]
    return [
        (test.removeprefix("test_compute_"), given, truth) for (test, _), given in cases.items()
    ]


def test_equals_the_unit_tests_of_av2(oracle):
    found = {
        "ade": lambda x, truth, **_: world_ade(x, truth),
        "fde": lambda x, truth, **_: world_fde(x, truth),
        "is_missed_prediction": lambda x, truth, threshold: misses(x, truth, threshold)[:, 0],
        "brier_fde": lambda x, truth, p, on: brier_fde(x, truth, p, on),
        # the same penalty on top of another distance
        "brier_ade": lambda x, truth, p, on: (
            brier_fde(x, truth, p, on) - world_fde(x, truth) + world_ade(x, truth)
        ),
    }
    cases = unit_cases(oracle)
    assert len(cases) == 29
    for test, given, truth in cases:
        if test not in found:
            continue
        (expected,) = (value for name, value in given.items() if name.startswith("expected_"))
        worlds = given["forecasted_trajectories"][:, None]
        names = {"miss_threshold_m": "threshold", "forecast_probabilities": "p", "normalize": "on"}
        more = {short: given[name] for name, short in names.items() if name in given}
        values = found[test](worlds, truth, **more)
        np.testing.assert_allclose(values, np.broadcast_to(expected, values.shape), **EXACT)


def test_refuses_what_the_unit_tests_of_av2_refuse(oracle):
    refused = 0
    for test, given, truth in unit_cases(oracle):
        if "validation" not in test:
            continue
        worlds = oracle["av2test_arrays/forecasted_trajectories_straight_k6"][:, None]
        p, renormalise = given["forecast_probabilities"], bool(given["normalize"])
        if p.shape == (6,) and p.max() <= 1:
            assert np.isfinite(brier_fde(worlds, truth, p, renormalise)).all()
            continue
        refused += 1
        message = r"got 0\.2 to 9" if p.shape == (6,) else r"shape \(6,\), got \(5,\)"
        with pytest.raises(ValueError, match=message):
            brier_fde(worlds, truth, p, renormalise)
    assert refused == 4


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("cv_state_velocity", (2.0358587166241677, 4.696793844943198)),
        ("cv_last_1s_mean", (3.8545474241771736, 8.335061749280353)),
    ],
)
def test_constant_velocity_on_the_sample_scenario(oracle, kind, expected):
    worlds, truth = worlds_of(oracle[f"av2_sample/{kind}/pred"]), oracle["av2_sample/gt"]
    scores = multi_world(worlds, truth, [1.0])
    np.testing.assert_allclose((scores.ade, scores.fde), expected, **EXACT)
    assert scores.brier_fde == scores.fde
    assert scores.min_ade == scores.ade


def test_thresholds_are_strict():
    truth = np.zeros((2, 1, 2))
    worlds = np.array([[[2.0, 0]], [[np.nextafter(2, 3), 0]]])
    assert misses(worlds[None], truth).tolist() == [[False, True]]
    at = np.array([[[0.0, 0]], [[1.0, 0]], [[1.0, 0.5]]])
    assert collisions(at[None, :2]).tolist() == [[False, False]]
    assert collisions(at[None]).tolist() == [[False, True, True]]
    assert not collisions(at[None, :1], 100.0).any()


def test_collisions_are_at_the_same_step_of_the_same_world():
    one, other = [[0, 0], [9, 0]], [[9, 0], [0, 0]]  # they swap places, and never meet
    assert not collisions([[one, other]]).any()
    assert not collisions([[one, [[5, 5], [5, 5]]], [[[7, 7], [7, 7]], one]]).any()
    assert collisions([[one, other], [one, [[9, 0], [9, 0.5]]]]).tolist() == [
        [False] * 2,
        [True] * 2,
    ]


def test_the_best_world_is_that_of_the_mean_final_error():
    truth = np.zeros((2, 2, 2))
    worlds = np.zeros((3, 2, 2, 2))
    worlds[0, :, :, 0] = [[0, 3], [0, 3]]  # mean ADE 1.5, mean FDE 3: the best ADE
    worlds[1, :, :, 0] = [[4, 0], [4, 4]]  # mean ADE 3, mean FDE 2: the best world
    worlds[2, :, :, 0] = [[9, 9], [0, 0.5]]  # the best for the second agent alone
    scores = multi_world(worlds, truth, [0.5, 0.2, 0.3])
    assert (scores.best, scores.ade, scores.fde, scores.miss_rate) == (1, 3.0, 2.0, 0.5)
    assert scores.brier_fde == pytest.approx(2 + 0.8**2)
    assert (scores.min_jade, scores.min_jfde) == (1.5, 2.0)
    assert (scores.min_ade, scores.min_fde) == ((1.5 + 0.25) / 2, (0 + 0.5) / 2)
    assert scores.collision_rate == 0.0 + 1.0  # both are at 4 at the first step


def test_orders_of_worlds_and_actors_do_not_matter():
    rng = np.random.default_rng(5)
    truth = rng.normal(size=(5, 9, 2)).cumsum(1)
    worlds = truth + rng.normal(size=(7, 5, 9, 2))
    p = rng.dirichlet(np.ones(7))
    scores = asdict(multi_world(worlds, truth, p))
    k, n = rng.permutation(7), rng.permutation(5)
    other = asdict(multi_world(worlds[k][:, n], truth[n], p[k]))
    assert k[other.pop("best")] == scores.pop("best")
    assert other == pytest.approx(scores, abs=1e-12)


def test_steps_that_were_not_seen_do_not_count():
    truth = np.array([[[0.0, 0], [np.nan, 0], [0, 0], [np.nan, np.nan]]])
    worlds = np.zeros((1, 1, 4, 2))
    worlds[0, 0, :, 0] = [1, 100, 3, 100]
    assert world_ade(worlds, truth) == 2
    assert world_fde(worlds, truth) == 3
    assert misses(worlds, truth).all()


def test_scenarios_count_the_same():
    truth = np.zeros((3, 2, 2))
    one = multi_world(truth[None] + [3.0, 4.0], truth, [1.0])
    lone = multi_world(truth[None, :1] + [1.0, 0], truth[:1], [0.5])
    found = averaged([one, lone])
    assert found["scenarios"] == 2
    assert found["avgMinADE"] == found["avgMinFDE"] == found["minJADE"] == 3.0
    assert (found["actorMR"], found["actorCR"]) == (0.5, 0.5)
    assert found["avgBrierMinFDE"] == (5 + 1.25) / 2


def test_inputs_are_not_changed():
    rng = np.random.default_rng(0)
    worlds, truth, p = rng.normal(size=(3, 2, 4, 2)), rng.normal(size=(2, 4, 2)), np.full(3, 0.2)
    kept = worlds.copy(), truth.copy(), p.copy()
    multi_world(worlds, truth, p, renormalise=True)
    for array, copy in zip((worlds, truth, p), kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_mistakes_are_named():
    worlds, truth = np.zeros((2, 3, 4, 2)), np.zeros((3, 4, 2))
    broken, infinite, unseen = worlds.copy(), truth.copy(), truth.copy()
    broken[1, 2, 0, 0] = np.nan
    infinite[0, 0] = np.inf
    unseen[1] = np.nan
    cases = [
        (lambda: world_ade(worlds[0], truth), r"worlds need shape (K, N, F, 2)"),
        (lambda: world_ade(worlds[:0], truth), "at least one world"),
        (lambda: world_ade(worlds, truth[:2]), "needs shape (3, 4, 2), got (2, 4, 2)"),
        (lambda: world_ade(broken, truth), "world 1 has a coordinate of agent 2"),
        (lambda: world_ade(worlds, infinite), "write NaN where nobody was seen"),
        (lambda: world_ade(worlds, truth * np.nan), "none of the 3 agents was seen"),
        (lambda: world_ade(worlds, unseen), "actor 1 was never seen"),
        (lambda: misses(worlds, truth, 0.0), "threshold is a positive number"),
        (lambda: collisions(worlds, -1.0), "threshold is a positive number"),
        (lambda: brier_fde(worlds, truth, [1.0]), "2 worlds need probabilities of shape (2,)"),
        (lambda: brier_fde(worlds, truth, [1.5, 0]), "from 0 to 1, got 0 to 1.5"),
        (lambda: brier_fde(worlds, truth, [np.nan, 0]), "from 0 to 1, got nan to nan"),
        (lambda: brier_fde(worlds, truth, [0, 0], True), "probabilities are all 0"),
        (lambda: averaged([]), "no scenario was scored"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=re.escape(message)):
            call()
