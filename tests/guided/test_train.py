import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from guided.checkpoint import CheckpointError
from guided.denoiser import NetDenoiser
from guided.nets import MLP, Transformer
from guided.resume import claim
from guided.schedule import RectifiedFlow
from guided.train import TrainConfig, train

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = TrainConfig(steps=12, batch=8, lr=1e-2, warmup=3, save_every=5, log_every=2)


def denoiser(seed=0):
    torch.manual_seed(seed)
    return NetDenoiser(MLP(2, 2, hidden=(16,), time_features=8), RectifiedFlow(), "flow")


def batch(step, generator, size=8):
    """Two points, at (2, -2) and (-2, 2)."""
    side = torch.randint(0, 2, (size, 1), generator=generator) * 4.0 - 2.0
    return torch.cat([side, -side], dim=1), None


def final(config, folder=None, **options):
    model = denoiser()
    return model, list(train(model, batch, config, folder, **options))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


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


# Resuming


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_broken_run_ends_with_the_same_bits(tmp_path, optimizer, precision):
    """Stopped after step 8, whose last save is of step 5, with another initial network."""
    config = replace(CONFIG, optimizer=optimizer, precision=precision, snapshot_at=4)

    def model(seed):
        torch.manual_seed(seed)
        net = Transformer(2, width=8, depth=1, heads=1)
        return NetDenoiser(net, RectifiedFlow(), "flow")

    def clips(step, generator):
        return batch(step, generator)[0][:, None], None

    whole, broken, resumed = model(0), model(0), model(1)
    *_, wanted = train(whole, clips, config, tmp_path / "whole")
    for state in train(broken, clips, config, tmp_path / "broken"):
        if state.step == 8:
            break
    *_, got = train(resumed, clips, config, tmp_path / "broken")
    assert same(whole.state_dict(), resumed.state_dict())
    assert same(wanted.ema, got.ema) and same(wanted.weak, got.weak)
    lines = (tmp_path / "broken" / "log.jsonl").read_text().splitlines()
    assert [json.loads(x)["step"] for x in lines] == [2, 4, 6, 8, 10, 12]


def test_a_complete_run_yields_its_last_state_at_once(tmp_path):
    model, states = final(CONFIG, tmp_path)
    other, (state,) = final(CONFIG, tmp_path)
    assert same(model.state_dict(), other.state_dict()) and same(state.ema, states[-1].ema)
    assert (state.step, state.loss, state.saved) == (12, states[-1].loss, True)
    (tmp_path / "log.jsonl").unlink()
    with pytest.raises(CheckpointError, match=r"log\.jsonl is gone or empty"):
        final(CONFIG, tmp_path)


def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path):
    for state in train(denoiser(), batch, CONFIG, tmp_path):
        if state.step == 6:
            break
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    final(CONFIG, tmp_path)
    lines = [json.loads(x) for x in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines] == [2, 4, 6, 8, 10, 12]


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


@pytest.mark.parametrize("size", [0, 100, -1])
def test_a_truncated_state_is_named(tmp_path, size):
    final(CONFIG, tmp_path)
    path = tmp_path / "resume.pt"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"resume\.pt is truncated.*delete it"):
        final(CONFIG, tmp_path)


def test_another_run_in_the_folder_is_refused(tmp_path):
    final(CONFIG, tmp_path)
    with pytest.raises(CheckpointError, match=r"another configuration \(lr 0\.01, not 0\.5\)"):
        final(replace(CONFIG, lr=0.5), tmp_path)
    model = NetDenoiser(MLP(2, 2, hidden=(17,), time_features=8), RectifiedFlow(), "flow")
    with pytest.raises(CheckpointError, match="other parts or shapes"):
        list(train(model, batch, CONFIG, tmp_path))


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


SCRIPT = """
    import sys, time, torch
    from pathlib import Path
    sys.path.insert(0, str(Path(sys.argv[2]) / "tests" / "guided"))
    from test_train import CONFIG, batch, denoiser
    from dataclasses import replace
    from guided.train import train
    torch.set_num_threads(1)
    model = denoiser()
    config = replace(CONFIG, steps=400, save_every=7, log_every=1)
    for state in train(model, batch, config, Path(sys.argv[1])):
        print(state.step, flush=True)
    torch.save({"model": model.state_dict(), "ema": state.ema}, Path(sys.argv[1]) / "final.pt")
"""


def start(folder, *launcher):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    program = launcher or ("-c", textwrap.dedent(SCRIPT))
    return subprocess.Popen(
        [sys.executable, *program, str(folder), str(REPOSITORY)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.mark.slow
def test_kill_9_and_the_same_command_again_end_with_the_same_bits(tmp_path):
    start(tmp_path / "whole").communicate()
    for stop in (30, 111, 250):
        with start(tmp_path / "broken") as run:
            while int(run.stdout.readline()) < stop:
                pass
            run.send_signal(signal.SIGKILL)
        assert not (tmp_path / "broken" / "final.pt").exists()
    with start(tmp_path / "broken") as run:
        first = int(run.stdout.readline())
        run.communicate()
    assert 200 < first < 400
    a, b = (torch.load(tmp_path / n / "final.pt", weights_only=True) for n in ("whole", "broken"))
    assert same(a["model"], b["model"]) and same(a["ema"], b["ema"])


@pytest.mark.slow
def test_two_processes_train_one_network_on_different_batches(tmp_path):
    pytest.importorskip("accelerate")
    script = tmp_path / "script.py"
    report = """
    import os
    torch.save(list(model.net.parameters()), Path(sys.argv[1]) / f"rank{os.environ['RANK']}.pt")
    """
    small = SCRIPT.replace("steps=400", "steps=12")
    script.write_text(textwrap.dedent(small) + textwrap.dedent(report))
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", str(script)]
    run = start(tmp_path / "two", *launcher)
    run.communicate()
    assert run.returncode == 0
    a, b = (torch.load(tmp_path / "two" / f"rank{r}.pt", weights_only=True) for r in (0, 1))
    alone = list(final(CONFIG)[0].net.parameters())
    assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))
    assert not any(torch.equal(p, q) for p, q in zip(a, alone, strict=True))
    lines = (tmp_path / "two" / "log.jsonl").read_text().splitlines()
    assert [json.loads(x)["step"] for x in lines] == list(range(1, 13))


def test_a_folder_is_claimed_for_one_configuration(tmp_path):
    path = tmp_path / "new" / "training.json"
    config = {"data": "a", "loop": {"lr": 0.5, "sizes": (1, 2)}}
    claim(path, config)
    claim(path, config)
    with pytest.raises(CheckpointError, match=r"new belongs .* \(loop\.lr 0\.5, not 0\.1\)"):
        claim(path, {"data": "a", "loop": {"lr": 0.1, "sizes": (1, 2)}})
    path.write_text(path.read_text()[:-9])
    with pytest.raises(CheckpointError, match=r"truncated or no configuration; delete .*new to"):
        claim(path, config)
