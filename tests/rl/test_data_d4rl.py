"""Files as D4RL wrote them, with and without next observations and timeouts."""

import h5py
import numpy as np
import pytest
import torch

from domains.rl.data.d4rl import load_hdf5
from domains.rl.data.sources import load_data

LENGTHS, ENDED = (4, 3, 1, 5, 1, 2), (False, True, False, False, True, False)


def episodes():
    """States (T + 1, 2) of every episode."""
    generator = np.random.default_rng(0)
    return [generator.normal(size=(t + 1, 2)).astype(np.float32) for t in LENGTHS]


def written(path, *, drop=(), **changes):
    count, ends = sum(LENGTHS), np.cumsum(LENGTHS) - 1
    parts = episodes()
    terminals, timeouts = np.zeros(count, bool), np.zeros(count, bool)
    terminals[ends], timeouts[ends] = ENDED, np.logical_not(ENDED)
    arrays = {
        "observations": np.concatenate([s[:-1] for s in parts]),
        "next_observations": np.concatenate([s[1:] for s in parts]),
        "actions": np.linspace(-0.9, 0.9, 3 * count, dtype=np.float32).reshape(count, 3),
        "rewards": np.arange(count, dtype=np.float32),
        "terminals": terminals,
        "timeouts": timeouts,
    } | changes
    with h5py.File(path, "w") as file:
        for key in arrays.keys() - set(drop):
            file[key] = arrays[key]
        file["metadata/algorithm"] = "made"
    return arrays


@pytest.mark.parametrize("drop", [(), ("timeouts",)])
def test_a_file_with_next_observations_is_read_exactly(tmp_path, drop):
    path = tmp_path / "hopper_medium-v2.hdf5"
    arrays = written(path, drop=drop)
    data = load_data(path)
    assert data.lengths.tolist() == list(LENGTHS)
    torch.testing.assert_close(data.states, torch.from_numpy(np.concatenate(episodes())))
    for name in ("actions", "rewards", "terminals"):
        assert torch.equal(getattr(data, name), torch.from_numpy(arrays[name]))
    assert data.timeouts[data.starts[1:] - 1].tolist() == [not e for e in ENDED]
    assert data.timeouts.sum() == 4
    after = torch.from_numpy(arrays["next_observations"])
    assert torch.equal(data.states[data.at + 1], after)
    assert data.reference == (-20.27, 3234.3)
    assert data.name == "hopper_medium-v2"
    assert (data.low.tolist(), data.high.tolist()) == ([-1.0] * 3, [1.0] * 3)


def test_the_unknown_state_after_a_timeout_costs_one_transition(tmp_path):
    path = tmp_path / "x.hdf5"
    arrays = written(path, drop=("next_observations",))
    data = load_hdf5(path)
    # The third episode was of one step and cut: nothing of it is left.
    assert data.lengths.tolist() == [3, 3, 4, 1, 1]
    assert data.terminals.nonzero().flatten().tolist() == [5, 10]
    assert data.timeouts.nonzero().flatten().tolist() == [2, 9, 11]
    assert data.rewards.tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 13, 14]
    first, second, _, fourth, fifth, sixth = episodes()
    after_terminal = [np.concatenate([s[:-1], s[-2:-1]]) for s in (second, fifth)]
    expected = [first[:-1], after_terminal[0], fourth[:-1], after_terminal[1], sixth[:-1]]
    assert torch.equal(data.states, torch.from_numpy(np.concatenate(expected)))
    before = torch.from_numpy(arrays["observations"])[data.rewards.long()]
    assert torch.equal(data.states[data.at], before)


def test_the_horizon_tells_timeouts_of_old_files(tmp_path):
    path = tmp_path / "x.hdf5"
    terminals = np.zeros(16, bool)
    terminals[6] = True
    written(path, drop=("next_observations", "timeouts"), terminals=terminals)
    # Cut after steps 4 and, from the terminal on, 11 and 15: each loses its last transition.
    data = load_data(path, horizon=5)
    assert data.lengths.tolist() == [4, 2, 4, 3]
    assert data.terminals.nonzero().flatten().tolist() == [5]
    with pytest.raises(ValueError, match=r"neither timeouts nor next_observations.*give the hor"):
        load_hdf5(path)
    with pytest.raises(ValueError, match="horizon must be at least 1 step, got 0"):
        load_hdf5(path, horizon=0)


def test_a_reset_that_no_flag_tells_is_a_timeout(tmp_path):
    path = tmp_path / "x.hdf5"
    timeouts = np.zeros(16, bool)
    written(path, timeouts=timeouts)
    assert load_hdf5(path).lengths.tolist() == list(LENGTHS)


def test_a_step_with_both_flags_is_a_terminal(tmp_path):
    path = tmp_path / "x.hdf5"
    written(path, timeouts=np.ones(16, bool), terminals=np.ones(16, bool))
    data = load_hdf5(path)
    assert data.terminals.all()
    assert not data.timeouts.any()


def test_bounds_are_d4rls_unless_given_or_left(tmp_path):
    path = tmp_path / "x.hdf5"
    actions = np.linspace(-0.5, 2, 48, dtype=np.float32).reshape(16, 3)
    written(path, actions=actions)
    data = load_hdf5(path, name="pen-human-v1")
    assert data.low.tolist() == [-1, -1, -1]
    assert torch.equal(data.high, torch.from_numpy(actions.max(0)))
    assert data.reference == (96.26, 3076.8)
    assert load_hdf5(path, low=-2.0, high=np.full(3, 2.0)).high.tolist() == [2, 2, 2]


def test_a_damaged_or_foreign_file_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "x.hdf5"
    written(path)
    cases = {
        "truncated or no HDF5 file": path.read_bytes()[:3000],
        r"is truncated or no HDF5 file \(": b"hello",
    }
    for message, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            load_data(str(path))
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"there is no file .*y\.hdf5; check the path"):
        load_data(tmp_path / "y.hdf5")


@pytest.mark.parametrize(
    ("drop", "changes", "message"),
    [
        (("rewards", "terminals"), {}, r"lacks rewards, terminals \(it has actions, metadata"),
        ((), {"actions": np.zeros((15, 3))}, r"actions of .* has the shape \(15, 3\).* 16 steps"),
        ((), {"observations": np.zeros((32, 2))}, r"observations of .* shape \(32, 2\)"),
        ((), {"rewards": np.array([b"a"] * 16)}, r"rewards of .* type .*expected numbers"),
        ((), {"rewards": np.full(16, np.nan)}, "x has rewards that are NaN"),
        ((), {"rewards": np.zeros(0)}, "is empty: it has no transition"),
    ],
)
def test_wrong_contents_are_refused(tmp_path, drop, changes, message):
    path = tmp_path / "x.hdf5"
    written(path, drop=drop, **changes)
    with pytest.raises(ValueError, match=message):
        load_hdf5(path)


def test_one_episode_is_refused(tmp_path):
    path = tmp_path / "x.hdf5"
    none = np.zeros(16, bool)
    written(path, drop=("next_observations",), terminals=none, timeouts=none)
    with pytest.raises(ValueError, match="x has 1 episode, training needs 2"):
        load_hdf5(path)
