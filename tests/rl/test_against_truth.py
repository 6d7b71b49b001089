"""The point robot driven in batches, and a learned set that is judged against the exact one."""

import json

import gymnasium
import numpy as np
import pytest

from domains.rl.cli import main
from domains.rl.safe.against_truth import compare_sets, judge_drives, slice_states
from domains.rl.safe.drive import drive, starts_by_truth
from domains.rl.safe.point_robot import margin
from domains.rl.safe.reachable import Grid, feasible_value


class Wobbly:
    """Full speed ahead, with a random turn."""

    def act(self, obs, *, deterministic=False, rng=None):
        turn = rng.uniform((len(obs), 1)).numpy() * 2 - 1
        return np.concatenate([np.ones_like(turn), turn], 1)


class Brakes:
    """Brakes until it stands."""

    def act(self, obs, *, deterministic=False, rng=None):
        return np.stack([-(obs[:, 2] / 0.05).clip(-1, 1), np.zeros(len(obs))], 1)


@pytest.fixture(scope="module")
def truth():
    return feasible_value(Grid(61, 24))


def test_a_drive_is_what_the_environment_does():
    starts = np.array([[-1.5, -2.0, 1.0, 1.2], [2.0, 1.6, 1.0, 1.5], [2.9, 0.0, 2.0, 0.8]])
    found = drive(Wobbly(), starts, seed=3, limit=60)
    for i, start in enumerate(starts):
        env = gymnasium.make("guided/PointRobot-v0")
        _, info = env.reset(options={"state": start})
        worst, steps, over = info["margin"], 0, False
        states = found.states[:, i]
        while not over and steps < 60:
            # The actions that were taken, from the states that followed.
            action = (states[steps + 1, 2:] - states[steps, 2:]) / 0.05
            _, _, over, _, info = env.step(action)
            steps += 1
            worst = max(worst, info["margin"])
            np.testing.assert_allclose(env.unwrapped.state, states[steps], atol=1e-9)
        assert steps == found.steps[i]
        assert found.worst[i] == pytest.approx(worst)
    assert found.arrived.tolist() == [False, True, False]
    assert (found.states[-1, 2] == found.states[found.steps[2], 2]).all()  # it stays where it left


def test_robots_do_not_feel_each_other():
    starts = np.array([[-1.5, -2.0, 1.0, 1.2], [2.0, 1.6, 1.0, 1.5]])
    both = drive(Wobbly(), starts, seed=3, limit=40)
    alone = drive(Wobbly(), starts[:1], seed=3, limit=40)
    np.testing.assert_allclose(alone.states[:, 0], both.states[: len(alone.states), 0])


def test_starts_are_of_both_kinds(truth):
    feasible, infeasible = starts_by_truth(truth, 50, 0)
    assert feasible.shape == infeasible.shape == (50, 4)
    assert (truth.value(feasible) <= -0.02).all() and (truth.value(infeasible) >= 0.02).all()
    assert (margin(feasible) < 0).all()  # none begins in a hazard
    again, _ = starts_by_truth(truth, 50, 0)
    assert (again == feasible).all()


def test_sets_compare_by_hand():
    truth = np.array([True, True, True, True, False, False])
    guess = np.array([True, True, True, False, True, False])
    found = compare_sets(guess, truth)
    assert found == {"iou": pytest.approx(3 / 5), "false_safe": 0.25, "false_alarm": 0.5}
    assert compare_sets(truth & False, truth & False)["false_safe"] is None


def test_outcomes_are_measured_against_the_least_possible(truth):
    feasible, infeasible = starts_by_truth(truth, 40, 1)
    driven = drive(Brakes(), feasible, limit=60), drive(Brakes(), infeasible, limit=60)
    found = judge_drives(*driven, truth)
    hurt = int((driven[0].worst > 0).sum())
    assert 0 < hurt < 40  # straight braking saves some of them
    assert found["feasible"]["violations"] == hurt
    assert found["feasible"]["probability"]["value"] == pytest.approx(hurt / 40)
    lost = found["infeasible"]
    least = truth.value(infeasible)
    assert lost["range_of_exact"] == pytest.approx(least.max() - least.min())
    # Nobody does better than the best, up to the coarse grid's error.
    assert (driven[1].worst - least).min() > -0.03
    assert 0 < lost["mean_excess"] < lost["worst_excess"]


def test_slices_lie_in_the_box():
    states = slice_states(1.5, 0.7, 5)
    assert states.shape == (5, 5, 4)
    assert states[4, 0].tolist() == [3, -3, 1.5, 0.7]


def test_the_experiment_runs_from_data_to_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "data"))
    out, figures = tmp_path / "run", tmp_path / "figures.json"
    small = "--critics.hidden", "16", "--model.width", "16"
    where = "--out", str(out), "--json", str(figures)
    main(["point-robot", "--quick", "--seeds", "0", *where, *small])
    said = capsys.readouterr().out
    assert "feasible starts" in said and "random starts" in said
    assert (out / "seed-0.png").stat().st_size > 20_000
    found = json.loads(figures.read_text())["seeds"]["0"]
    assert [row["where"] for row in found["sets"]][-1] == "random starts"
    # What no learning touches: the ceiling of the discount and the naive guess on the slices.
    assert [row["ceiling"]["iou"] for row in found["sets"][:3]] == pytest.approx(
        [0.999, 0.998, 0.996], abs=0.003
    )
    assert found["sets"][1]["naive"]["iou"] == pytest.approx(0.784, abs=0.004)


def test_bad_numbers_are_one_sentence(tmp_path):
    with pytest.raises(SystemExit, match="give different seeds of at least 0"):
        main(["point-robot", "--seeds", "-1", "--out", str(tmp_path)])
