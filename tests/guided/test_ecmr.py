"""References: parts of the clean estimate that are replaced by better ones."""

import itertools
import math

import pytest
import torch

from guided import DDIM, FunctionEnergy, Rng, VPLinear
from guided.energy import Energy
from guided.guidance import ECM, ECMR
from guided.schedule import uniform
from tests.guided.toy import Toy

F64 = torch.float64
TIMES = uniform(8, start=0.95)
X0 = Rng(0).normal((6, 3, 2), F64)
REFERENCES = Rng(1).normal((2, 4, 3, 2), F64)  # 2 requests of 3 rows, 4 references, 3 parts
WANTED = Rng(2).normal((3, 2), F64)


def per_part(x0: torch.Tensor) -> torch.Tensor:
    """The energy of every part, (B, A)."""
    return (x0 - WANTED).square().sum(-1)


SEPARABLE = FunctionEnergy(lambda x0: per_part(x0).sum(1))


def joint(x0: torch.Tensor) -> torch.Tensor:
    """Parts that want their own places, and away from each other."""
    gaps = (x0[:, :, None] - x0[:, None]).square().sum(-1)
    return per_part(x0).sum(1) + 2 * torch.exp(-gaps).sum((1, 2))


JOINT = FunctionEnergy(joint)


def ecmr(energy: Energy = SEPARABLE, references: torch.Tensor = REFERENCES, **settings) -> ECMR:
    return ECMR(Toy(VPLinear()), energy, references, **settings)


