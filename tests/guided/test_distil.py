import pytest
import torch
from torch.nn.functional import one_hot

from guided import CFG, DDIM, Counted, Heun, Rng, VPLinear
from guided.exact import Mixture
from guided.guidance.training import (
    Adapter,
    Distilled,
    distil_loss,
    record,
    recorded,
    silenced,
)
from guided.nets import MLP, Transformer, UNet
from guided.rng import initial_weights
from guided.schedule import uniform
from guided.train import TrainConfig, train

TIMES = uniform(20)
CONFIG = TrainConfig(steps=400, batch=256, lr=4e-3, warmup=20, log_every=100)


def null(labels):
    return torch.full_like(labels, -1)


def line():
    """Given the label 0 the law is N((1, 0), .5), and N(0, 1) without."""
    law = Mixture(
        torch.tensor([1e-12, 1.0]),
        torch.tensor([[1.0, 0.0], [0.0, 0.0]]),
        torch.tensor([0.5, 1.0]),
    )
    return law.denoiser(VPLinear(), torch.tensor([0, 1]))


def plane():
    """Three classes in the plane, and the law of each."""
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.5]])
    law = Mixture(torch.ones(3), means, torch.tensor([0.09, 0.14, 0.29]))
    return law, law.denoiser(VPLinear(), torch.arange(3))


def encoded(labels):
    return one_hot(labels, 3).float()


def adapter(trained=False, **options):
    with initial_weights(0):
        module = Adapter(2, 3, encoded, largest=6.0, **options)
        if trained:
            torch.nn.init.normal_(module.net.out.weight)
    return module


def learn(base, module, examples):
    student = Distilled(base, module)
    for state in train(module, recorded(examples, 256), CONFIG, loss=distil_loss(student)):
        average = state.ema
    module.load_state_dict(average)


def test_an_untrained_student_is_the_base_bit_for_bit():
    _, base = plane()
    x, level, labels = Rng(0).normal((7, 2)), VPLinear().level(0.5), torch.arange(7) % 3
    plain = base(x, level, labels)
    for scale in (0.0, 5.0, torch.linspace(0, 6, 7)):
        found = Distilled(base, adapter(), scale)(x, level, labels)
        assert torch.equal(found.x0, plain.x0) and torch.equal(found.eps, plain.eps)


def test_scale_one_switches_a_trained_adapter_off():
    _, base = plane()
    x, level, labels = Rng(0).normal((7, 2)), VPLinear().level(0.5), torch.arange(7) % 3
    module, plain = adapter(trained=True), base(x, level, labels)
    assert not torch.allclose(Distilled(base, module, 2.0)(x, level, labels).x0, plain.x0)
    for scale in (1.0, torch.ones(7), lambda level: 1.0):
        found = Distilled(base, module, scale)(x, level, labels)
        assert torch.equal(found.x0, plain.x0) and torch.equal(found.eps, plain.eps)


