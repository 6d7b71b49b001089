from functools import partial

import pytest
import torch

from guided import NetDenoiser, RectifiedFlow, Rng, VPLinear
from guided.guidance import HistoryGuidance, vanilla
from guided.guidance.training import forcing_loss
from guided.nets import MLP, Transformer
from guided.train import TrainConfig, train
from tests.guided.draws import normal
from tests.guided.tokens import F64, Tokens, ar1


def transformer(prediction="v", schedule=None):
    torch.manual_seed(0)
    net = Transformer(2, width=24, depth=2, heads=2)
    with torch.no_grad():
        for seed, p in enumerate(net.parameters()):
            p.add_(0.1 * normal(*p.shape, seed=seed).float())
    return NetDenoiser(net.double(), schedule or VPLinear(), prediction)


@pytest.mark.parametrize("prediction", ["x0", "eps", "v", "flow", "edm"])
def test_the_loss_is_that_of_independent_levels(prediction):
    model, x0 = transformer(prediction), normal(3, 6, 2)
    loss = forcing_loss(model, x0, None, Rng(4))
    shown = model.example(x0, Rng(4), axes=2)
    t, alpha, sigma = shown.level
    assert t.shape == (3, 6, 1) and len(t.unique()) == 18
    rng = Rng(4)
    draw = rng.normal if prediction == "edm" else rng.uniform
    if prediction != "edm":
        torch.testing.assert_close(t[..., 0], draw((3, 6), F64).clamp(min=1e-4))
    else:
        draw((3, 6), F64)
    eps = rng.normal((3, 6, 2), F64)
    x = alpha * x0 + sigma * eps
    if prediction == "edm":
        found = model(x, shown.level)
        ratio = sigma / alpha
        weight = (ratio**2 + 1) / ratio**2  # of the source, for data of variance 1
        expected = (weight * (found.x0 - x0).square()).mean((1, 2))
    else:
        answer = {"x0": x0, "eps": eps, "v": alpha * eps - sigma * x0, "flow": eps - x0}
        expected = (model.net(x, t[..., 0]) - answer[prediction]).square().mean((1, 2))
    torch.testing.assert_close(loss, expected)


def test_levels_are_independent_and_uniform():
    t = transformer().example(torch.zeros(4000, 3, 2, dtype=F64), Rng(0), axes=2).level.t[..., 0]
    assert t.mean(0).tolist() == pytest.approx([0.5] * 3, abs=0.02)
    assert (torch.corrcoef(t.T) - torch.eye(3, dtype=F64)).abs().max() < 0.07


def test_what_has_no_tokens_is_refused():
    model = NetDenoiser(MLP(4, 4), VPLinear())
    with pytest.raises(ValueError, match=r"\(B, T, \.\.\.\) with an axis after T, got \(3, 4\)"):
        forcing_loss(model, torch.zeros(3, 4), None, Rng(0))
    with pytest.raises(ValueError, match="one time per sample"):
        forcing_loss(model, torch.zeros(3, 4, 1), None, Rng(0))


@pytest.mark.slow
def test_a_trained_transformer_predicts_from_any_history():
    """AR(1) of 4 tokens: near the exact posterior means, with the history clean and hidden."""
    root = torch.linalg.cholesky(ar1(4)).float()

    def batch(step, generator):
        return (root @ torch.randn(128, 4, 1, generator=generator)), None

    torch.manual_seed(0)
    model = NetDenoiser(Transformer(1, width=32, depth=2, heads=2, period=4), RectifiedFlow(), "v")
    config = TrainConfig(steps=1500, batch=128, lr=3e-3, log_every=1500)
    for state in train(model, batch, config, loss=partial(forcing_loss, model)):
        model.load_state_dict(state.ema)
    past, x0 = torch.arange(4) < 2, root @ Rng(0).normal((500, 4, 1))
    level = RectifiedFlow().level(0.5)
    x = level.alpha * x0 + level.sigma * Rng(1).normal(x0.shape)
    for scale, far in ((1.0, 0.12), (0.0, 0.06), (2.0, 0.24)):
        branches = vanilla(2, scale)
        with torch.no_grad():
            found = HistoryGuidance(model, x0, past, branches)(x, level).x0
        exact = HistoryGuidance(Tokens(ar1(4)), x0, past, branches)(x, level).x0
        error = (found - exact).square().mean().sqrt().item()
        assert error < far
