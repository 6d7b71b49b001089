"""What training does for guidance by contrast, what a checkpoint keeps of it, and the commands."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from domains.rl.cli import main
from domains.rl.contrast import Contrasts
from domains.rl.imitate import Imitation
from domains.rl.policy import SHIPPED, DiffusionPolicy
from domains.rl.train import Run
from guided.guidance.registry import Named
from tests.commands import refused
from tests.rl.contrasts import OBS, imitated, named, networks, policy, training, two_ways


def test_hidden_states_teach_both_the_law_given_a_state_and_that_of_all(tmp_path):
    run = imitated(tmp_path, 500, drop=0.3, weak=True)
    assert run.found() == "the behaviour, given states and no state, and as it was early"
    p = run.policy(steps=15)
    assert p.sampling.scale == 0
    states = np.repeat(np.float32([[1, 0], [-1, 0]]), 300, 0)
    plus, minus = p.act(states, seed=0)[:, 0].reshape(2, -1)
    assert plus.mean() == pytest.approx(0.6, abs=0.1)
    assert minus.mean() == pytest.approx(-0.6, abs=0.1)
    of_all = p.guided(named=named("cfg", 0.0)).act(states, seed=0)[:, 0]
    assert plus.std() < 0.3 and of_all.std() > 0.45 and abs(of_all.mean()) < 0.12
    # Pushed away from the law of all, what is given counts for more.
    pushed = p.guided(named=named("cfg", 2.0)).act(states, seed=0)[:, 0].reshape(2, -1)
    assert pushed[0].mean() > plus.mean() and pushed[1].mean() < minus.mean()
    early = p.guided(named=named("autoguidance", 0.0)).act(states, seed=0)[:, 0]
    assert np.abs(np.sign(states[:, 0]) * 0.6 - early).mean() > 0.2


def test_training_is_the_same_where_nothing_is_hidden(tmp_path):
    plain, kept = imitated(tmp_path / "a", 40), imitated(tmp_path / "b", 40, weak=True)
    a, b = plain.behaviour.state_dict(), kept.behaviour.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    assert plain.weak is None and kept.weak is not None
    assert plain.found() == "the behaviour, given states alone"
    states = two_ways().states[:7]
    generator = torch.Generator().manual_seed(0)
    assert Contrasts().hidden(states, generator) is states
    assert torch.rand(1, generator=generator) == torch.rand(1, generator=generator.manual_seed(0))


def test_the_share_of_hidden_states_is_as_asked():
    states, generator = torch.ones(10_000, 2), torch.Generator().manual_seed(0)
    gone = Contrasts(drop=0.2).hidden(states, generator).isnan()
    assert gone[:, 0].equal(gone[:, 1]) and gone.float().mean() == pytest.approx(0.2, abs=0.01)
    with pytest.raises(ValueError, match=r"hidden states is in \[0, 1\), got 1.0"):
        Contrasts(drop=1.0)


def test_a_run_that_is_read_again_still_has_its_snapshot(tmp_path):
    first, again = imitated(tmp_path, 40, weak=True), imitated(tmp_path, 40, weak=True)
    a, b = first.weak.state_dict(), again.weak.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], v) for k, v in again.behaviour.state_dict().items())


def test_the_behaviour_is_the_first_stage_of_a_whole_run(tmp_path):
    how = training(20, drop=0.2, weak=True)
    short = replace(how.behaviour_loop, steps=10)
    how = replace(how, critic_loop=short, energy_loop=short, support_steps=2)
    first = Imitation(two_ways(100), how, tmp_path)
    list(first.stages())
    whole = Run(two_ways(100), how, tmp_path)
    stages = [(p.stage, p.done) for p in whole.stages()]
    assert stages[0] == ("behaviour", 20)  # read, not trained again
    assert whole.networks.weak is not None and whole.networks.energy is not None


# Files and command lines


def test_a_checkpoint_keeps_what_there_is_for_guidance(tmp_path):
    for null, weak in ((True, True), (False, False)):
        folder = tmp_path / f"{null}"
        policy(own=networks(null, weak)).save(folder)
        assert (folder / "weak.safetensors").exists() == weak
        for name in ("cfg", "autoguidance") if null else ("stg",):
            loaded = DiffusionPolicy.load(folder, named=named(name, 2.0))
            wanted = policy(named(name, 2.0), networks(null, weak)).act(OBS, seed=0)
            assert (loaded.act(OBS, seed=0) == wanted).all()
    plain = json.loads((tmp_path / "False" / "config.json").read_text())
    shipped = json.loads((SHIPPED / "config.json").read_text())
    assert plain["model"].keys() == shipped["model"].keys()
    assert plain["weights"] == ["behaviour", "energy", "normaliser"]


@pytest.mark.parametrize("name", ["cfg", "autoguidance", "stg", "cfg+autoguidance"])
def test_a_shipped_policy_has_all_that_a_contrast_needs(name):
    folder = SHIPPED.parent / "umaze-contrast"
    states = {"observation": np.zeros((50, 4)), "desired_goal": np.ones((50, 2))}
    plain = DiffusionPolicy.load(folder).act(states, seed=0)
    pushed = DiffusionPolicy.load(folder, named=Named(name)).act(states, seed=0)
    assert plain.std() > 0.1 and np.abs(pushed - plain).mean() > 0.02
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert size < 500_000


def test_evaluate_takes_guidance_by_name(tmp_path, capsys):
    command = ["evaluate", str(SHIPPED), "--quick", "--scales", "0", "1"]
    path = tmp_path / "figures.json"
    main([*command, "--guidance", "stg", "--guidance.scale", "2", "--json", str(path)])
    told = json.loads(path.read_text())
    assert told["guidance"]["guidance"] == "stg" and told["guidance"]["options"]["scale"] == [2.0]
    assert told["network_calls"] == 15
    said = refused(main, [*command, "--guidance", "cfg"], capsys)
    assert said.startswith("guided-rl: cfg needs a null condition") and said.endswith("has none")
    assert "unknown guidance 'cgf'" in refused(main, [*command, "--guidance", "cgf"], capsys)


def test_the_demo_takes_guidance_by_name(tmp_path):
    main(["demo", "--quick", "--out", str(tmp_path), "--guidance", "tsg"])
    assert json.loads((tmp_path / "figures.json").read_text())["guidance"]["guidance"] == "tsg"
