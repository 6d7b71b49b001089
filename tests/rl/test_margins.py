import math

import pytest
import torch

from domains.rl.data.offline import OfflineData
from domains.rl.safe.margins import look_ahead, margins, notes, violation_label


def logged(costs=(0, 1, 0), margin=None, **changes):
    """Episodes of two steps and of one, on a line."""
    parts = {
        "states": torch.arange(5.0)[:, None],
        "actions": torch.zeros(3, 1),
        "rewards": torch.tensor([1.0, 2.0, 3.0]),
        "terminals": torch.tensor([False, True, False]),
        "timeouts": torch.tensor([False, False, True]),
        "starts": torch.tensor([0, 2, 3]),
        "low": -torch.ones(1),
        "high": torch.ones(1),
        "name": "toy",
        "costs": None if costs is None else torch.tensor(costs, dtype=torch.float32),
        "margins": None if margin is None else torch.tensor(margin),
    }
    return OfflineData(**parts, **changes)


def test_costs_become_labels():
    found = margins(logged((0, 0.5, 0)), 25.0, 0.99)
    assert found.now.tolist() == found.next.tolist() == [-1, 25, -1]
    assert found.scale == 25


def test_margins_of_states_are_used_as_they_are():
    found = margins(logged(margin=[-3.0, -0.2, 0.4, -0.1, 0.3]), 25.0, 0.99)
    # The first episode has the states 0, 1, 2 and the second 3, 4.
    assert found.now.tolist() == pytest.approx([-3, -0.2, -0.1])
    assert found.next.tolist() == pytest.approx([-0.2, 0.4, 0.3])
    assert found.scale is None


def test_the_original_takes_the_margin_after_a_transition():
    found = margins(logged(margin=[-3.0, -0.2, 0.4, -0.1, 0.3]), 25.0, 0.99, compat=True)
    assert found.now.tolist() == found.next.tolist() == pytest.approx([-0.2, 0.4, 0.3])


def test_floor_and_costs_instead_of_margins():
    data = logged(margin=[-3.0, -0.2, 0.4, -0.1, 0.3])
    assert margins(data, 1.0, 0.99, floor=0.15).now.tolist() == pytest.approx([-0.15, -0.15, -0.1])
    assert margins(data, 4.0, 0.99, from_costs=True).now.tolist() == [-1, 4, -1]


@pytest.mark.parametrize("horizon", [1, 50, 320])
def test_a_label_makes_the_last_step_count(horizon):
    """The discounted sum of -1 for k steps and M after them is positive up to the horizon."""
    gamma = 0.99
    label = violation_label(horizon, gamma)

    def worth(k):
        return gamma**k * label - (1 - gamma**k)

    if label > 1:
        assert worth(horizon) == pytest.approx(0, abs=1e-9)
    assert worth(horizon - 1) > 0


def test_the_labels_of_the_notes():
    # M = 25 looks ahead ln(1/26) / ln(0.99) steps, M = 1 looks ln(1/2) / ln(0.99).
    assert violation_label(323, 0.99) == pytest.approx(24.7, abs=0.1)
    assert look_ahead(25, 0.99) == pytest.approx(324.2, abs=0.1)
    assert look_ahead(1, 0.99) == pytest.approx(69, abs=0.1)
    assert look_ahead(1, 1.0) == math.inf
    assert violation_label(1000, 0.99) == violation_label(10**7, 0.99) == 25  # and no more
    assert violation_label(69, 0.99) == pytest.approx(1, abs=0.01)
    assert violation_label(1, 0.99) == 1  # no less than what a clean step counts
    assert violation_label(500, 1.0) == 1


def test_what_cannot_be():
    with pytest.raises(ValueError, match="toy has no costs and no margins"):
        margins(logged(None), 25.0, 0.99)
    with pytest.raises(ValueError, match="has no costs and no margins"):
        margins(logged(None, margin=[0.0] * 5), 25.0, 0.99, from_costs=True)
    with pytest.raises(ValueError, match="label > 0"):
        margins(logged(), 0.0, 0.99)
    with pytest.raises(ValueError, match="floor > 0"):
        margins(logged(), 1.0, 0.99, floor=-1.0)
    with pytest.raises(ValueError, match="horizon >= 1"):
        violation_label(0, 0.99)
    with pytest.raises(ValueError, match="gamma in"):
        violation_label(5, math.nan)


def test_the_label_is_that_of_the_longest_episode():
    found = margins(logged((0, 0.5, 0)), None, 0.5)
    assert found.scale == 3  # two steps: 0.5^-2 - 1
    assert found.now.tolist() == [-1, 3, -1]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (logged((0, 0, 0)), "no costs of toy tell of a violation"),
        (logged((1, 2, 3)), "all costs of toy tell of violations"),
        (logged((0, 1, 0)), None),
        (logged((0, 0, 0), margin=[-1.0, 1.0, -1.0, 1.0, -1.0]), None),
        (logged((0, 1, 0), margin=[-1.0] * 5), "no margins of toy"),
        (logged((0, 1, 0), margin=[1.0] * 5), "all margins of toy"),
        (logged((0, 1, 0), margin=[1.0, -1.0, -1.0, -1.0, -1.0]), None),
    ],
)
def test_what_cannot_teach_is_spoken_of(data, said):
    found = notes(data, margins(data, 1.0, 0.99), 0.99)
    assert len(found) == (said is not None)
    assert said is None or found[0].startswith(said)


def test_a_label_that_looks_less_far_than_an_episode_is_spoken_of():
    (said,) = notes(logged((0, 1, 0)), margins(logged((0, 1, 0)), 0.2, 0.5), 0.5)
    assert said.startswith("a violation counts from 0 steps ahead, and episodes have up to 2")
