"""What holds for every cost: gradients, rows, zero where satisfied, sums, and residuals."""

import numpy as np
import pytest
import torch

from domains.trajectory.costs import Setting, compile, drawn_goals, parse, residuals, table
from domains.trajectory.costs.language import DEMANDS
from domains.trajectory.forecast import Forecast
from guided.energy import FunctionEnergy, WeightedSum, gradient
from tests.trajectory.small_scene import ORIGIN, futures, scene, setting, steady

# A line for each demand that the steady future violates, and one that it satisfies.
LINES = {
    "goal (103, 203) at 1.2 s": "goal (102, 200) at 1 s",
    "goal 5 ahead, 1 right at 1.2 s": "goal 3 ahead at 1.5 s",
    "within 2 of (108, 205)": "within 2 of (104, 201)",
    "inside (106, 203) (109, 203) (107, 207) at 1.7 s": "inside (103, 199) (105, 199) (105, 201)",
    "via (103.3, 205)": "via (103.3, 200)",
    "speed <= 1.5": "speed <= 2.1",
    "speed >= 3 to 1 s": "speed >= 1.9",
    "speed = 3 from 1 s": "speed = 2",
    "acceleration <= 1": "acceleration <= 0.1",
    "jerk <= 1": "jerk <= 0.1",
    "brake by 1.5": "brake by 0",
    "apart 4.5": "apart 3.5",
    "risk <= 0.05 within 3": "risk <= 0.3 within 2",
    "near (110, 205)": "",
    "near agent ego": "",
    "away from (104, 203) by 4": "away from (104, 203) by 1",
    "away from agent 2 by 5 from 1 s": "away from agent 2 by 3",
    "behind agent 2 by 6": "behind agent 2 by 4",
    "on road": "on road",
    "stay inside (101, 198) (103, 198) (103, 199)": "stay inside (99, 198) (110, 198) (99, 205)",
    "in lane 7": "in lane 12",
    "follow lane 12 -> 13": "follow lane 12",
    "follow (100, 201) (103, 204) (109, 200)": "follow (90, 200) (91, 200)",
    "stop before (102, 198) (102.5, 203)": "stop before (105, 2) (105, 9) by 1",
}  # fmt: skip


def shaken(seed=0, rows=3, size=0.3):
    noise = np.random.default_rng(seed).normal(0, size, (rows, 3, 4, 2))
    return steady().expand(rows, -1, -1, -1) + torch.as_tensor(noise)


def off_road(p):
    return p + torch.tensor([0.0, -4.0]).to(p)


def violated(line):
    """A future, near the steady one, that the line complains about."""
    return off_road(shaken()) if line == "on road" else shaken()


def test_the_table_has_every_demand():
    used = {type(c.demand) for c in parse("\n".join(f"agent 1: {line}" for line in LINES))}
    assert used == set(DEMANDS)


@pytest.mark.parametrize("line", LINES)
def test_gradients_are_those_of_finite_differences(line):
    energy = compile(parse(f"agent 1: {line}"), setting())
    p = violated(line).requires_grad_()
    assert (energy(p) > 0).all()
    assert torch.autograd.gradcheck(energy, (p,))


