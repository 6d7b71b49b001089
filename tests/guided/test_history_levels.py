import pytest

from guided.guidance import fractional, merged, temporal, vanilla

CLEAN, HIDDEN = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def test_scale_one_is_the_conditional_model_alone():
    for branches in (vanilla(3, 1.0), fractional(3, 1.0, 0.4), temporal(3, [(range(3), 1.0)])):
        assert branches == {CLEAN: 1.0}


def test_vanilla():
    assert vanilla(3, 2.5) == {CLEAN: 2.5, HIDDEN: -1.5}
    assert vanilla(3, 0.0) == {HIDDEN: 1.0}


def test_fractional_between_its_ends():
    half = (0.5, 0.5, 0.5)
    assert fractional(3, 2.5, 0.5) == {CLEAN: 1.0, half: 1.5, HIDDEN: -1.5}
    assert fractional(3, 2.5, 1.0) == {CLEAN: 1.0}
    assert fractional(3, 2.5, 0.0) == vanilla(3, 2.5)


def test_temporal_shows_parts():
    branches = temporal(3, [({0, 1}, 0.5), ([2], 2.0), ((), 7.0)])
    assert branches == {(0.0, 0.0, 1.0): 0.5, (1.0, 1.0, 0.0): 2.0, HIDDEN: -1.5}
    assert temporal(3, [(range(3), 2.0)]) == vanilla(3, 2.0)


def test_equal_branches_are_one_and_weights_that_cancel_none():
    terms = [((0, 1), 0.1), ((0.0, 1.0), 0.2), ((1, 1), 1.0), ((0, 1), -0.3)]
    assert merged(terms) == {(1.0, 1.0): 1.0}
    assert len(merged([((0, 1), 0.3), ((1, 0), 0.3), ((0, 1), 0.4)])) == 2


def test_no_history_is_one_branch():
    assert vanilla(0, 3.0) == {(): 1.0}


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: merged([((0.0,), 0.5)]), "weights of the branches add up to 1, got 0.5"),
        (lambda: fractional(2, 2.0, 1.5), r"levels of a history are in \[0, 1\], got \(1.5, 1.5"),
        (lambda: merged([((0.0,), 0.5), ((0.0, 1.0), 0.5)]), r"got the lengths \[1, 2\]"),
        (lambda: temporal(2, [([0, 2], 1.0)]), r"tokens 0 to 1, got a part of \[0, 2\]"),
    ],
)
def test_impossible_branches_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()
