from functools import partial

import pytest
import torch

from guided import NetDenoiser, Rng, VPLinear
from guided.guidance.training import mg_loss, with_dropout
from guided.nets import MLP
from guided.train import TrainConfig, train
from tests.guided import joint_line as line
from tests.guided.draws import normal

CONFIG = TrainConfig(
    steps=200, batch=1024, lr=0.1, warmup=5, weight_decay=0.0, clip=10.0, log_every=200
)


def null(cond):
    return {"c": torch.zeros_like(cond["c"])}


@pytest.mark.parametrize("scale", [0.7, 1.0, 2.5])
def test_training_converges_to_cfg_of_the_scale(scale):
    """Joint Gaussians, everything affine: the coefficients of CFG in closed form."""
    model = NetDenoiser(line.Line(), line.OneLevel(), "x0")
    batches = with_dropout(line.batch, {"c": torch.zeros_like}, {"c": 0.3})
    score = partial(mg_loss, model, scale=scale, null=null)
    list(train(model, batches, CONFIG, loss=score))
    alone, given = line.ALONE, line.GIVEN
    guided = (alone, alone + scale * (given - alone), scale * (1 - given * line.ALPHA))
    assert model.net.coefficients() == pytest.approx(guided, abs=0.04)


@pytest.mark.parametrize("prediction", ["x0", "eps", "v", "flow", "edm"])
def test_the_target_is_that_of_the_source_in_every_parameterization(prediction):
    torch.manual_seed(0)
    model = NetDenoiser(MLP(3, 3, (8,), cond_dim=2), VPLinear(), prediction).double()
    x0, cond = normal(4, 3), normal(4, 2, seed=1)
    loss = mg_loss(model, x0, cond, Rng(5), 4.0, torch.zeros_like)
    shown = model.example(x0, Rng(5))
    with torch.no_grad():
        strong = model.output(shown.x, shown.level, cond)
        weak = model.output(shown.x, shown.level, torch.zeros_like(cond))
    aim = (shown.target + 0.75 * (strong - weak)).detach()
    expected = (model.output(shown.x, shown.level, cond) - aim).square().mean(1)
    torch.testing.assert_close(loss, expected)
    own, known = (torch.autograd.grad(a.sum(), model.net.out.weight)[0] for a in (loss, expected))
    torch.testing.assert_close(own, known)  # nothing flows through the target


def test_scale_one_and_null_rows_are_plain_training():
    torch.manual_seed(0)
    model = NetDenoiser(MLP(3, 3, (8,), cond_dim=2), VPLinear())
    x0, cond = Rng(0).normal((4, 3)), Rng(1).normal((4, 2))
    plain = model.loss(x0, cond, Rng(5))
    assert torch.equal(mg_loss(model, x0, cond, Rng(5), 1.0, torch.zeros_like), plain)
    nothing = torch.zeros_like(cond)
    torch.testing.assert_close(
        mg_loss(model, x0, nothing, Rng(5), 3.0, torch.zeros_like),
        model.loss(x0, nothing, Rng(5)),
    )


def test_a_scale_that_does_not_converge_is_refused():
    model = NetDenoiser(MLP(3, 3), VPLinear())
    with pytest.raises(ValueError, match=r"scales above 0\.5, got 0\.5; 1 is plain training"):
        mg_loss(model, torch.zeros(2, 3), None, Rng(0), 0.5, lambda c: c)
