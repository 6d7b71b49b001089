"""train-flow: the command that made the shipped prior of the flow, resumable."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro
from torch import Tensor
from tqdm import tqdm

from domains.image.flow.fields import FieldConfig, cached
from domains.image.flow.train import FlowTraining, held_out_loss, run_training, ship
from guided.progress import finished
from guided.results import require_writable


@dataclass(frozen=True)
class TrainFlow:
    """Simulate a Kolmogorov flow and train a denoiser of its vorticity fields.

    Run the same command again to resume after an interruption.
    """

    out: Path = Path("runs/flow")
    """Folder of the run; the finished model is in its folder ``model``."""
    cache: Path = Path("runs/cache")
    """Folder of simulated fields."""
    config: Annotated[FlowTraining, tyro.conf.arg(name="")] = field(default_factory=FlowTraining)
    """Fields, model and optimisation."""
    quick: bool = False
    """A few steps on a few fields: a smoke test."""

    def run(self) -> None:
        """Simulate, train, then write the model.

        Raises:
            ValueError: for a model of another size than the fields, or folders that cannot be
                written.
        """
        require_writable(self.out / "training.json", self.cache / "fields")
        config = self.config
        if config.model.size != config.fields.size:
            raise ValueError(
                f"the model has {config.model.size} points an axis and the fields have "
                f"{config.fields.size}; give --model.size and --fields.size alike"
            )
        if self.quick:
            loop = replace(config.loop, steps=6, batch=4, warmup=2, save_every=3, log_every=2)
            few = replace(config.fields, trajectories=2, burn_in=1.0, snapshots=4)
            config = replace(config, loop=loop, fields=few)
        fields = self._simulated(config.fields, "train")
        state = finished(run_training(fields, config, self.out), config.loop.steps)
        test = self._simulated(test_config(config.fields), "test")
        loss = held_out_loss(state.ema, test, config)
        ship(self.out / "model", config, state, held_out_loss=loss)
        print(f"held-out loss {loss:.4f}; wrote {self.out / 'model'}")

    def _simulated(self, config: FieldConfig, split: str) -> Tensor:
        total = config.trajectories * config.snapshots
        with tqdm(total=total, desc=f"{split} fields", unit="field") as bar:
            return cached(config, split, self.cache, _advance(bar))


def test_config(fields: FieldConfig) -> FieldConfig:
    """Return the test flows that go with training flows: an eighth as many, as long."""
    return replace(fields, trajectories=max(1, fields.trajectories // 8))


def _advance(bar: tqdm) -> Callable[[int], None]:
    def advance(count: int) -> None:
        bar.update(count)

    return advance
