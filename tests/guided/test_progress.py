"""A training run is walked to its end, and its last state is what counts."""

import pytest

from guided.progress import finished
from guided.train import TrainState


def states(*steps: int):
    return (TrainState(s, 1.0 / s, 1.0, 1e-3, 0.1, {}, None, False) for s in steps)


def test_the_last_state_is_returned_and_all_are_taken() -> None:
    walked = states(2, 4, 5)
    assert finished(walked, 5).step == 5
    assert next(walked, None) is None


def test_a_run_without_a_state_is_refused() -> None:
    with pytest.raises(ValueError, match="yielded no state"):
        finished(iter(()), 5)