@pytest.mark.parametrize("line", LINES)
def test_rows_do_not_see_each_other(line):
    energy = compile(parse(f"agent 1: {line}"), setting())
    p = violated(line)
    together, slopes = gradient(energy, p)
    for row in range(len(p)):
        alone, slope = gradient(energy, p[row : row + 1])
        torch.testing.assert_close(alone, together[row : row + 1], rtol=0, atol=1e-12)
        torch.testing.assert_close(slope, slopes[row : row + 1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("line", [line for line in LINES.values() if line])
def test_zero_where_satisfied_with_a_gradient_that_is_a_number(line):
    energy = compile(parse(f"agent 1: {line}"), setting())
    value, slope = gradient(energy, steady())
    assert value.item() == pytest.approx(0, abs=1e-10)
    assert slope.isfinite().all()
    assert slope.abs().max() < 1e-4


@pytest.mark.parametrize("line", LINES)
def test_single_precision_is_kept_and_inputs_are_not_touched(line):
    energy = compile(parse(f"agent 1: {line}"), setting())
    p = violated(line).float()
    before = p.clone()
    value = energy(p)
    assert value.dtype == torch.float32
    assert value.shape == (3,)
    assert torch.equal(p, before)
    torch.testing.assert_close(value.double(), energy(violated(line)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("line", LINES)
def test_residuals_are_the_worst_violation(line):
    (cost,) = compile(parse(f"agent 1: {line}"), setting()).terms.values()
    p = violated(line)
    assert cost.residual(p).shape == (3, 1)
    torch.testing.assert_close(cost.residual(p)[:, 0], cost.violations(p).amax((1, 2)))


def test_energies_add_up_with_their_weights():
    lines = ["agent 1: goal (103, 203) at 1.2 s", "all: apart 5", "agent 2: speed <= 1"]
    p = shaken()
    parts = [compile(parse(line), setting())(p) for line in lines]
    energy = compile(parse(f"{lines[0]} * 2.5\n{lines[1]}; apart 5\n{lines[2]} * 0"), setting())
    torch.testing.assert_close(energy(p), 2.5 * parts[0] + 2 * parts[1])
    assert list(energy.terms) == [*lines[:2], "all: apart 5 (again 1)", lines[2]]


def test_the_energy_does_not_depend_on_the_step_of_a_lasting_demand():
    coarse = compile(parse("agent 1: speed <= 1"), setting())(steady())
    fine_setting = setting(horizon=8)
    object.__setattr__(fine_setting, "dt", 0.25)
    way = 0.5 * torch.arange(1, 9, dtype=torch.float64)
    p = torch.zeros(1, 3, 8, 2, dtype=torch.float64)
    p[0, 0, :, 0] = way
    fine = compile(parse("agent 1: speed <= 1"), fine_setting)(p)
    torch.testing.assert_close(fine, coarse)
    assert coarse.item() == pytest.approx(2.0)  # 1 m/s above, squared, for 2 s


def test_contradictions_show_in_the_residuals():
    constraints = parse("agent 1: goal (100, 200); goal (106, 200)\nagent 2: speed = 2")
    p = torch.cat([steady(1.5), steady(2.0)])
    rows = residuals(compile(constraints, setting()), p)
    assert [(r.agent, r.unit) for r in rows] == [("1", "m"), ("1", "m"), ("2", "m/s")]
    assert [r.mean for r in rows] == pytest.approx([3.5, 2.5, 0.25])
    assert [r.worst for r in rows] == pytest.approx([4, 3, 0.5])
    assert [r.met for r in rows] == pytest.approx([0, 0, 0.5])
    text = table(rows).splitlines()
    assert text[0].split() == ["constraint", "agent", "mean", "worst", "unit", "met"]
    assert text[3].split()[-5:] == ["2", "0.25", "0.50", "m/s", "50%"]


def test_residuals_need_costs():
    with pytest.raises(TypeError, match="are of a sum of costs, got FunctionEnergy"):
        residuals(FunctionEnergy(lambda p: p.sum((1, 2, 3))), steady())
    other = WeightedSum({"mine": FunctionEnergy(lambda p: p.sum((1, 2, 3)))})
    with pytest.raises(TypeError, match="are of costs, got 'mine', a FunctionEnergy"):
        residuals(other, steady())


def test_drawn_goals_are_those_of_a_forecast():
    lines = "agent 2: goal (103, 203) at 1 s; speed <= 2\nagent ego: goal 2 ahead, 1 left\n"
    lines += "all: via (101, 202)\nagent 1: within 2 of (1, 2); inside (0, 0) (3, 0) (0, 3)"
    goals = drawn_goals(parse(lines), setting())
    assert [agent for _, _, agent in goals] == [1, 2, 0, 1, 2, 0, 0]
    expected = [(103, 203), (99, 206), *[(101, 202)] * 3, (1, 2), (1, 1)]
    np.testing.assert_allclose([point for _, point, _ in goals], expected)
    assert goals[0][0] == "goal (103, 203) at 1 s"
    worlds = steady().numpy() + ORIGIN
    other = Setting.of(scene(), [2, 0], 0.5, 4, ORIGIN)
    assert [agent for _, _, agent in drawn_goals(parse("all: via (1, 2)"), other)] == [2, 0]
    Forecast(scene(), np.arange(3), worlds, 0.5, np.ones(1), goals)


def test_futures_of_another_shape_are_refused():
    energy = compile(parse("agent ego: speed <= 1"), setting())
    with pytest.raises(ValueError, match=r"shape \(R, A, 4, 2\) with A > 2, got \(1, 1, 2, 2\)"):
        energy(futures([[0, 0], [1, 1]]))