def test_for_a_sum_over_parts_each_part_becomes_its_best() -> None:
    """As in the source: the best reference of a part, where the sample's own part is worse."""
    found = ecmr().replaced(X0)
    replaced = 0
    for row, part in itertools.product(range(6), range(3)):
        costs = [per_part(r[None])[0, part] for r in REFERENCES[row // 3]]
        best = min(range(4), key=costs.__getitem__)
        own = per_part(X0[row : row + 1])[0, part] <= costs[best]
        replaced += not own
        expected = X0[row, part] if own else REFERENCES[row // 3, best, part]
        assert torch.equal(found[row, part], expected)
    assert 3 < replaced < 18


def test_for_a_sum_over_parts_it_is_the_best_of_all_combinations() -> None:
    found = SEPARABLE(ecmr().replaced(X0))
    for row in range(6):
        options = torch.cat([X0[row, None], REFERENCES[row // 3]])
        everything = torch.stack(
            [options[list(pick), [0, 1, 2]] for pick in itertools.product(range(5), repeat=3)]
        )
        assert found[row].item() == SEPARABLE(everything).min().item()


@pytest.mark.parametrize("sweeps", [1, 2, 5])
def test_for_a_joint_cost_it_is_a_descent_part_by_part(sweeps: int) -> None:
    """Against a plain loop over rows, parts and candidates."""
    found = ecmr(JOINT, sweeps=sweeps).replaced(X0)
    for row in range(6):
        x, history = X0[row].clone(), [JOINT(X0[row : row + 1]).item()]
        for part in [0, 1, 2] * sweeps:
            for reference in REFERENCES[row // 3]:
                other = x.clone()
                other[part] = reference[part]
                if joint(other[None]) < joint(x[None]):
                    x = other
            history.append(joint(x[None]).item())
        assert all(a >= b for a, b in itertools.pairwise(history))
        torch.testing.assert_close(found[row], x)


def test_the_joint_energy_falls_with_every_sweep_until_nothing_is_better() -> None:
    energies = [JOINT(ecmr(JOINT, sweeps=n).replaced(X0)) for n in range(6)]
    assert torch.equal(energies[0], JOINT(X0))
    assert all((a >= b).all() for a, b in itertools.pairwise(energies))
    assert torch.equal(energies[4], energies[5])


def test_the_gradient_step_follows_the_replacement_and_eps_is_kept() -> None:
    toy, level = Toy(VPLinear()), VPLinear().level(0.5)
    plain = toy(X0, level)
    found = ecmr(JOINT, scale=0.1, clip=0.2, spread=2.0)(X0, level)
    better = ecmr(JOINT).replaced(plain.x0).requires_grad_()
    (slope,) = torch.autograd.grad(joint(better).sum(), better)
    move = torch.clip(0.1 * slope / 2, -0.2, 0.2) / 2
    torch.testing.assert_close(found.x0, (better - move).detach())
    assert torch.equal(found.eps, plain.eps)


def test_a_request_knows_its_own_references_alone() -> None:
    both = ecmr(JOINT).replaced(X0)
    for i in range(2):
        alone = ecmr(JOINT, REFERENCES[i : i + 1]).replaced(X0[3 * i : 3 * i + 3])
        torch.testing.assert_close(both[3 * i : 3 * i + 3], alone)
    assert not torch.allclose(ecmr(JOINT, REFERENCES.flip(0)).replaced(X0), both)


@pytest.mark.parametrize(
    "settings", [{"sweeps": 0}, {"references": REFERENCES[:, :0]}], ids=["sweeps", "references"]
)
def test_without_sweeps_or_references_it_is_ecm(settings: dict) -> None:
    runs = [
        DDIM(method).sample(X0, TIMES, rng=Rng(0))
        for method in (ecmr(JOINT, scale=0.1, **settings), ECM(Toy(VPLinear()), JOINT, scale=0.1))
    ]
    assert torch.equal(runs[0], runs[1])


def test_a_part_that_does_not_count_stays_as_it_is() -> None:
    """Padding: all its candidates tie."""
    padded = FunctionEnergy(lambda x0: per_part(x0)[:, :2].sum(1))
    found = ecmr(padded).replaced(X0)
    assert torch.equal(found[:, 2], X0[:, 2])
    assert not torch.equal(found[:, :2], X0[:, :2])


def test_a_reference_that_fails_never_wins() -> None:
    references = REFERENCES.clone()
    references[:, 0], references[:, 1] = math.nan, math.inf
    found = ecmr(references=references).replaced(X0)
    assert torch.equal(found, ecmr(references=REFERENCES[:, 2:]).replaced(X0))


def test_one_call_of_the_energy_a_part_and_the_condition_goes_along() -> None:
    calls = []

    class Conditional(Energy):
        def __call__(self, x0, cond=None):
            calls.append((len(x0), x0.requires_grad))
            return (x0 - cond["goal"]).square().flatten(1).sum(1)

    goal = Rng(5).normal((6, 3, 2), F64)
    before = REFERENCES.clone()
    found = ecmr(Conditional(), scale=0.1, sweeps=2).improved(X0, {"goal": goal})
    assert calls == [(30, False)] * 6 + [(6, True)]
    assert torch.equal(REFERENCES, before)
    for row in range(6):
        energy = FunctionEnergy(lambda x0, row=row: (x0 - goal[row]).square().flatten(1).sum(1))
        alone = ecmr(energy, REFERENCES[row // 3, None], scale=0.1).improved(X0[row, None])
        torch.testing.assert_close(found[row, None], alone)


def test_it_crosses_to_another_mode_where_a_gradient_cannot() -> None:
    """A double well whose better well, at 1, lies behind a wall for a sample at -1."""
    wells = FunctionEnergy(lambda x0: (4 * (x0**2 - 1) ** 2 - x0).flatten(1).sum(1))
    x0 = torch.full((1, 2, 1), -1.0, dtype=F64)
    references = torch.tensor([0.9, -0.9], dtype=F64).reshape(1, 2, 1, 1).expand(1, 2, 2, 1)
    moved, jumped = x0, x0
    for _ in range(50):
        moved = ECM(Toy(VPLinear()), wells, 0.02).improved(moved)
        jumped = ecmr(wells, references, scale=0.02).improved(jumped)
    assert (moved < -0.9).all()
    assert (jumped > 0.9).all()


def test_mistakes_are_said_in_words() -> None:
    with pytest.raises(ValueError, match=r"0 \(none\) or more sweeps over the parts, got -1"):
        ecmr(sweeps=-1)
    for x0 in (X0[:5], X0[:, :2], X0[..., :1], X0[:, 0, 0]):
        with pytest.raises(ValueError, match=r"references \(R, M, A, ...\) .* got \(2, 4, 3, 2\)"):
            ecmr().replaced(x0)
    with pytest.raises(ValueError, match=r"R a divisor of B, got \(0, 4, 3, 2\) for \(6, 3, 2\)"):
        ecmr(references=REFERENCES[:0]).replaced(X0)


class Split(FunctionEnergy):
    """The same sum, which also tells its parts, and counts the rows that it was asked for."""

    rows = 0

    def __init__(self) -> None:
        super().__init__(lambda x0: per_part(x0).sum(1))

    def parts(self, x0: torch.Tensor, cond: torch.Tensor | None = None) -> torch.Tensor:
        Split.rows += len(x0)
        shift = 0.0 if cond is None else cond[:, None]
        return per_part(x0) + shift


@pytest.mark.parametrize("cond", [None, torch.linspace(-1, 1, 6, dtype=F64)])
def test_a_sum_that_tells_its_parts_gives_the_same_in_two_calls(cond: torch.Tensor | None) -> None:
    references = REFERENCES.clone()
    references[0, 1, 2] = math.nan
    Split.rows = 0
    found = ecmr(Split(), references).replaced(X0, cond)
    assert torch.equal(found, ecmr(SEPARABLE, references).replaced(X0))
    assert Split.rows == 6 + (2 * 4 if cond is None else 6 * 4)  # rows share their request's


def test_a_sum_that_does_not_know_its_parts_is_swept() -> None:
    class Sometimes(FunctionEnergy):
        def parts(self, x0: torch.Tensor, cond: object = None) -> None:
            return None

    found = ecmr(Sometimes(joint)).replaced(X0)
    assert torch.equal(found, ecmr(JOINT).replaced(X0))


def test_references_are_judged_once_a_run_without_conditions() -> None:
    """What they cost does not change from step to step; the samples' own cost does."""
    Split.rows = 0
    guided = ecmr(Split(), scale=0.05)
    found = DDIM(guided).sample(X0, TIMES, rng=Rng(0))
    assert Split.rows == 2 * 4 + 6 * (len(TIMES) - 1)
    swept = DDIM(ecmr(SEPARABLE, scale=0.05)).sample(X0, TIMES, rng=Rng(0))
    torch.testing.assert_close(found, swept, rtol=1e-12, atol=1e-12)
    empty = ecmr(Split(), REFERENCES[:, :0], scale=0.05)
    assert torch.equal(empty.replaced(X0), X0)