def test_a_prediction_is_consistent_costs_one_call_and_its_rows_are_independent():
    _, base = plane()
    x, level, labels = Rng(0).normal((6, 2)), VPLinear().level(0.5), torch.arange(6) % 3
    counted, scales = Counted(base), torch.tensor([0.5, 2.0, 4.0])
    module = adapter(trained=True)
    found = Distilled(counted, module, scales)(x, level, labels)
    assert (counted.calls, counted.rows) == (1, 6)
    torch.testing.assert_close(level.alpha * found.x0 + level.sigma * found.eps, x)
    for i in range(6):
        own = Distilled(base, module, scales[i // 2].item())
        alone = own(x[i : i + 1], level, labels[i : i + 1])
        torch.testing.assert_close(alone.x0[0], found.x0[i])


@pytest.mark.parametrize(("sampler", "calls"), [(DDIM, 20), (Heun, 39)])
def test_a_record_is_what_the_teacher_said_in_its_runs(sampler, calls):
    _, base = plane()
    labels, scales = torch.arange(5) % 3, torch.linspace(1, 5, 5)
    x = Rng(0).normal((5, 2))
    examples = record(
        lambda w: CFG(base, w, null), sampler, x, TIMES, labels, scales, Rng(1)
    )  # fmt: skip
    assert len(examples.x) == len(examples.t) == len(examples.cond) == 5 * calls
    assert torch.equal(examples.x[:5], x)
    for row in (3, 5 * 7 + 2, 5 * calls - 1):
        level = VPLinear().level(examples.t[row].item())
        cond = labels[row % 5 : row % 5 + 1]
        teacher = CFG(base, scales[row % 5].item(), null)
        said = teacher(examples.x[row : row + 1], level, cond)
        v = level.alpha * said.eps - level.sigma * said.x0
        torch.testing.assert_close(examples.v[row], v[0], rtol=1e-4, atol=1e-4)
        assert examples.scale[row] == scales[row % 5] and examples.cond[row] == cond


def test_the_loss_is_the_error_in_v_and_leaves_the_base_alone():
    _, base = plane()
    module = adapter(trained=True)
    examples = record(
        lambda w: CFG(base, w, null), DDIM, Rng(0).normal((6, 2)), TIMES,
        torch.arange(6) % 3, torch.linspace(1, 5, 6), Rng(1),
    )  # fmt: skip
    x, given = recorded(examples, 10)(0, torch.Generator().manual_seed(0))
    loss = distil_loss(Distilled(base, module))(x, given, Rng(0))
    for i in range(10):
        level = VPLinear().level(given["t"][i].item())
        student = Distilled(base, module, given["scale"][i].item())
        found = student(x[i : i + 1], level, given["cond"][i : i + 1])
        v = level.alpha * found.eps - level.sigma * found.x0
        expected = (v[0] - given["v"][i]).square().mean()
        torch.testing.assert_close(loss[i], expected, rtol=1e-3, atol=1e-5)


def test_guidance_of_linear_gaussians_is_learned():
    """The teacher adds a function of x, t and w that is affine in x: the loss goes to nothing."""
    base, labels = line(), torch.zeros(256, dtype=torch.long)
    with initial_weights(0):
        module = Adapter(2, largest=4.0)
    rng = Rng(0)
    scales = 1 + 3 * rng.uniform((256,))
    examples = record(
        lambda w: CFG(base, w, torch.ones_like), DDIM, rng.normal((256, 2)), TIMES, labels, scales,
        rng,
    )  # fmt: skip
    untrained = distil_loss(Distilled(base, module))(*recorded(examples, 2000)(0, generator()), rng)
    learn(base, module, examples)
    trained = distil_loss(Distilled(base, module))(*recorded(examples, 2000)(0, generator()), rng)
    assert trained.mean() < 0.01 * untrained.mean()
    x, fresh = Rng(5).normal((500, 2)), torch.zeros(500, dtype=torch.long)
    wanted = DDIM(CFG(base, 3.0, torch.ones_like)).sample(x, TIMES, fresh, rng=Rng(0))
    found = DDIM(Distilled(base, module, 3.0)).sample(x, TIMES, fresh, rng=Rng(0))
    torch.testing.assert_close(found.mean(0), wanted.mean(0), atol=0.03, rtol=0)
    torch.testing.assert_close(found.var(0), wanted.var(0), atol=0.03, rtol=0)


def generator():
    return torch.Generator().manual_seed(3)


@pytest.mark.slow
def test_examples_of_guided_runs_teach_more_than_noised_data():
    """Three classes in the plane: how far the student ends from its teacher, same noise."""
    law, base = plane()
    labels, rng = torch.arange(512) % 3, Rng(0)
    scales = 1 + 5 * rng.uniform((512,))
    runs = record(
        lambda w: CFG(base, w, null), DDIM, rng.normal((512, 2)), TIMES, labels, scales, rng
    )
    own, _ = law.select(torch.arange(3) == labels[:, None])
    noised = replaced_by_noised(runs, own.sample(1, rng), base, labels, scales, rng)
    x, mixed = Rng(9).normal((600, 2)), torch.arange(600) % 3
    wanted = DDIM(CFG(base, 5.0, null)).sample(x, TIMES, mixed, rng=Rng(0))
    off = []
    for examples in (runs, noised):
        module = adapter()
        learn(base, module, examples)
        found = DDIM(Distilled(base, module, 5.0)).sample(x, TIMES, mixed, rng=Rng(0))
        off.append((found - wanted).square().sum(1).mean().sqrt().item())
    assert off[0] < 0.1 and off[1] > 2 * off[0]


def replaced_by_noised(runs, x0, base, labels, scales, rng):
    """The record with samples of the data, noised, in the place of states of guided runs."""
    xs, vs = [], []
    for t in TIMES[:-1]:
        level = VPLinear().level(t)
        x = level.alpha * x0 + level.sigma * rng.normal(x0.shape)
        said = CFG(base, scales, null)(x, level, labels)
        xs.append(x)
        vs.append(level.alpha * said.eps - level.sigma * said.x0)
    return runs._replace(x=torch.cat(xs), v=torch.cat(vs))


def test_a_silenced_network_is_the_constant_zero():
    nets = (MLP(3, 3), Transformer(3, 24, 1, 2), UNet(2, (8, 8)))
    inputs = ((2, 3), (2, 4, 3), (2, 2, 8, 8))
    for net, shape in zip(nets, inputs, strict=True):
        for p in net.parameters():
            torch.nn.init.ones_(p)
        x = torch.ones(shape)
        assert (net(x, torch.ones(2)) != 0).any()
        assert silenced(net) is net
        assert torch.equal(net(x, torch.ones(2)), torch.zeros(shape))
    with pytest.raises(TypeError, match="Linear has no last layer named outlet or out"):
        silenced(torch.nn.Linear(2, 2))
