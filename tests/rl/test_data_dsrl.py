"""Files of DSRL's format, made here, and the constants of its tasks."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from domains.rl.data import dsrl
from domains.rl.data.scores import normalised_score
from domains.rl.data.sources import load_data

# Episodes that end in a terminal, a timeout, both (one step), and a timeout.
LENGTHS, ENDED = (3, 4, 1, 2), (True, False, True, False)
COUNT = sum(LENGTHS)


def written(path: Path, *, drop: tuple[str, ...] = (), **changes: np.ndarray) -> dict:
    """Write a file as DSRL has them: flat arrays of float32 and flags."""
    generator = np.random.default_rng(0)
    parts = [generator.normal(size=(t + 1, 2)).astype(np.float32) for t in LENGTHS]
    ends = np.cumsum(LENGTHS) - 1
    terminals, timeouts = np.zeros(COUNT, bool), np.zeros(COUNT, bool)
    terminals[ends], timeouts[ends] = ENDED, np.logical_not(ENDED)
    timeouts[7] = True
    arrays = {
        "observations": np.concatenate([s[:-1] for s in parts]),
        "next_observations": np.concatenate([s[1:] for s in parts]),
        "actions": np.linspace(-0.9, 0.9, COUNT, dtype=np.float32)[:, None],
        "rewards": np.arange(COUNT, dtype=np.float32),
        "costs": np.array([0, 0, 1, 0, 1, 1, 0, 1, 0, 0], np.float32),
        "terminals": terminals,
        "timeouts": timeouts,
    } | changes
    with h5py.File(path, "w") as file:
        for key in arrays.keys() - set(drop):
            file[key] = arrays[key]
    return arrays


def test_a_file_is_read_exactly_with_terminals_and_timeouts_apart(tmp_path: Path) -> None:
    path = tmp_path / "SafetyBallRun-v0-80-940.hdf5"
    arrays = written(path)
    data = load_data(path)
    assert data.lengths.tolist() == list(LENGTHS)
    for name in ("actions", "rewards", "costs", "terminals"):
        assert torch.equal(getattr(data, name), torch.from_numpy(arrays[name]))
    assert data.timeouts.nonzero().flatten().tolist() == [6, 9]
    assert data.cost_returns.tolist() == [1, 2, 1, 0]
    assert data.margins is None
    after = torch.from_numpy(arrays["next_observations"])
    assert torch.equal(data.states[data.at + 1], after)
    assert torch.equal(data.states[data.at], torch.from_numpy(arrays["observations"]))


def test_arrays_with_an_axis_of_one_behind_are_the_same(tmp_path: Path) -> None:
    flat, thin = tmp_path / "flat.hdf5", tmp_path / "thin.hdf5"
    arrays = written(flat)
    names = ("rewards", "costs", "terminals", "timeouts")
    written(thin, **{name: arrays[name][:, None] for name in names})
    one, other = load_data(flat), load_data(thin)
    for name in (*names, "states", "actions", "starts"):
        assert torch.equal(getattr(one, name), getattr(other, name))


def test_costs_go_with_their_transitions_where_the_last_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "x.hdf5"
    arrays = written(path, drop=("next_observations",))
    data = load_data(path)
    # The last transitions of the two cut episodes lead nowhere known.
    assert data.rewards.tolist() == [0, 1, 2, 3, 4, 5, 7, 8]
    assert data.costs.tolist() == arrays["costs"][data.rewards.long()].tolist()


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        (np.full(COUNT, np.nan), "x has costs that are NaN or infinite in 10 steps"),
        (np.linspace(0, -1, COUNT), "x has costs that are negative in 9 .* first in episode 0"),
        (np.zeros(COUNT - 1), r"costs of .* has the shape \(9,\) .* expected numbers for 10"),
        (np.zeros((COUNT, 2)), r"costs of .* has the shape \(10, 2\)"),
    ],
)
def test_wrong_costs_are_refused(tmp_path: Path, costs: np.ndarray, message: str) -> None:
    path = tmp_path / "x.hdf5"
    written(path, costs=costs)
    with pytest.raises(ValueError, match=message) as caught:
        load_data(path)
    assert "\n" not in str(caught.value)


def test_scores_divide_by_dsrls_own_returns(tmp_path: Path) -> None:
    path = tmp_path / "SafetyBallRun-v0-80-940.hdf5"
    written(path)
    reference = load_data(path).reference
    assert reference == (26.339754104614258, 1327.445556640625)
    assert normalised_score(26.339754104614258, reference) == 0
    assert normalised_score(1327.445556640625, reference) == 100
    other = tmp_path / "SafetyBallRun-v9-80-940.hdf5"
    written(other)
    assert load_data(other).reference is None


@pytest.mark.parametrize(
    ("name", "horizon", "max_cost"),
    [
        ("SafetyBallRun-v0-80-940", 100, 80.0),
        ("SafetyCarGoal1Gymnasium-v0-120-1671", 1000, 120.0),
        ("SafetyAntVelocityGymnasium-v1-250-2249", 1000, 250.0),
        ("SafeMetaDrive-hardsparse-v0-85-1000", 1000, 85.010009765625),
        ("safetydronecircle-V0", 300, 100.0),
    ],
)
def test_names_of_files_tell_the_task(name: str, horizon: int, max_cost: float) -> None:
    task = dsrl.task(name)
    assert task is not None
    assert (task.horizon, task.max_cost) == (horizon, max_cost)
    assert task.reference == (task.min_return, task.max_return)


def test_other_names_tell_nothing() -> None:
    for name in ("SafetyAntVelocityGymnasium-v0-250-2249", "BallRun", "hopper-medium-v2", ""):
        assert dsrl.task(name) is None


def test_the_constants_are_those_of_the_published_file(shared: Path) -> None:
    tasks = json.loads((shared / "oracle" / "dsrl_refs.json").read_text())["tasks"].values()
    assert len(tasks) == 38
    for facts in tasks:
        found = dsrl.task(Path(facts["file"]).stem)
        assert found is not None
        assert found.horizon == facts["max_episode_steps"]
        assert found.reference == (facts["min_episode_reward"], facts["max_episode_reward"])
        costs = (facts["min_episode_cost"], facts["max_episode_cost"])
        assert (found.min_cost, found.max_cost) == costs
