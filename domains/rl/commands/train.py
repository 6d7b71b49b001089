"""train: from a data set to a guided or a safe policy, in resumable stages."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
import tyro
from tqdm import tqdm

from domains.rl.assess import table
from domains.rl.curves import Curve
from domains.rl.data.offline import OfflineData
from domains.rl.data.sources import load_data
from domains.rl.imitate import Imitation
from domains.rl.safe.train import SafeRun, SafeTraining
from domains.rl.train import PolicyTraining, Progress, Run
from guided.results import require_writable
from guided.train import TrainConfig

Config = TypeVar("Config", PolicyTraining, SafeTraining)


@dataclass(frozen=True)
class Train:
    """Train a diffusion policy: with a critic and the energy that guides it, or a safe one.

    Run the same command again to resume after an interruption.
    """

    dataset: Annotated[str, tyro.conf.Positional]
    """A Minari id, e.g. guided/pointmaze-umaze-mixed-v0, or a D4RL or DSRL HDF5 file."""
    algo: Literal["cep", "behaviour", "fisor"] = "cep"
    """``cep`` guides a model of the behaviour by its values; ``behaviour`` is that model alone;
    ``fisor`` learns what is feasible from costs or margins, and imitates what earns most inside of
    it."""
    out: Path = Path("runs/rl")
    """Folder of the run; the finished policy is in its folder ``policy``."""
    config: Annotated[PolicyTraining, tyro.conf.arg(name="")] = field(
        default_factory=PolicyTraining
    )
    """cep and behaviour: model, critic, energy and the optimisation of each."""
    fisor: SafeTraining = field(default_factory=SafeTraining)
    """fisor: model, critics, weights and the optimisation of each."""
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
        data = load_data(self.dataset, download=self.download, horizon=self.horizon)
        torch.set_num_threads(1)  # the fastest for networks as small as these
        run = self._run(data)
        curve = self._curve(run)
        self._require_place()
        board = None if writer is None else _Board(writer, self.out / "tensorboard")
        for progress in with_bars(run.stages()):
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
        print(f"wrote {self.out / 'policy'}: {run.found()}")

    def _run(self, data: OfflineData) -> Run | SafeRun:
        if self.algo != "fisor":
            kind = Run if self.algo == "cep" else Imitation
            return kind(data, self._seeded(self.config), self.out)
        if self.fisor.seed:
            raise ValueError("the seed of every training is --seed; leave out --fisor.seed")
        run = SafeRun(data, self._seeded(self.fisor, self.config.seed), self.out)
        for said in run.notes():
            print(f"note: {said}")
        return run

    def _curve(self, run: Run | SafeRun) -> Curve | None:
        if not self.curve:
            return None
        if isinstance(run, SafeRun | Imitation):
            raise ValueError(
                f"--curve follows the training of an energy, which --algo {self.algo} has none of; "
                f"leave it out, and use guided-rl evaluate"
            )
        return Curve(run, self.curve, self.episodes)

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

    def _seeded(self, config: Config, seed: int | None = None) -> Config:
        """Return a configuration whose loops have its seed, and a few steps if that is asked."""
        own = config.seed if seed is None else seed
        seeded: Any = {name: replace(loop, seed=own) for name, loop in _loops(config).items()}
        found = replace(config, seed=own, **seeded)
        return few(found) if self.quick else found


def with_bars(progress: Iterator[Progress]) -> Iterator[Progress]:
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


def few(config: Config) -> Config:
    """Return the configuration with loops of a few steps, for smoke tests."""
    short: Any = {
        name: replace(
            loop, steps=20, batch=16, warmup=2, save_every=10, log_every=10, snapshot_at=None
        )
        for name, loop in _loops(config).items()
    }
    return replace(config, **short)


def _loops(config: Any) -> dict[str, TrainConfig]:
    return {f.name: getattr(config, f.name) for f in fields(config) if f.name.endswith("loop")}


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
