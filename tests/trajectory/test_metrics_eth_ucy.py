"""The whole constant-velocity table of ETH/UCY, to the printed digits.

The windows are read here, apart from the reader of the package, so that neither vouches for itself.
"""

import numpy as np
import pytest

from domains.trajectory.metrics import WindowScores, collision_rates

SCENES = {
    "eth": ["biwi_eth"],
    "hotel": ["biwi_hotel"],
    "univ": ["students001", "students003"],
    "zara1": ["crowds_zara01"],
    "zara2": ["crowds_zara02"],
}
SEEN, STEPS = 8, 20
TIMES = np.arange(SEEN) - (SEEN - 1) / 2
VELOCITIES = {
    "last": lambda past: past[:, -1] - past[:, -2],
    "mean": lambda past: (past[:, -1] - past[:, 0]) / (SEEN - 1),
    "ls": lambda past: np.einsum("t,nti->ni", TIMES, past) / (TIMES**2).sum(),
    "zero": lambda past: np.zeros_like(past[:, 0]),
}
COLLISIONS = {  # of the last velocity, and of what happened
    "eth": (0.0082, 0.0),
    "hotel": (0.0292, 0.0011),
    "univ": (0.1811, 0.0213),
    "zara1": (0.0330, 0.0),
    "zara2": (0.0601, 0.0016),
}


def windows_of(shared, scene):
    """Return the complete people (N, 20, 2) of every window with at least one."""
    found = []
    for name in SCENES[scene]:
        rows = np.loadtxt(shared / "data" / "eth_ucy" / "all_data" / f"{name}.txt")
        frames, frame = np.unique(rows[:, 0], return_inverse=True)
        people, person = np.unique(rows[:, 1], return_inverse=True)
        grid = np.full((len(people), len(frames), 2), np.nan)
        grid[person, frame] = rows[:, 2:]
        parts = [grid[:, start : start + STEPS] for start in range(len(frames) - STEPS + 1)]
        found += [part[~np.isnan(part).any((1, 2))] for part in parts]
    return [window for window in found if len(window)]


def moved_on(window, velocity):
    past = window[:, :SEEN]
    steps = np.arange(1, STEPS - SEEN + 1)[:, None]
    return (past[:, -1:] + velocity(past)[:, None] * steps)[None]


def table(shared, scene):
    """Return the printed rows of a scene by the least number of people and the velocity."""
    text = (shared / "data" / "eth_ucy" / "cv_baseline.txt").read_text()
    rows = [line.replace("=", " ").split() for line in text.splitlines()]
    names = ("seqs", "peds", "ADE", "FDE", "sceneJADE", "JFDE")
    return {
        (int(row[2].strip(">")), row[3]): [row[row.index(name) + 1] for name in names]
        for row in rows
        if row[0] == scene
    }


@pytest.mark.parametrize("scene", SCENES)
def test_constant_velocity_table(shared, scene):
    windows, printed = windows_of(shared, scene), table(shared, scene)
    assert len(printed) == 8
    found = {}
    for (least, kind), expected in printed.items():
        chosen = [window for window in windows if len(window) >= least]
        if (kind, len(chosen)) not in found:  # in univ nobody is ever alone
            found[kind, len(chosen)] = summary_of(chosen, VELOCITIES[kind])
        s = found[kind, len(chosen)]
        errors = [f"{value:.4f}" for value in (s.ade, s.fde, s.jade, s.jfde)]
        assert [str(s.windows), str(s.people), *errors] == expected, (least, kind)
        assert (s.mean_ade, s.mean_jfde, s.worlds) == (s.ade, s.jfde, 1)
    everybody = found["last", len(windows)]
    assert everybody.cr_mean == everybody.cr_jade
    assert everybody.cr_mean == pytest.approx(COLLISIONS[scene][0], abs=5.1e-5)


def summary_of(windows, velocity):
    scores = WindowScores()
    for window in windows:
        scores.add(moved_on(window, velocity), window[:, SEEN:])
    return scores.summary()


@pytest.mark.parametrize("scene", SCENES)
def test_collision_rate_of_what_happened(shared, scene):
    rates = [collision_rates(window[None, :, SEEN:]).item() for window in windows_of(shared, scene)]
    assert np.mean(rates) == pytest.approx(COLLISIONS[scene][1], abs=5.1e-5)


def test_the_way_to_the_first_step_does_not_count(shared):
    """With the present position univ would have .1824 instead of .1811."""
    rates = []
    for window in windows_of(shared, "univ"):
        future = moved_on(window, VELOCITIES["last"])
        rates.append(collision_rates(np.concatenate([window[None, :, 7:8], future], 2)).item())
    assert np.mean(rates) == pytest.approx(0.1824, abs=5.1e-5)
