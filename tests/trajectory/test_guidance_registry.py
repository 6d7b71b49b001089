"""Predictors guided by contrast, by name: neutral, at their cost, refused, and the commands."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from domains.trajectory.asking import guide
from domains.trajectory.cli import main
from domains.trajectory.contrast import contrasted, parts
from domains.trajectory.costs.goal import GoalPoint
from domains.trajectory.guiding import Guidance
from domains.trajectory.model import load_models, save_model
from domains.trajectory.predict import Sampling, sampled, unguided
from domains.trajectory.prepared import prepare, split
from guided.guidance.registry import Named, Options
from guided.rng import Rng
from guided.wrappers import Counted
from tests.commands import refused
from tests.trajectory.small_predictor import small, trained, walkers

HOW = Sampling(samples=4, steps=3)
NAMES = ("pag", "seg", "stg", "tsg", "autoguidance", "past")
SCENES = [walkers(3), walkers(1), walkers(5), walkers(2)]


def named(name, *scale, **options):
    """Guidance that fits the small predictor, which has one layer."""
    if name == "stg":
        options = {"layers": (0,), "keep": 0.5, **options}
    return Named(name, Options(scale=scale, **options))


# Guidance by name


def futures(guidance, scenes=SCENES, how=HOW, weak=None):
    prepared = prepare(trained(), scenes)
    return list(split(prepared, sampled(prepared, how, contrasted(guidance, weak))))


PLAIN = futures(Named())


@pytest.mark.parametrize("name", NAMES)
def test_the_neutral_scale_is_the_plain_forecast(name):
    prepared = prepare(trained(), SCENES)
    plain = sampled(prepared, HOW, unguided)
    for guidance in (Named(), named(name, 1.0)):
        assert torch.equal(sampled(prepared, HOW, contrasted(guidance, small())), plain)
    pushed = sampled(prepared, HOW, contrasted(named(name, 2.0), small()))
    assert (pushed - plain).abs().max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_a_scene_and_a_sample_do_not_depend_on_their_batch(name):
    guidance = named(name, 1.5)
    among = futures(guidance, weak=small())[2]
    (alone,) = futures(guidance, SCENES[2:3], weak=small())
    (many,) = futures(guidance, SCENES[2:3], replace(HOW, samples=9), small())
    np.testing.assert_allclose(alone, among, atol=5e-4, rtol=0)
    np.testing.assert_allclose(alone, many[:4], atol=5e-4, rtol=0)


@pytest.mark.parametrize("name", ["none", *NAMES, "pag+tsg"])
def test_network_calls_are_as_declared(name):
    prepared = prepare(trained(), SCENES)
    strong, early = Counted(prepared.denoiser), Counted(prepared.bound(small()))
    had = replace(parts(prepared), denoiser=strong, weak=early)
    scale = {"none": (), "pag+tsg": (1.5, 1.5)}.get(name, (1.5,))
    sampler = named(name, *scale).sampler(had)
    sampler.sample(prepared.noise(4, 0), [1.0, 0.6, 0.3, 0.0], prepared.numbers(4), rng=Rng(0))
    branches = {"none": 1, "past": 1, "autoguidance": 1, "pag+tsg": 3}.get(name, 2)
    assert (strong.calls, strong.rows) == (3, 3 * 16 * branches)
    assert early.calls == (3 if name == "autoguidance" else 0)


def test_an_agent_that_is_alone_has_nobody_to_miss():
    alone, guided = PLAIN[1], futures(named("pag", 3.0))
    np.testing.assert_allclose(guided[1], alone, atol=1e-4)
    assert np.abs(guided[2] - PLAIN[2]).max() > 0.01


def test_a_snapshot_predicts_in_the_coordinates_of_the_model():
    prepared, early = prepare(trained(), SCENES), small()
    assert prepared.bound(trained()).context.agents.equal(prepared.denoiser.context.agents)
    encoding, modes = early.marginal(prepared.inputs)
    context = early.joint.net.context(encoding, modes, prepared.mean, prepared.std)
    x = prepared.noise(2, 0)
    found = prepared.bound(early).output(x, early.joint.schedule.level(0.4))
    assert torch.equal(found, early.joint.net(x, torch.full((len(x),), 0.4), context))


def test_a_contrast_goes_inside_the_energy():
    def eastwards(setting):
        goal = setting.positions.numpy() + setting.origin + np.array([6.0, 0.0])
        return GoalPoint(setting, range(len(goal)), goal)

    prepared = prepare(trained(), SCENES)
    told = [
        sampled(prepared, HOW, guide(eastwards, Guidance(method, 0.4), guidance))
        for method in ("none", "ecm")
        for guidance in (named("pag", 2.0), named("pag", 1.0), None)
    ]
    pushed, neutral, plain, both, alone, ecm = told
    assert torch.equal(neutral, plain) and torch.equal(alone, ecm)
    assert torch.equal(plain, sampled(prepared, HOW))
    assert torch.equal(pushed, sampled(prepared, HOW, contrasted(named("pag", 2.0))))
    others = slice(8, 12)  # rows of the scene of five
    assert (both - ecm)[others].abs().max() > 1e-3
    assert (both - pushed)[others].abs().max() > 0.1


@pytest.mark.parametrize(
    ("guidance", "message"),
    [
        (named("cfg"), "cfg needs a null condition.*; this predictor has none"),
        (named("icg"), "icg needs random conditions; this predictor has none"),
        (named("autoguidance"), "autoguidance needs a weak network.*; this predictor has none"),
        (named("sag"), "sag needs axes along which .*; this predictor has none"),
        (Named("stg"), "the network has 1; name the layers, and keep a share"),
        (named("pag", layers=(1,)), r"blocks 0 to 0 of the network, got \[1\]"),
    ],
)
def test_what_a_predictor_lacks_is_said(guidance, message):
    with pytest.raises(ValueError, match=message):
        futures(guidance)


# Files and command lines


def test_a_checkpoint_may_keep_a_snapshot(tmp_path):
    strong, early = small(), trained()
    save_model(tmp_path / "a", strong.config, strong.state_dict(), weak=early.state_dict())
    found = load_models(tmp_path / "a")
    assert found.keys() == {"model", "weak"}
    for one, other in ((found["model"], strong), (found["weak"], early)):
        for key, value in other.state_dict().items():
            torch.testing.assert_close(one.state_dict()[key], value, rtol=1e-3, atol=1e-3)
    save_model(tmp_path / "b", strong.config, strong.state_dict())
    assert load_models(tmp_path / "b").keys() == {"model"}


def test_commands_take_guidance_by_name(tmp_path, capsys):
    base = ["--source", "crossing", "--count", "1", "--quick"]
    asked = ["--guidance", "pag", "--guidance.scale", "2"]
    main(["predict", *base, *asked, "--out", str(tmp_path / "p")])
    main(["predict", *base, "--out", str(tmp_path / "q")])
    (one,), (other,) = ([p.read_text() for p in (tmp_path / f).glob("*.json")] for f in "pq")
    assert one != other
    main(["guide", *base, *asked, "--ask", "all: apart 2", "--out", str(tmp_path / "g")])
    main(["evaluate", *base, *asked, "--sets", "samples", "--json", str(tmp_path / "e.json")])
    told = json.loads((tmp_path / "e.json").read_text())["guidance"]
    assert told["guidance"] == "pag" and told["options"]["scale"] == [2.0]
    for command in (["predict"], ["evaluate"], ["guide", "--ask", "all: apart 2"]):
        said = refused(main, [*command, *base, "--guidance", "cfg"], capsys)
        assert "cfg needs a null condition" in said and said.endswith("has none")
