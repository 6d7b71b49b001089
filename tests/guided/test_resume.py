import json
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
from guided.train import train
from tests.guided.small_run import CONFIG, batch, denoiser, final, same

REPOSITORY = Path(__file__).resolve().parents[2]


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


SCRIPT = """
    import sys, time, torch
    from pathlib import Path
    from tests.guided.small_run import CONFIG, batch, denoiser
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
        [sys.executable, *program, str(folder)],
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
