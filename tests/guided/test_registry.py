"""The registry of guidance by name: everything in it runs, counts, is neutral, or says why not."""

import math
from dataclasses import fields, replace

import pytest
import torch

from guided import DDIM, VPLinear
from guided.denoiser import DenoiserWrapper, NetDenoiser, Prediction
from guided.guidance.names import METHODS
from guided.guidance.registry import LACKS, Named, Options, Parts, guided
from guided.nets import Transformer
from guided.rng import Rng, initial_weights
from guided.schedule import uniform
from guided.wrappers import Counted

TIMES = uniform(5, start=0.98)
LABELS = torch.tensor([0, 1, 2, 0])
SHAPE = (4, 6, 3)  # samples, tokens, channels
MORE_THAN_A_SCALE = ("cfgpp", "cfg-zero-star", "pcg", "frequency")
names = pytest.mark.parametrize("name", METHODS)


def network(seed):
    """A transformer whose every weight counts."""
    with initial_weights(seed):
        net = Transformer(3, width=16, depth=3, heads=2, labels=3)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return NetDenoiser(net.double().eval().requires_grad_(False), VPLinear(), "v")


STRONG, WEAK = network(0), network(1)


def parts(**changes):
    denoiser = changes.pop("denoiser", STRONG)
    whole = Parts(
        denoiser=denoiser,
        sampler=DDIM,
        null=lambda cond: torch.full_like(cond, 3),
        weak=WEAK,
        random=lambda cond, rng: rng.integers(0, 3, (1,)).expand(len(cond)),
        classify=lambda x0: x0.mean(1),
        label=lambda cond: cond,
        relabel=lambda cond, classes: classes,
        axes=(1,),
        regions=torch.eye(6)[..., None],
        domain="the toy",
    )
    return replace(whole, **changes)


def run(name, *scale, own=None, **options):
    sampler = guided(name, Options(scale=scale, **options), own or parts())
    x = Rng(range(4)).normal(SHAPE, torch.float64)
    return sampler.sample(x, TIMES, LABELS, rng=Rng(range(4)))


PLAIN = run("none")


@names
def test_every_name_guides(name):
    found = run(name, 0.5 if name == "cfgpp" else 2.0)
    assert found.isfinite().all() and found.shape == SHAPE
    assert (found - PLAIN).abs().max() > 1e-4
    assert METHODS[name].summary


@pytest.mark.parametrize("name", [n for n in METHODS if n not in MORE_THAN_A_SCALE])
def test_neutral_scale_is_the_plain_run(name):
    assert torch.equal(run(name, 1.0), PLAIN)


def test_what_scale_one_leaves_of_the_others():
    assert torch.equal(run("cfg-zero-star", 1.0, zero=0.0), PLAIN)
    assert torch.equal(run("frequency", 1.0, slow=1.0), PLAIN)
    assert torch.equal(run("pcg", 1.0, corrections=0), PLAIN)
    counted = Counted(STRONG)
    run("cfgpp", 0.0, own=parts(denoiser=counted))
    assert counted.rows == 4 * 5


def test_rows_of_a_run():
    """Network rows a sample and step, as the notes of the field count them."""
    wanted = {"none": 1, "cfg": 2, "apg": 2, "pag": 2, "stg": 2, "sag": 2, "past": 1, "gfcg": 2}
    for name, rows in wanted.items():
        counted = Counted(STRONG)
        options = {"gate": 1.0} if name == "gfcg" else {}
        run(name, *(() if name == "none" else (2.0,)), own=parts(denoiser=counted), **options)
        assert counted.rows == rows * 4 * 5, name
        assert counted.calls == (10 if name in ("sag", "gfcg") else 5), name


def test_names_joined_are_one_stacked_call():
    counted = Counted(STRONG)
    run("cfg+pag", 2.0, 1.5, own=parts(denoiser=counted))
    assert (counted.calls, counted.rows) == (5, 3 * 4 * 5)
    assert torch.equal(run("cfg+pag", 2.0, 1.0), run("cfg", 2.0))
    torch.testing.assert_close(run("cfg+pag", 1.0, 2.0), run("pag", 2.0))


def test_limits_leave_the_rest_of_the_run_alone():
    everywhere, nowhere = (
        run("cfg", 3.0, low=0.0, high=math.inf),
        run("cfg", 3.0, low=2.0, high=2.0),
    )
    assert torch.equal(everywhere, run("cfg", 3.0))
    assert torch.equal(nowhere, PLAIN)
    assert torch.equal(run("interval", 3.0), run("cfg", 3.0, low=0.2, high=2.0))


def test_limits_hold_for_every_band():
    nowhere = run("frequency", 3.0, slow=2.0, low=2.0, high=2.0)
    assert torch.equal(nowhere, PLAIN)
    whole = run("frequency", 3.0, slow=2.0, low=0.0, high=math.inf)
    assert torch.equal(whole, run("frequency", 3.0, slow=2.0))


