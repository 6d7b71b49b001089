"""``python -m baselines.rl.fisor_orders``: what the order of FISOR's training does.

Both train the same networks on the same data by the same rules and numbers of updates. Ours trains
the critics, weighs all transitions once, and then trains the policy on rows drawn in proportion to
their weights. The original does all three in every iteration
(:mod:`baselines.rl.fisor_original`). Both are judged on the point robot, where truth is known:

    python -m baselines.rl.fisor_orders guided/pointrobot-mixed-v0 --json orders.json
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import tyro
from tqdm import tqdm

from baselines.rl import fisor_original
from baselines.rl.contest import check_seeds
from domains.rl.commands.train import few, with_bars
from domains.rl.data.minari_data import load
from domains.rl.data.offline import OfflineData
from domains.rl.safe.experiment import KINDS, Truth, judged, point_robot_training, trained
from domains.rl.safe.train import SafeTraining
from domains.rl.statistics import Interval, success_rate
from domains.rl.train import Progress
from guided.command import in_words
from guided.results import require_writable, versions, write_json

ORDERS = ("decoupled", "interleaved")
PLACE = "random starts"  # of the rows of judge_sets, the one that is compared


@dataclass(frozen=True)
class Trained:
    """What one training of one order gave.

    Args:
        order: of ``ORDERS``.
        seed: of the training.
        wall: seconds that it took on the clock.
        cpu: seconds of the processor.
        iou: of the infeasible set with the exact one, over random starts.
        violated: whether each robot from a feasible start met a hazard, (N,).
        arrived: whether it got to the goal, (N,).
    """

    order: str
    seed: int
    wall: float
    cpu: float
    iou: float
    violated: np.ndarray
    arrived: np.ndarray

    def facts(self) -> dict[str, Any]:
        """Return it as what JSON can hold, with exact intervals."""
        rates = {
            name: asdict(success_rate(getattr(self, name))) for name in ("violated", "arrived")
        }
        return {**asdict(self), **rates, "starts": len(self.violated)}


def compare_orders(
    data: OfflineData,
    config: SafeTraining,
    seeds: Sequence[int],
    starts: int,
    folder: Path,
) -> Iterator[Trained]:
    """Train and judge both orders with every seed, in turn.

    Args:
        data: logged episodes of the point robot.
        config: how to train, both alike.
        seeds: of the trainings.
        starts: feasible ones that are driven from.
        folder: for the trainings, empty.
    """
    truth = Truth.computed(config.critics)
    for seed in seeds:
        for order in ORDERS:
            own = folder / order / f"seed-{seed}"
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in with_bars(_training(order, data, config, seed, own)):
                pass
            spent = time.perf_counter() - wall, time.process_time() - cpu
            # Both by the paper's rule: the safest of 16.
            result = judged(own / "policy", truth, starts, seed, candidates=16, threshold=None)
            (row,) = (row for row in result.sets if row["where"] == PLACE)
            way = result.ways[KINDS[0]]
            yield Trained(order, seed, *spent, row["learned"]["iou"], way.worst > 0, way.arrived)


def _training(
    order: str, data: OfflineData, config: SafeTraining, seed: int, folder: Path
) -> Iterator[Progress]:
    if order == ORDERS[0]:
        return trained(data, config, seed, folder)
    torch.set_num_threads(1)  # as the other one does
    return fisor_original.train(data, replace(config, seed=seed), folder)


def summary(results: Sequence[Trained]) -> list[dict[str, Any]]:
    """Return a row for each order: means over seeds, and rates over all their ways."""
    rows = []
    for order in ORDERS:
        own = [result for result in results if result.order == order]
        if own:
            rows.append(
                {
                    "order": order,
                    "seeds": len(own),
                    "wall": float(np.mean([r.wall for r in own])),
                    "cpu": float(np.mean([r.cpu for r in own])),
                    "iou": float(np.mean([r.iou for r in own])),
                    "least_iou": min(r.iou for r in own),
                    "violated": success_rate(np.concatenate([r.violated for r in own])),
                    "arrived": success_rate(np.concatenate([r.arrived for r in own])),
                }
            )
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows of :func:`summary` as text."""
    lines = [
        f"{'order':12}{'seeds':>6}{'seconds':>9}{'CPU':>8}{'IoU':>8}{'(least)':>9}"
        f"{'violate, 95 %':>25}{'arrive, 95 %':>25}"
    ]
    for row in rows:
        rates = "".join(f"{_percent(row[name]):>25}" for name in ("violated", "arrived"))
        least = f"({row['least_iou']:.3f})"
        lines.append(
            f"{row['order']:12}{row['seeds']:>6}{row['wall']:>9.1f}{row['cpu']:>8.1f}"
            f"{row['iou']:>8.3f}{least:>9}{rates}"
        )
    return "\n".join(lines)


