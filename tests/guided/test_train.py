import json
import math
from dataclasses import replace

import pytest
import torch

from guided.denoiser import NetDenoiser
from guided.nets import Transformer
from guided.schedule import RectifiedFlow
from guided.train import TrainConfig, train
from tests.guided.small_run import CONFIG, batch, denoiser, final, same


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_50_steps_lower_the_loss(optimizer):
    def clips(step, generator):
        return batch(step, generator, 32)[0][:, None].expand(-1, 4, -1), None

    config = TrainConfig(steps=60, batch=32, lr=1e-2, warmup=5, log_every=10, optimizer=optimizer)
    torch.manual_seed(0)
    model = NetDenoiser(Transformer(2, width=16, depth=2, heads=2), RectifiedFlow(), "flow")
    losses = [state.loss for state in train(model, clips, config)]
    assert len(losses) == 6
    assert losses[-1] < 0.7 * losses[0]


def test_states_name_what_happened(tmp_path):
    _, states = final(CONFIG, tmp_path)
    assert [s.step for s in states] == [2, 4, 6, 8, 10, 12]
    assert [s.saved for s in states] == [False, False, False, False, True, True]
    assert all(s.seconds > 0 and s.grad_norm > 0 and s.weak is None for s in states)
    lines = [json.loads(x) for x in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(x["step"], x["loss"], x["lr"]) for x in lines] == [
        (s.step, s.loss, s.lr) for s in states
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.jsonl", "resume.pt"]


def test_the_loss_of_a_state_is_the_mean_since_the_last():
    _, each = final(replace(CONFIG, log_every=1))
    _, pairs = final(CONFIG)
    means = [(a.loss + b.loss) / 2 for a, b in zip(each[::2], each[1::2], strict=True)]
    assert [s.loss for s in pairs] == pytest.approx(means, abs=1e-5)


def rates(**options):
    _, states = final(replace(CONFIG, log_every=1, **options))
    return [s.lr / CONFIG.lr for s in states]


def test_learning_rates():
    warm = [1 / 3, 2 / 3, 1]
    assert rates(decay="constant") == pytest.approx(warm + [1] * 9)
    assert rates(decay="linear") == pytest.approx(warm + [1 - k / 9 for k in range(9)])
    cosine = [(1 + math.cos(math.pi * k / 9)) / 2 for k in range(9)]
    assert rates(decay="cosine") == pytest.approx(warm + cosine)
    assert rates(decay="constant", warmup=0) == [1] * 12


def test_averages_and_the_early_one_follow_the_recursion():
    model = denoiser()
    expected = {k: v.clone().double() for k, v in model.state_dict().items()}
    early = None
    config = replace(CONFIG, log_every=1, ema=0.4, snapshot_at=4)
    for k, state in enumerate(train(model, batch, config)):
        decay = min(0.4, (1 + k) / (10 + k))
        for key, value in model.state_dict().items():
            expected[key] = decay * expected[key] + (1 - decay) * value.double()
            torch.testing.assert_close(state.ema[key].double(), expected[key])
        if state.step == 4:
            early = state.ema
        assert (state.weak is None) == (state.step < 4)
        if early is not None:
            assert same(state.weak, early)
    assert not same(early, state.ema)


def test_a_yielded_average_is_a_copy():
    states = final(CONFIG)[1]
    assert not same(states[0].ema, states[-1].ema)


def test_clipping_shortens_the_gradient_and_reports_its_length(monkeypatch):
    used, reported = [], []
    step = torch.optim.AdamW.step

    def spy(self, *args):
        gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"]]
        used.append(torch.cat(gradients).norm().item())
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    for clip in (math.inf, 0.01):
        (state,) = final(TrainConfig(steps=1, batch=8, clip=clip))[1]
        reported.append(state.grad_norm)
    assert reported == pytest.approx([used[0], used[0]], abs=1e-4) and used[0] > 0.1
    assert used[1] == pytest.approx(0.01, rel=1e-3)


def test_weights_stay_in_full_precision_under_autocast():
    exact, _ = final(CONFIG)
    for precision in ("bf16", "fp16"):
        model, states = final(replace(CONFIG, precision=precision))
        assert all(p.dtype == torch.float32 for p in model.parameters())
        weights, wanted = model.net.out.weight, exact.net.out.weight
        assert 0 < (weights - wanted).abs().max() < 0.05
        assert math.isfinite(states[-1].loss)


def test_a_loss_of_your_own(tmp_path):
    model = denoiser()

    def distance(x0, cond, rng):
        return (model.net(x0, torch.zeros(len(x0)), cond) - 5).square().mean(1)

    states = list(train(model, batch, replace(CONFIG, steps=200, lr=0.05), loss=distance))
    assert states[-1].loss < 0.05 < states[0].loss


def test_seeds_differ():
    a, b = final(CONFIG)[0], final(replace(CONFIG, seed=1))[0]
    assert not same(a.state_dict(), b.state_dict())
    assert same(a.state_dict(), final(CONFIG)[0].state_dict())


def test_the_global_random_state_is_neither_used_nor_touched():
    torch.manual_seed(5)
    model = denoiser()
    torch.manual_seed(7)
    before = torch.get_rng_state()
    list(train(model, batch, CONFIG))
    assert torch.equal(before, torch.get_rng_state())
    assert same(model.state_dict(), final(CONFIG)[0].state_dict())


def test_not_a_number_stops_the_run_and_spares_the_last_save(tmp_path):
    def broken(step, generator):
        x0, cond = batch(step, generator)
        return (x0 * math.nan if step == 7 else x0), cond

    model = denoiser()
    with pytest.raises(
        FloatingPointError, match=r"loss is nan .* at step 7; .*resume\.pt is the l"
    ):
        list(train(model, broken, CONFIG, tmp_path))
    with pytest.raises(FloatingPointError, match="at step 7; nothing was saved"):
        list(train(denoiser(), broken, CONFIG))
    model, _ = final(CONFIG, tmp_path)
    assert same(model.state_dict(), final(CONFIG)[0].state_dict())


def test_an_infinite_gradient_of_a_finite_loss_stops_the_run():
    model = denoiser()

    def root(x0, cond, rng):
        return (model.net.out.weight.sum() * 0 * x0[:, 0]).abs().sqrt()

    with pytest.raises(FloatingPointError, match=r"loss is 0\.0 .*nan at step 0"):
        list(train(model, batch, CONFIG, loss=root))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"steps": 0}, "steps must be positive, got 0"),
        ({"clip": 0.0}, "clip must be positive, got 0"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"decay": "step"}, "unknown decay 'step'"),
        ({"snapshot_at": 13}, r"snapshot_at=13 is not in 1\.\.12"),
    ],
)
def test_impossible_configs_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        replace(CONFIG, **options)
