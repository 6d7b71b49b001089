"""A training run behind a progress bar."""

from collections.abc import Iterable

from tqdm import tqdm

from guided.train import TrainState


def finished(states: Iterable[TrainState], steps: int) -> TrainState:
    """Run a training to its end, showing steps, loss and learning rate; return its last state.

    Args:
        states: what :func:`guided.train.train` yields.
        steps: of the whole run.

    Raises:
        ValueError: for a run that yields no state.
    """
    state: TrainState | None = None
    with tqdm(total=steps, desc="training", unit="step") as bar:
        for state in states:
            bar.update(state.step - bar.n)
            bar.set_postfix(loss=f"{state.loss:.4f}", lr=f"{state.lr:.2g}")
    if state is None:
        raise ValueError("the training yielded no state; a finished run yields its last one")
    return state