def _percent(rate: Interval) -> str:
    return f"{rate.value:.2%} ({rate.low:.2%} to {rate.high:.2%})"


@dataclass(frozen=True)
class Orders:
    """Train FISOR decoupled and interleaved, with as many updates, and judge both by the truth.

    Intervals are exact (Clopper-Pearson) and take all ways of all seeds as independent. A
    comparison that was stopped begins anew.
    """

    dataset: tyro.conf.Positional[str]
    """Minari id of data of the point robot; ``guided-rl collect pointrobot/mixed`` records it."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the trainings."""
    critic_steps: int = 20_000
    """Updates of the critics."""
    policy_steps: int = 10_000
    """Updates of the policy; the original makes two for each of the critics."""
    starts: int = 300
    """Feasible starts that each policy is driven from."""
    out: Path | None = None
    """Keep the policies in this folder, which must be new or empty."""
    json: Path | None = None
    """Write the figures to this file."""
    quick: bool = False
    """A few steps and starts: a smoke test, not a result."""

    def run(self) -> None:
        """Train, judge, print.

        Raises:
            ValueError: for numbers out of range, a folder that is not empty, or unfit data.
        """
        self._check()
        data = load(self.dataset)
        if data.states.shape[1] != 11:
            raise ValueError(
                f"{self.dataset} has observations of {data.states.shape[1]} numbers; give data of "
                f"the point robot, which have 11"
            )
        with TemporaryDirectory() as place:
            results = self._results(data, self.out or Path(place))
        rows = summary(results)
        print(table(rows))
        if self.json is not None:
            options = {
                name: getattr(self, name) for name in ("dataset", "seeds", "starts", "quick")
            }
            rates = ("violated", "arrived")
            own = [{**row, **{name: asdict(row[name]) for name in rates}} for row in rows]
            figures = {"orders": own, "trainings": [result.facts() for result in results]}
            about = {**options, "training": asdict(self._config()), "versions": versions()}
            write_json(self.json, {**about, **figures})

    def _check(self) -> None:
        check_seeds(self.seeds)
        if min(self.critic_steps, self.policy_steps, self.starts) < 1:
            raise ValueError(
                f"give at least one step and start, got {self.critic_steps} and "
                f"{self.policy_steps} steps and {self.starts} starts"
            )
        if self.out is not None and self.out.exists() and any(self.out.iterdir()):
            raise ValueError(f"{self.out} is not empty, so times would not be true; give a new one")
        require_writable(self.json)

    def _config(self) -> SafeTraining:
        own = point_robot_training()
        steps = {"critic_loop": self.critic_steps, "policy_loop": self.policy_steps}
        loops = {name: replace(getattr(own, name), steps=n) for name, n in steps.items()}
        config = replace(own, **loops)
        return few(config) if self.quick else config

    def _results(self, data: OfflineData, folder: Path) -> list[Trained]:
        results = []
        starts = min(4, self.starts) if self.quick else self.starts
        for result in compare_orders(data, self._config(), self.seeds, starts, folder):
            results.append(result)
            tqdm.write(
                f"{result.order}, seed {result.seed}: {result.wall:.1f} s ({result.cpu:.1f} s of "
                f"the processor), IoU {result.iou:.3f}; of {len(result.violated)} feasible starts "
                f"{result.violated.sum()} violate and {result.arrived.sum()} arrive"
            )
        return results


def main(args: list[str] | None = None) -> None:
    """Run the comparison; a user's mistake is one sentence and exit status 1."""
    with in_words("fisor_orders"):
        tyro.cli(Orders, prog="python -m baselines.rl.fisor_orders", args=args).run()


if __name__ == "__main__":
    main()
