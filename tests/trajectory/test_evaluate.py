"""Evaluation: sets of worlds against errors by hand, and who counts."""

from dataclasses import replace

import numpy as np
import pytest

from domains.trajectory import selection
from domains.trajectory.asking import asking, guide
from domains.trajectory.costs.language import parse
from domains.trajectory.evaluate import KINDS, evaluate
from domains.trajectory.frames import to_scene
from domains.trajectory.guiding import Guidance
from domains.trajectory.metrics.windows import WindowScores
from domains.trajectory.metrics.world import averaged, multi_world
from domains.trajectory.predict import Sampling, predict
from domains.trajectory.prepared import prepare
from tests.trajectory.small_predictor import HISTORY, MODEL, crowd, small, walkers

HOW = Sampling(samples=8, steps=2)


def figures(scenes, count=3, kinds=KINDS, how=HOW, **options):
    """Return the figures by kind."""
    *_, (done, found) = evaluate(small(), scenes, how, count, kinds, **options)
    assert done == len(scenes)
    return {one.kind: one for one in found}


def samples_of(scene):
    """Return all samples (S, A, F, 2) of a scene, and what happened."""
    ((_, forecast),) = predict(small(), [scene], HOW)
    return forecast.worlds, scene.positions[forecast.agents][:, HISTORY:]


def mean_scores(sets):
    """Return ADE, FDE, JADE and JFDE of pairs of worlds and truth, by their definitions."""
    people, windows = [], []
    for worlds, truth in sets:
        gaps = np.sqrt(((worlds - truth) ** 2).sum(-1))  # (K, N, F)
        people += [(gaps[:, n].mean(-1).min(), gaps[:, n, -1].min()) for n in range(len(truth))]
        windows.append((gaps.mean((1, 2)).min(), gaps[..., -1].mean(1).min()))
    return [*np.mean(people, axis=0), *np.mean(windows, axis=0)]


def scores_of(one):
    return [getattr(one.windows, name) for name in ("ade", "fde", "jade", "jfde")]


def marginal(scene):
    """Return everybody's k-th mode as world k, without the diffusion's coordinates."""
    prepared = prepare(small(), [scene])
    here, heading = (p[:, :, -1] for p in (prepared.inputs.positions, prepared.inputs.headings))
    local = small().latents.decode(prepared.modes.latents.transpose(1, 2))[0]  # (M, A, F, 2)
    worlds = to_scene(local, here[0], heading[0]).double().numpy()
    return worlds + scene.positions[:, scene.now].mean(0)


def test_figures_are_the_errors_of_each_set():
    scenes = crowd()[:5]
    found = figures(scenes)
    by_hand = {kind: [] for kind in KINDS}
    for scene in scenes:
        samples, truth = samples_of(scene)
        modes = marginal(scene)
        worlds = {
            "samples": samples[:3],
            "worlds": selection.worlds(samples, 3)[0],
            "snapped": selection.snapped(samples, modes, 3)[0],
            "modes": modes,
        }
        for kind, chosen in worlds.items():
            by_hand[kind].append((chosen, truth))
    for kind in KINDS:
        np.testing.assert_allclose(scores_of(found[kind]), mean_scores(by_hand[kind]), atol=1e-5)
        assert (found[kind].windows.windows, found[kind].windows.worlds) == (5, 3)
        assert found[kind].windows.people == sum(scene.agents for scene in scenes)


def test_the_challenge_has_the_probabilities_of_the_worlds():
    scenes, rows, scores = crowd()[:4], [], WindowScores()
    found = figures(scenes, kinds=("worlds",))["worlds"]
    for scene in scenes:
        samples, truth = samples_of(scene)
        chosen, shares = selection.worlds(samples, 3)
        rows.append(multi_world(chosen, truth, shares))
        scores.add(chosen, truth)
    assert found.multi_world == pytest.approx(averaged(rows), abs=1e-5)
    assert found.windows.cr_mean == pytest.approx(scores.summary().cr_mean)


def test_fewer_combinations_than_worlds_are_taken_twice():
    """A lone agent has three modes, so at most three combinations."""
    found = figures([walkers(1)], count=7, kinds=("snapped",))["snapped"]
    assert found.windows.worlds == 7
    samples, truth = samples_of(walkers(1))
    few, shares = selection.snapped(samples, marginal(walkers(1)), 7)
    again = np.arange(7) % len(few)
    wanted = multi_world(few[again], truth, shares[again] / shares[again].sum())
    assert found.multi_world == pytest.approx(averaged([wanted]), abs=1e-5)


def test_modes_are_no_more_than_there_are():
    found = figures(crowd()[:2], count=8, kinds=("modes",))["modes"]
    assert found.windows.worlds == MODEL.modes


def test_who_is_not_scored_is_seen_and_does_not_count():
    scene = walkers(4)
    scored = np.array([True, False, True, False])
    found = figures([replace(scene, scored=scored)], kinds=("samples",))["samples"]
    samples, truth = samples_of(scene)  # all four are inputs
    assert found.windows.people == 2
    wanted = mean_scores([(samples[:3, scored], truth[scored])])
    np.testing.assert_allclose(scores_of(found), wanted, atol=1e-5)


def test_who_leaves_before_the_end_does_not_count():
    scene = walkers(3)
    valid = scene.valid.copy()
    valid[1, -1] = False
    found = figures([replace(scene, valid=valid)], kinds=("samples",))["samples"]
    assert found.windows.people == 2


def test_a_guide_may_lead_the_samples():
    """Whoever is sent to where the ground truth ends is nearer to it."""
    scene = walkers(2)
    ends = scene.positions[:, -1]
    lines = [f"agent w{a}: goal ({x!r}, {y!r})" for a, (x, y) in enumerate(ends.tolist())]
    obeying = guide(asking(parse("\n".join(lines))), Guidance())
    how = replace(HOW, steps=4)
    plain = figures([scene], kinds=("samples",), how=how)["samples"]
    told = figures([scene], kinds=("samples",), how=how, guide=obeying)["samples"]
    assert told.windows.mean_jfde < 0.5 * plain.windows.mean_jfde


def test_progress_is_told_and_figures_come_last():
    found = list(evaluate(small(), crowd()[:5], replace(HOW, samples=3000), 2, ("samples",)))
    assert [done for done, _ in found] == [1, 2, 3, 4, 5, 5]
    assert all(not rows for _, rows in found[:-1]) and len(found[-1][1]) == 1


def test_what_cannot_be_evaluated_is_refused():
    with pytest.raises(ValueError, match="9 worlds need as many samples, got 8; draw more"):
        figures(crowd()[:1], count=9)
    scene = crowd()[0].history()
    with pytest.raises(ValueError, match="nobody who is scored has a whole future; leave it out"):
        figures([scene])
    scene = replace(walkers(2), scored=np.zeros(2, bool))
    with pytest.raises(ValueError, match="nobody who is scored has a whole future"):
        figures([scene])