def test_methods_that_change_the_push_stand_beside_others():
    assert torch.equal(run("tcfg+pag", 2.0, 1.0), run("tcfg", 2.0))
    assert torch.equal(run("apg+pag", 2.0, 1.0), run("apg", 2.0))
    assert torch.equal(run("frequency+pag", 2.0, 1.0), run("frequency", 2.0))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("apg+momentum", r"momentum does not go with what .* \(Momentum wraps a plain sampler"),
        ("cfg+adaptive", r"AdaptiveGuidance needs a contrast with one weak branch, got 2 terms"),
        ("cfg+cfgpp", r"together takes contrasts, got CFGpp"),
        ("cfg+cfg-zero-star", r"\(predictions\), which together would drop"),
        ("momentum+past", r"PastGuidance changes the one prediction of a step"),
    ],
)
def test_names_that_do_not_go_together_are_refused_in_words(name, message):
    with pytest.raises(ValueError, match=message):
        guided(name, Options(), parts())


def test_options_reach_the_method():
    assert not torch.equal(run("apg", 3.0, radius=0.01), run("apg", 3.0))
    assert torch.equal(run("apg", 3.0, eta=1.0, radius=math.inf, beta=0.0), run("cfg", 3.0))
    assert not torch.equal(run("pag", 3.0, layers=(0,)), run("pag", 3.0, layers=(1,)))


def test_every_option_is_read_by_some_method_and_every_need_has_words():
    read = {key for method in METHODS.values() for key in method.defaults}
    assert {f.name for f in fields(Options)} == read
    assert {need for method in METHODS.values() for need in method.needs} <= LACKS.keys()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cfgg", Options(), r"unknown guidance 'cfgg'; expected none, cfg, interval"),
        ("cfg", Options(scale=(1.0, 2.0)), r"one number for each of cfg, got 2"),
        ("cfg+pag", Options(scale=(2.0,)), r"one number for each of cfg\+pag, got 1"),
        ("cfg", Options(radius=1.0), r"guidance cfg has no option 'radius'; it reads high, low"),
        ("none", Options(scale=(2.0,)), r"guidance none has no option 'scale'; it reads none"),
        ("cfg", Options(low=3.0, high=1.0), r"turned round: low=3.0 is above high=1.0"),
        ("sag", Options(layers=(0, 1)), r"sag watches one layer, got \[0, 1\]"),
        ("tsg", Options(noise=math.nan), r"the noise of TSG is a finite number, .* got nan"),
        ("pag", Options(layers=(7,)), r"blocks 0 to 2 of the network, got \[7\]"),
    ],
)
def test_bad_input(name, options, message):
    with pytest.raises(ValueError, match=message):
        guided(name, options, parts())


@pytest.mark.parametrize(
    ("name", "lacking", "message"),
    [
        ("cfg", {"null": None}, r"cfg needs a null condition.*; the toy has none"),
        ("autoguidance", {"weak": None}, r"autoguidance needs a weak network.*; the toy has none"),
        ("gfcg", {"classify": None}, r"gfcg needs a classifier; the toy has none"),
        ("sag", {"axes": None}, r"sag needs axes along which samples are smooth"),
        ("pag", {"attention": False}, r"pag needs attention in its layers; the toy has none"),
    ],
)
def test_what_a_domain_lacks_is_said(name, lacking, message):
    with pytest.raises(ValueError, match=message):
        guided(name, Options(), parts(**lacking))


def test_a_network_without_layers_is_said():
    class Plain(torch.nn.Module):
        def forward(self, x, time, cond):
            return -x

    plain = NetDenoiser(Plain(), VPLinear(), "v")
    with pytest.raises(ValueError, match=r"pag needs layers that can be perturbed"):
        guided("pag", Options(), parts(denoiser=plain))


class Around(DenoiserWrapper):
    """What a domain puts around a contrast: the clean estimate is cut."""

    def forward(self, x, level, cond=None):
        x0, eps = self.denoiser(x, level, cond)
        return Prediction(x0.clamp(-0.5, 0.5), eps)


def test_a_domain_may_put_a_method_around_the_contrast():
    own = parts(sampler=lambda denoiser: DDIM(Around(denoiser)))
    assert run("cfg", 3.0, own=own).abs().max() == 0.5
    for name in ("apg", "momentum", "adaptive"):
        with pytest.raises(ValueError, match=rf"{name} does not go with what the toy is sampled"):
            guided(name, Options(), own)
    with pytest.raises(ValueError, match=r"adaptive does not go with .* got 2 terms"):
        guided("pag+adaptive", Options(), parts())


def test_pcg_corrects_towards_the_law_of_the_domain():
    x, rng = Rng(range(4)).normal(SHAPE, torch.float64), Rng(range(4))
    sampler = guided("pcg", Options(), parts(sampler=lambda denoiser: DDIM(Around(denoiser))))
    level = sampler.denoiser.schedule.level(TIMES[1])
    assert sampler.corrector(x, level, LABELS).x0.abs().max() <= 0.5
    assert sampler.sample(x, TIMES, LABELS, rng=rng).isfinite().all()


def test_named_is_what_a_command_line_gives():
    named = Named("cfg", Options(scale=(3.0,)))
    x = Rng(range(4)).normal(SHAPE, torch.float64)
    found = named.sampler(parts()).sample(x, TIMES, LABELS, rng=Rng(range(4)))
    assert torch.equal(found, run("cfg", 3.0))
    assert named.scaled(2.0).options.scale == (2.0,)
