"""point-robot: FISOR on the point robot, from data to picture, against the exact feasible set."""

import os
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import joblib
import tyro
from tqdm import tqdm

from domains.rl.collect.recorder import dataset_path
from domains.rl.commands.collect import Collect
from domains.rl.commands.train import few, with_bars
from domains.rl.data.minari_data import load
from domains.rl.data.offline import OfflineData
from domains.rl.safe.against_truth import summary, table
from domains.rl.safe.experiment import Result, Truth, judged, point_robot_training, trained
from domains.rl.safe.pictures import sets_and_ways
from domains.rl.safe.train import SafeTraining
from guided.results import require_writable, versions, write_json

PRESET = "pointrobot/mixed"


@dataclass(frozen=True)
class PointRobotCommand:
    """Record data of the point robot, train FISOR, and compare with the exact feasible set.

    Run the same command again to resume. Every seed is judged on three slices and on random starts,
    and drives from the same feasible and infeasible starts.
    """

    out: Path = Path("runs/point-robot")
    """Folder of the trainings and pictures."""
    dataset: str = "guided/pointrobot-mixed-v0"
    """Minari id of the data; recorded first where they are not there."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the trainings."""
    starts: int = 300
    """Feasible and as many infeasible starts."""
    jobs: int = 2
    """Seeds that are trained at the same time."""
    training: Annotated[SafeTraining, tyro.conf.arg(name="")] = field(
        default_factory=point_robot_training
    )
    """Model, critics, weights and the optimisation of each."""
    json: Path | None = None
    """Write the figures to this file."""
    quick: bool = False
    """Hardly any data, a few steps: a smoke test."""

    def run(self) -> None:
        """Record, train, judge, draw.

        Raises:
            ValueError: for a folder that cannot be written, numbers out of range, or data that are
                unfit.
        """
        self._check()
        began = time.perf_counter()
        data = self._data("guided/pointrobot-quick-v0" if self.quick else self.dataset)
        config = few(self.training) if self.quick else self.training
        truth = Truth.computed(config.critics)
        starts = 4 if self.quick else self.starts
        one = partial(_one, data, config, truth, starts, self.out)
        alone = min(self.jobs, len(self.seeds)) == 1
        results: dict[int, Result] = {}
        if alone:
            results = {seed: one(seed, bars=True) for seed in self.seeds}
        else:
            found = _side_by_side(one, self.seeds, self.jobs)
            results = dict(sorted(found))
        for seed, result in results.items():
            print(f"seed {seed}\n{table(result.sets)}")
            print("\n".join(summary(result.outcome)))
            path = self.out / f"seed-{seed}.png"
            title = f"FISOR on the point robot, seed {seed}"
            sets_and_ways(result.policy, truth.value, result.ways, path, title)
            print(f"wrote {path} and {self.out / f'seed-{seed}' / 'policy'}")
        seconds = time.perf_counter() - began
        print(f"{seconds / 60:.1f} minutes, {self.jobs} at a time on {os.cpu_count()} cores")
        if self.json is not None:
            facts = {"dataset": data.name, "starts": starts, "training": asdict(config)}
            write_json(self.json, {**facts, **self._found(results, seconds)})

    def _check(self) -> None:
        seeds = self.seeds
        if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
            raise ValueError(f"give different seeds of at least 0, got {list(seeds)}")
        if self.starts < 1 or self.jobs < 1:
            raise ValueError(
                f"give at least one start and one job, got {self.starts} and {self.jobs}"
            )
        for path in (self.json, self.out / "seed-0.png"):
            require_writable(path)

    def _data(self, dataset: str) -> OfflineData:
        if not dataset_path(dataset).exists():
            Collect(PRESET, id=dataset, quick=self.quick).run()
        return load(dataset)

    def _found(self, results: dict[int, Result], seconds: float) -> dict[str, Any]:
        return {
            "seconds": round(seconds, 1),
            "jobs": self.jobs,
            "cores": os.cpu_count(),
            "seeds": {
                str(seed): {"sets": result.sets, "drives": result.outcome}
                for seed, result in results.items()
            },
            "versions": versions(),
        }


def _one(
    data: OfflineData,
    config: SafeTraining,
    truth: Truth,
    starts: int,
    out: Path,
    seed: int,
    bars: bool = False,
) -> Result:
    stages = trained(data, config, seed, out / f"seed-{seed}")
    for _ in with_bars(stages) if bars else stages:
        pass
    return judged(out / f"seed-{seed}" / "policy", truth, starts, seed)


def _side_by_side(one: Any, seeds: tuple[int, ...], jobs: int) -> list[tuple[int, Result]]:
    """Train seeds in processes of their own; one bar counts those that are done."""

    def named(seed: int) -> tuple[int, Result]:
        return seed, one(seed)

    pool = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    done = pool(joblib.delayed(named)(seed) for seed in seeds)
    return list(tqdm(done, "seeds", len(seeds), unit="seed"))
