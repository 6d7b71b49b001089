"""Straight walkers, the variety LSTM, and the comparison on ETH/UCY."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from baselines.trajectory.bootstrap import BLOCK, difference
from baselines.trajectory.constant_velocity import last_step, mean_step, standing
from baselines.trajectory.scoring import Errors, errors, mean, of_scored, summary
from baselines.trajectory.table import figures, text
from baselines.trajectory.variety_lstm import (
    VarietyConfig,
    VarietyLSTM,
    load_variety,
    predict_variety,
    run_variety,
)
from domains.trajectory.batch import case, collate
from domains.trajectory.dataset import Dataset
from domains.trajectory.frames import to_local, turned
from domains.trajectory.metrics.windows import WindowScores
from domains.trajectory.pedestrians import pedestrian_training
from domains.trajectory.readers import eth_ucy
from domains.trajectory.scene import Scene, directions
from guided.checkpoint import CheckpointError
from guided.rng import Rng, initial_weights
from tests.baselines.walkers import write_walkers

VELOCITIES = {"last": last_step, "mean": mean_step, "zero": standing}
FOLDS = ("eth", "hotel", "univ", "zara1", "zara2")
SMALL = replace(
    VarietyConfig(), hidden=8, embedding=4, noise=3, k=4,
    loop=replace(VarietyConfig().loop, steps=60, batch=8, log_every=20, save_every=30, warmup=5),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_walkers(tmp_path_factory.mktemp("walkers") / "eth_ucy")


@pytest.fixture(scope="module")
def scenes(folder):
    return eth_ucy.testing_windows(folder, "zara1")


def scene_of(positions, valid=None, now=2):
    positions = np.asarray(positions, dtype=float)
    valid = np.ones(positions.shape[:2], bool) if valid is None else np.asarray(valid)
    names = tuple(str(a) for a in range(len(positions)))
    headings = directions(positions, valid, now)
    return Scene("walk", names, ("pedestrian",) * len(names), positions, headings, valid, now, 0.4)


def test_straight_walkers_by_hand():
    one = [(0, 0), (1, 0), (3, 1), (9, 9), (9, 9)]
    late = [(5, 5), (0, 0), (0, 2), (9, 9), (9, 9)]
    new = [(5, 5), (5, 5), (7, 7), (9, 9), (9, 9)]
    gone = [(1, 1), (2, 2), (5, 5), (9, 9), (9, 9)]
    seen = [[1, 1, 1, 1, 1], [0, 1, 1, 1, 1], [0, 0, 1, 1, 1], [1, 1, 0, 0, 0]]
    scene = scene_of([one, late, new, gone], np.array(seen, bool))
    last, middle, still = (f(scene, 2) for f in (last_step, mean_step, standing))
    assert last.agents.tolist() == [0, 1, 2]
    assert last.worlds[0].tolist() == [[[5, 2], [7, 3]], [[0, 4], [0, 6]], [[7, 7], [7, 7]]]
    assert middle.worlds[0, 0].tolist() == [[4.5, 1.5], [6, 2]]
    assert middle.worlds[0, 1:].tolist() == last.worlds[0, 1:].tolist()
    assert still.worlds[0].tolist() == [[[3, 1]] * 2, [[0, 2]] * 2, [[7, 7]] * 2]


@pytest.mark.parametrize("name", VELOCITIES)
def test_straight_walkers_read_no_future(scenes, name):
    for scene in scenes:
        whole = VELOCITIES[name](scene)
        alone = VELOCITIES[name](scene.history())
        assert (whole.worlds == alone.worlds).all() and (whole.agents == alone.agents).all()


@cache
def straight(root, fold, name):
    return summary(VELOCITIES[name](scene) for scene in eth_ucy.testing_windows(root, fold))


@pytest.mark.parametrize("fold", FOLDS)
def test_straight_walkers_have_the_printed_errors(shared, fold):
    root = shared / "data" / "eth_ucy"
    lines = (root / "cv_baseline.txt").read_text().replace("=", " ").splitlines()
    rows = {row[3]: row for row in map(str.split, lines) if row[0] == fold and row[2] == "1"}
    for name in VELOCITIES:
        found, row = straight(root, fold, name), rows[name]
        values = [f"{value:.4f}" for value in (found.ade, found.fde, found.jade, found.jfde)]
        names = ("seqs", "peds", "ADE", "FDE", "sceneJADE", "JFDE")
        expected = [row[row.index(one) + 1] for one in names]
        assert [str(found.windows), str(found.people), *values] == expected


def test_the_mean_of_the_scenes_is_the_printed_one(shared):
    root = shared / "data" / "eth_ucy"
    results = {fold: {"straight": [straight(root, fold, "last")]} for fold in FOLDS}
    found = figures(results, "straight", ("ade", "fde", "jade", "jfde")).mean((0, 1))
    assert found.round(3).tolist() == [0.534, 1.148, 0.539, 1.152]
    printed = text(results)
    assert all(part in printed for part in ("0.534 / 1.148", "0.539 / 1.152", "947 / 24334"))


def test_who_is_scored(scenes):
    fullest = max(scenes, key=lambda scene: scene.scored.sum())
    only = np.arange(fullest.agents) == np.flatnonzero(fullest.scored)[0]
    scene = replace(fullest, scored=only)
    forecast = last_step(scene)
    worlds, truth = of_scored(forecast)
    people = np.flatnonzero(scene.scored)
    assert 1 == len(people) < fullest.scored.sum()
    assert (truth == scene.positions[people, 8:]).all() and worlds.shape == (1, len(people), 12, 2)
    nobody = replace(scene, scored=np.zeros(scene.agents, bool))
    with pytest.raises(ValueError, match="nobody who is scored"):
        of_scored(last_step(nobody))


def test_errors_of_windows_are_those_of_the_summary(scenes):
    net = untrained()
    forecasts = list(predict_variety(net, scenes, 4))
    scores = WindowScores()
    for _, forecast in forecasts:
        scores.add(*of_scored(forecast))
    found, expected = errors(forecasts), scores.summary()
    values = [expected.ade, expected.fde, expected.jade, expected.jfde]
    np.testing.assert_allclose(found.means(), values, rtol=1e-12)
    assert found.counts.sum(0).tolist() == [expected.people] * 2 + [len(scenes)] * 2
    assert (errors(forecasts[::-1]).sums == found.sums).all()  # in the order of the windows
    twice = mean([found, Errors(3 * found.sums, found.counts)])
    np.testing.assert_allclose(twice.means(), [2 * v for v in values], rtol=1e-12)


def made(values, people):
    values, people = np.asarray(values, float), np.asarray(people, float)
    ones = np.ones_like(people)
    return Errors(
        np.stack([values * people, values * people, values, values], 1),
        np.stack([people, people, ones, ones], 1),
    )


def test_a_difference_weighs_people_or_windows():
    ours, theirs = made([1, 2, 3, 6], [1, 1, 1, 5]), made([0, 0, 0, 0], [1, 1, 1, 5])
    found = difference([ours], [theirs])
    assert found.value == pytest.approx([36 / 8, 36 / 8, 3, 3])
    assert (found.low <= found.value).all() and (found.value <= found.high).all()
    both = difference([ours, theirs], [theirs, theirs])
    assert both.value == pytest.approx(found.value / 2)
    with pytest.raises(ValueError, match="the same windows of both"):
        difference([ours], [made([0, 0, 0], [1, 1, 1])])


def test_the_interval_knows_that_neighbours_say_the_same():
    """Blocks of 20 equal windows are 50 independent numbers, not 1000."""
    random = np.random.default_rng(0)
    values, people = random.normal(0, 1, 50).repeat(BLOCK), np.ones(50 * BLOCK)
    found = difference([made(values, people)], [made(0 * values, people)])
    width = 2 * 1.96 * values.std() / np.sqrt(50)
    # Redrawn blocks do not begin where equal ones do, so that 2/3 of the variance is seen.
    assert found.high - found.low == pytest.approx(width * np.sqrt(2 / 3), rel=0.12)


def untrained(seed=0):
    with initial_weights(seed):
        return VarietyLSTM(SMALL).eval().requires_grad_(False)


def test_the_variety_loss_by_hand(scenes):
    data = Dataset(scenes, SMALL.window)
    targets, inputs = data.batch(5, torch.Generator().manual_seed(0), SMALL.vary)
    net = untrained()
    z = Rng(3).normal((5, SMALL.k, SMALL.noise))
    worlds = net(inputs, z)
    local = to_local(targets.futures, inputs.positions[:, :, -1], inputs.headings[:, :, -1])
    best, people = [], 0
    for b in range(5):
        whole = [a for a in range(local.shape[1]) if targets.valid[b, a].all()]
        people += len(whole)
        each = [
            sum((worlds[b, k, a] - local[b, a]).norm(dim=-1).mean() for a in whole)
            for k in range(SMALL.k)
        ]
        best.append(min(each))
    found = net.loss(targets, inputs, Rng(3))
    torch.testing.assert_close(found, torch.stack(best) * 5 / people, rtol=1e-4, atol=1e-5)


def test_worlds_turn_and_move_with_the_scene(scenes):
    net, scene = untrained().double(), scenes[0]
    turn = torch.tensor(0.7, dtype=torch.float64)
    moved = turned(torch.from_numpy(scene.positions) + 30, turn).numpy()
    other = replace(scene, positions=moved, headings=scene.headings + turn.item())
    z = Rng(0).normal((1, 3, SMALL.noise), dtype=torch.float64)
    found = []
    for one in (scene, other):
        inputs = collate([case(one.history(), SMALL.window)])
        inputs = inputs._replace(
            positions=inputs.positions.double(), headings=inputs.headings.double()
        )
        found.append(net(inputs, z))
    torch.testing.assert_close(*found, rtol=0, atol=1e-5)  # inputs are of single precision


def test_people_of_a_world_know_of_each_other(scenes):
    net, inputs = untrained(), collate([case(scenes[0].history(), SMALL.window)])
    z = Rng(0).normal((1, 2, SMALL.noise))
    positions = inputs.positions.clone()
    positions[:, 1] += 1.0
    before, after = net(inputs, z), net(inputs._replace(positions=positions), z)
    others = [a for a in range(positions.shape[1]) if a != 1]
    assert (before[:, :, others] != after[:, :, others]).any()


def test_a_forecast_depends_on_its_own_history_alone(scenes):
    net = untrained()
    together = dict(predict_variety(net, scenes, 4))
    assert sorted(together) == list(range(len(scenes)))
    for i, scene in enumerate(scenes):
        ((_, alone),) = predict_variety(net, [scene.history()], 2)
        np.testing.assert_allclose(alone.worlds, together[i].worlds[:2], rtol=0, atol=2e-5)
    assert len({forecast.agents.size for forecast in together.values()}) > 1
    ((_, other),) = predict_variety(net, scenes[:1], 4, seed=1)
    assert (other.worlds != together[0].worlds).any()


def test_training_learns_resumes_and_is_kept(scenes, tmp_path):
    data = Dataset(scenes, SMALL.window)
    states = list(run_variety(data, SMALL, tmp_path / "whole"))
    assert states[-1].loss < 0.7 * states[0].loss
    for state in run_variety(data, SMALL, tmp_path / "parts"):
        if state.saved or state.step == 40:
            break  # killed after the save at step 30
    list(run_variety(data, SMALL, tmp_path / "parts"))
    nets = [load_variety(tmp_path / n / "model", SMALL) for n in ("whole", "parts")]
    for a, b in zip(*(net.state_dict().values() for net in nets), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(CheckpointError, match="no variety LSTM of this configuration"):
        load_variety(tmp_path / "whole" / "model", replace(SMALL, hidden=9))


def test_the_recipe_for_pedestrians():
    config = pedestrian_training("vanilla", 3)
    assert (config.model.prior, config.loop.seed) == ("vanilla", 3)
    assert (config.model.latents, config.model.modes, config.model.window.pieces) == (6, 20, 0)
    assert (config.loop.steps, config.loop.batch, config.vary.agents) == (2000, 32, 8)
