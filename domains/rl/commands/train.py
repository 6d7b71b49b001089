"""train: from a data set to a guided policy, in four resumable stages."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from domains.rl.assess import maker, row
from domains.rl.commands.options import few, threads
from domains.rl.data.sources import load_data
from domains.rl.evaluate import Trials, evaluate
from domains.rl.train import PolicyTraining, Progress, Run
from guided.results import require_writable, write_json


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
    curve: int = 0
    """Evaluate the policy so many times while its energy is trained."""
    episodes: int = 50
    """Episodes of such an evaluation."""
    tensorboard: bool = False
    """Write the losses for TensorBoard too (needs the package tensorboard)."""
    quick: bool = False
    """A few steps of every stage: a smoke test."""

    def run(self) -> None:
        """Load, train, save.

        Raises:
            ValueError: for data that are missing or unfit, or a folder that cannot be written.
        """
        require_writable(self.out / "training.json")
        data = load_data(self.dataset, download=self.download)
        config = self._config()
        threads(1)
        run = Run(data, config, self.out)
        board = _Board(self.out / "tensorboard") if self.tensorboard else None
        curve = _Curve(self, run) if self.curve else None
        for progress in _with_bars(run.stages()):
            if board is not None:
                board.add(progress)
            if curve is not None:
                curve.add(progress)
        run.policy().save(self.out / "policy")
        print(f"wrote {self.out / 'policy'}: spread of Q within a state {run.critic.spread:.4g}")

    def _config(self) -> PolicyTraining:
        config = self.config
        loops = ("behaviour_loop", "critic_loop", "energy_loop")
        seeded = {name: replace(getattr(config, name), seed=config.seed) for name in loops}
        if self.quick:
            seeded = {name: few(loop) for name, loop in seeded.items()}
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


class _Curve:
    """Evaluations of the policy at equal distances in the training of its energy."""

    def __init__(self, command: Train, run: Run) -> None:
        self.run, self.path = run, command.out / "curve.json"
        self.trials = Trials(command.episodes, seed=run.config.seed)
        loop = run.config.energy_loop
        self.every = -(-loop.steps // command.curve // loop.log_every) * loop.log_every
        self.points: dict[str, Any] = {}
        if self.path.exists():
            self.points = json.loads(self.path.read_text())

    def add(self, progress: Progress) -> None:
        """Evaluate, if it is time and was not done before."""
        step, last = progress.done, progress.done == progress.of
        due = progress.stage == "energy" and (last or step % self.every == 0)
        if not due or str(step) in self.points or progress.weights is None:
            return
        kept = {key: value.clone() for key, value in self.run.energy.state_dict().items()}
        self.run.energy.load_state_dict(progress.weights)
        policy = self.run.policy()
        played = evaluate(maker(policy, None), policy, self.trials)
        self.run.energy.load_state_dict(kept)
        self.run.energy.requires_grad_(True).train()
        self.points[str(step)] = row(played, self.run.data.reference)
        write_json(self.path, self.points)


class _Board:
    """Losses for TensorBoard."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ValueError(
                "--tensorboard needs the package tensorboard; pip install tensorboard"
            ) from None
        self.writer: Any = SummaryWriter(str(folder))

    def add(self, progress: Progress) -> None:
        """Write one loss."""
        if progress.loss is not None:
            self.writer.add_scalar(f"loss/{progress.stage}", progress.loss, progress.done)
            self.writer.flush()
