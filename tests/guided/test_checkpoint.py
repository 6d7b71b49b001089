import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import torch

from guided import checkpoint
from guided.checkpoint import CheckpointError, load, save
from guided.nets import MLP

CONFIG = {"width": 8, "names": ["a", "b"], "none": None, "rate": 1e-3}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return MLP(3, 3, hidden=(8,))


def test_round_trip_gives_the_same_output_bits(tmp_path, net):
    save(tmp_path / "a" / "b", CONFIG, model=net.state_dict())
    config, weights = load(tmp_path / "a" / "b")
    assert {key: config[key] for key in CONFIG} == CONFIG
    torch.manual_seed(1)
    other = MLP(3, 3, hidden=(8,))
    x, t = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.rand(5)
    assert not torch.equal(other(x, t), net(x, t))
    other.load_state_dict(weights["model"])
    assert torch.equal(other(x, t), net(x, t))


def test_half_precision_rounds_floats_and_nothing_else(tmp_path, net):
    state = {**net.state_dict(), "count": torch.tensor(70001)}
    save(tmp_path / "c", {}, dtype=torch.float16, model=state)
    stored = load(tmp_path / "c")[1]["model"]
    assert stored["count"].dtype == torch.int64 and stored["count"] == 70001
    assert torch.equal(stored["out.weight"], state["out.weight"].half())
    assert state["out.weight"].dtype == torch.float32


def test_several_state_dicts_and_tied_weights(tmp_path):
    tied = torch.arange(4.0)
    save(tmp_path / "c", {}, model={"a": tied, "b": tied, "c": tied[1:3]}, ema={"a": tied + 1})
    weights = load(tmp_path / "c")[1]
    assert sorted(weights) == ["ema", "model"]
    assert weights["model"]["c"].tolist() == [1, 2] and weights["ema"]["a"].tolist() == [1, 2, 3, 4]


def test_replacing_leaves_the_new_one_and_no_litter(tmp_path):
    for value in (1.0, 2.0):
        save(tmp_path / "c", {"value": value}, model={"a": torch.tensor([value])})
    config, weights = load(tmp_path / "c")
    assert config["value"] == 2.0 and weights["model"]["a"].item() == 2.0
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("size", [0, 4, 40, -1])
def test_truncated_weights_are_named(tmp_path, net, size):
    save(tmp_path / "c", {}, model=net.state_dict())
    path = tmp_path / "c" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"model\.safetensors .*truncated.*restore"):
        load(tmp_path / "c")


def test_missing_weights_are_named(tmp_path, net):
    save(tmp_path / "c", {}, model=net.state_dict(), ema=net.state_dict())
    (tmp_path / "c" / "ema.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"ema\.safetensors is missing"):
        load(tmp_path / "c")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"format": 1, "wei', "truncated"),
        ('{"architectures": ["UNet"]}', "no checkpoint of this library"),
        ("[]", "no checkpoint of this library"),
        ('{"format": 99, "weights": []}', "format 99, expected 1"),
    ],
)
def test_damaged_and_foreign_configs_are_refused(tmp_path, text, match):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=match):
        load(tmp_path)


def test_no_checkpoint_at_all(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere is no checkpoint.*check the path"):
        load(tmp_path / "nowhere")


def test_a_folder_of_other_things_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(ValueError, match="no checkpoint; choose another folder"):
        save(tmp_path, {}, model={})
    assert (tmp_path / "thesis.tex").read_text() == "dear"
    (tmp_path / "empty").mkdir()
    save(tmp_path / "empty", {}, model={"a": torch.zeros(1)})
    assert load(tmp_path / "empty")[1]["model"]["a"].item() == 0


def test_reserved_names_in_the_config_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\['format'\]"):
        save(tmp_path / "c", {"format": "gguf"}, model={})


@pytest.mark.parametrize("killed_at", [1, 2, 3])
def test_a_kill_inside_a_replacement_leaves_a_complete_checkpoint(tmp_path, monkeypatch, killed_at):
    """The n-th rename of a second save fails (3: none); what is left loads and can be replaced."""
    save(tmp_path / "c", {"value": 1}, model={"a": torch.tensor([1.0])})
    calls = 0

    def counted(function):
        def stop(*args, **kwargs):
            nonlocal calls
            calls += str(tmp_path / "c") in map(str, args) or ".c.old" in str(args)
            if calls >= killed_at:
                raise KeyboardInterrupt
            return function(*args, **kwargs)

        return stop

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Path, "rename", counted(checkpoint.Path.rename))
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path / "c", {"value": 2}, model={"a": torch.tensor([2.0])})
            raise KeyboardInterrupt
    config, weights = load(tmp_path / "c")
    assert weights["model"]["a"].item() == config["value"]
    save(tmp_path / "c", {"value": 3}, model={"a": torch.tensor([3.0])})
    assert load(tmp_path / "c")[0]["value"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


WRITER = """
    import sys, torch
    from pathlib import Path
    from guided.checkpoint import save
    value = 0
    while True:
        value += 1
        tensors = {"a": torch.full((200_000,), float(value))}
        save(Path(sys.argv[1]), {"value": value}, model=tensors, ema=tensors)
        print(value, flush=True)
"""


@pytest.mark.slow
def test_kill_9_of_a_writer_leaves_a_complete_checkpoint(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path / "c")]
    for saves in (2, 3, 5, 8):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as run:
            for _ in range(saves):
                run.stdout.readline()
            run.send_signal(signal.SIGKILL)
        config, weights = load(tmp_path / "c")
        for name in ("model", "ema"):
            assert weights[name]["a"].eq(config["value"]).all()


def test_config_is_plain_json(tmp_path):
    save(tmp_path / "c", CONFIG, model={"a": torch.zeros(1)})
    text = json.loads((tmp_path / "c" / "config.json").read_text())
    assert text["format"] == 1 and text["weights"] == ["model"]
