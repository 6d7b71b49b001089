"""train: from a data set to a guided policy, in four resumable stages."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from tqdm import tqdm

from domains.rl.assess import table
from domains.rl.curves import Curve
from domains.rl.data.sources import load_data
from domains.rl.train import PolicyTraining, Progress, Run
from guided.results import require_writable
from guided.train import TrainConfig


@dataclass(frozen=True)
class Train:
    """Train a diffusion policy, its critic and the energy that guides it.

    Run the same command again to resume after an interruption.
    """

    dataset: Annotated[str, tyro.conf.Positional]
    """A Minari id, e.g. guided/pointmaze-umaze-mixed-v0, or a D4RL HDF5 file."""
    out: Path = Path("runs/rl")
    """Folder of the run; the finished policy is in its folder ``policy``."""
    config: Annotated[PolicyTraining, tyro.conf.arg(name="")] = field(
        default_factory=PolicyTraining
    )
    """Model, critic, energy and the optimisation of each."""
    download: bool = False
    """Fetch a data set that is not here from Minari's server."""
    horizon: int | None = None
    """Steps of an episode, for a D4RL file that does not mark where episodes were cut."""
    curve: int = 0
    """Evaluations of the policy during the energy's training (curve.png, curve.json); 0 is none."""
    episodes: int = 50
    """Episodes of such an evaluation."""
    tensorboard: bool = False
    """Write the losses for TensorBoard too (needs the package tensorboard)."""
    quick: bool = False
    """A few steps of every stage: a smoke test."""

    def run(self) -> None:
        """Load, train, save.

        Raises:
            ValueError: for data that are missing or unfit, a folder that cannot be written or
                holds another run, a package that is missing, or an environment that cannot be
                evaluated in.
        """
        writer = _board_writer() if self.tensorboard else None
        config = self._config()
        data = load_data(self.dataset, download=self.download, horizon=self.horizon)
        torch.set_num_threads(1)  # the fastest for networks as small as these
        run = Run(data, config, self.out)
        curve = Curve(run, self.curve, self.episodes) if self.curve else None
        self._require_place()
        board = None if writer is None else _Board(writer, self.out / "tensorboard")
        for progress in _with_bars(run.stages()):
            if board is not None:
                board.add(progress)
            if curve is not None:
                curve.add(progress)
        run.policy().save(self.out / "policy")
        if curve is not None:
            ends = curve.ends()
            print(table({f"{name} {own['step']}": own for name, own in ends.items()}, "step"))
            if lost := curve.lost():
                print(lost)
            print(f"wrote {self.out / 'curve.json'} and {self.out / 'curve.png'}")
        print(f"wrote {self.out / 'policy'}: spread of Q within a state {run.critic.spread:.4g}")

    def _require_place(self) -> None:
        """Refuse what could not be saved in the end; all else is checked before, as this makes it.

        Raises:
            ValueError: for a folder that cannot be written, or one named policy of other things.
        """
        policy = self.out / "policy"
        other = policy.is_file() or (policy.is_dir() and any(policy.iterdir()))
        if other and not (policy / "config.json").is_file():
            raise ValueError(f"{policy} exists and is no checkpoint; choose another --out")
        require_writable(self.out / "training.json")

    def _config(self) -> PolicyTraining:
        config = self.config
        loops = ("behaviour_loop", "critic_loop", "energy_loop")
        seeded = {name: replace(getattr(config, name), seed=config.seed) for name in loops}
        if self.quick:
            seeded = {name: _few(loop) for name, loop in seeded.items()}
        return replace(config, **seeded)


def _with_bars(progress: Iterator[Progress]) -> Iterator[Progress]:
    """Pass progress on, with a bar for every stage."""
    bar, stage = None, None
    try:
        for now in progress:
            if now.stage != stage:
                if bar is not None:
                    bar.close()
                unit = "state" if now.stage == "support" else "step"
                bar, stage = tqdm(total=now.of, desc=now.stage, unit=unit), now.stage
            assert bar is not None
            bar.update(now.done - bar.n)
            if now.loss is not None:
                bar.set_postfix(loss=f"{now.loss:.4f}", refresh=False)
            yield now
    finally:
        if bar is not None:
            bar.close()


def _few(loop: TrainConfig) -> TrainConfig:
    """Return a loop of a few steps, for smoke tests."""
    return replace(
        loop, steps=20, batch=16, warmup=2, save_every=10, log_every=10, snapshot_at=None
    )


class _Board:
    """Losses for TensorBoard.

    Args:
        writer: the class of the package; see :func:`_board_writer`.
        folder: of its files.
    """

    def __init__(self, writer: Any, folder: Path) -> None:
        self.writer = writer(str(folder))

    def add(self, progress: Progress) -> None:
        """Write one loss."""
        if progress.loss is not None:
            self.writer.add_scalar(f"loss/{progress.stage}", progress.loss, progress.done)
            self.writer.flush()


def _board_writer() -> Any:
    """Return TensorBoard's writer.

    Raises:
        ValueError: where the package is missing.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError(
            "--tensorboard needs the package tensorboard; pip install 'guided[tensorboard]'"
        ) from None
    return SummaryWriter
