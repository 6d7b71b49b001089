"""``guided-bench branches``: that what is compared is comparable; no time is asserted."""

import json

import pytest
import torch

from guided import Counted, Rng
from guided.bench.branches import (
    LABELS,
    METHODS,
    PERTURBED,
    STEPS,
    Inputs,
    neutral,
    sampled,
    unlabelled,
)
from guided.bench.cli import main
from guided.nets import Control, Stacked, Transformer
from guided.nets.attention import AttentionControl, attend, smoothed
from guided.rng import initial_weights


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    """A network whose blocks all count: as it is built its gates are zero."""
    with initial_weights(0):
        net = Transformer(16, 96, 4, heads=4, labels=LABELS)
        for weight in net.parameters():
            weight.data += 0.1 * torch.randn_like(weight)
    return Inputs.of(net.eval().requires_grad_(False), 5, 0)


@pytest.mark.parametrize("name", PERTURBED)
def test_stacked_branches_are_separate_calls(inputs: Inputs, name: str) -> None:
    control, sizes = PERTURBED[name], [5, 5, 5]
    found = inputs.stacked(3).call(Stacked.of([None, None, control], sizes)).split(5)
    plain, spoilt = inputs.call(), inputs.call(control)
    for got, expected in zip(found, (plain, plain, spoilt), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert float((plain - spoilt).abs().max()) > 1e-2


def test_equal_neighbours_are_one_part() -> None:
    a, b = Control(), Control(embedding=torch.neg)
    found = Stacked.of([None, None, a, Stacked((a, b), (2, 3)), None], [1, 2, 3, 5, 4])
    assert found == Stacked((None, a, b, None), (3, 5, 3, 4))
    assert found.parts[1] is a


def test_infinite_blur_is_attention_of_the_mean_query() -> None:
    q, k, v = Rng(0).normal((3, 2, 4, 6, 8), torch.float64)
    found = AttentionControl(frozenset(), "blur", float("inf")).attend(q, k, v, (6,))
    torch.testing.assert_close(found, attend(q.mean(-2, keepdim=True).expand_as(q), k, v))


def test_a_kept_kernel_takes_gradients_also_where_it_was_made_without() -> None:
    x = Rng(0).normal((2, 7, 3))
    with torch.inference_mode():
        smoothed(x, 1.2345, (1,))
    x.requires_grad_()
    smoothed(x, 1.2345, (1,)).square().sum().backward()
    assert x.grad is not None and bool(x.grad.isfinite().all())


@pytest.mark.parametrize("name", METHODS)
def test_a_method_calls_the_network_as_declared(inputs: Inputs, name: str) -> None:
    method, controls = METHODS[name]
    counted = Counted(inputs.denoiser)
    sampled(inputs, method(counted))()
    assert counted.calls == STEPS
    assert counted.rows == STEPS * 5 * len(controls)


def test_the_interval_holds_half_of_the_steps(inputs: Inputs) -> None:
    calls: list[int] = []
    hook = inputs.net.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    try:
        names = [row["run"] for row in neutral(inputs, 1)["rows"]]
    finally:
        hook.remove()
    assert names.index("CFG in half of the steps") == 4
    run = calls[4 * STEPS : 5 * STEPS]  # of the round that is not measured
    assert sorted(run) == [5] * (STEPS // 2) + [10] * (STEPS // 2)
    assert calls[STEPS : 2 * STEPS] == [5] * STEPS


def test_the_null_label_is_none_of_the_others(inputs: Inputs) -> None:
    assert int(inputs.cond.max()) < LABELS
    assert unlabelled(inputs.cond).tolist() == [LABELS] * 5


def test_branches_prints_all_cases_and_keeps_them(tmp_path, capsys) -> None:
    threads = torch.get_num_threads()
    path = tmp_path / "new" / "branches.json"
    main(["branches", "--quick", "--batch", "2", "--json", str(path)])
    torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    cases = json.loads(path.read_text())["cases"]
    assert len(cases) == 4 + 2 + 1 + len(METHODS)
    for case in cases:
        assert case["what"] in printed
        for row in case["rows"]:
            assert row["run"] in printed
            assert row["ms"] > 0
    assert "kept" not in printed and "MISSED" not in printed


def test_branches_refuses_an_empty_batch() -> None:
    with pytest.raises(SystemExit, match="at least 1 round"):
        main(["branches", "--batch", "0"])
