"""``python -m baselines.rl.compare_safe``: FISOR beside other safe offline RL, on the same data.

All methods learn from the same data and play the same test episodes; nothing is chosen by them. One
row of FISOR has its threshold chosen on validation episodes. A paper's numbers must not be put
beside these: the data are others.
"""

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import joblib
import tyro
from tqdm import tqdm

from baselines.rl.bc import BCConfig
from baselines.rl.bc_safe import BCSafeConfig
from baselines.rl.bcq_lag import BCQLagConfig
from baselines.rl.contest import TEST_SEED, VALIDATION_SEED, Contestant, check_seeds, plain, quick
from baselines.rl.contest_safe import (
    BASELINES,
    OURS,
    Item,
    Task,
    baseline,
    checked,
    items,
    ours,
    settled,
)
from baselines.rl.cpq import CPQConfig
from baselines.rl.limit import check_limit
from baselines.rl.table_safe import (
    Row,
    criterion,
    markdown,
    row,
    summary,
    summary_markdown,
    told,
)
from domains.rl.data.minari_data import SELF_GENERATED
from domains.rl.data.offline import OfflineData
from domains.rl.evaluate import Trials
from domains.rl.safe.train import SafeTraining
from guided.command import in_words
from guided.results import require_writable, versions, write_json

Results = dict[str, dict[str, list[dict[str, Any]]]]  # by task, then by policy, one of each seed


@dataclass(frozen=True)
class CompareSafe:
    """Train and play FISOR and safe baselines in several tasks; run it again to resume."""

    datasets: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Minari ids, or D4RL or DSRL files; all with costs."""
    methods: tuple[str, ...] = (*BASELINES, *OURS)
    """Which: ``fisor`` picks the safest of its candidates, ``fisor_best`` the best that is
    admissible, ``fisor_tuned`` the best below a threshold chosen on validation episodes; or names
    of baselines."""
    cost_limit: float = 5.0
    """Largest cost of an episode, which methods with a limit are trained for, whatever their own
    options say."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the trainings."""
    episodes: int = 20
    """Test episodes of each seed."""
    validation: int = 10
    """Other episodes of each seed, that the threshold is chosen on."""
    candidates: int = 16
    """Actions of which FISOR picks."""
    steps: int = 10
    """Network calls of an action of FISOR."""
    jobs: int = 1
    """Processes that train and play side by side."""
    out: Path = Path("runs/compare-safe")
    """Folder of everything that is trained and found."""
    json: Path | None = None
    """Write all figures to this file."""
    quick: bool = False
    """Hardly any training: a smoke test, not a result."""
    bc: BCConfig = field(default_factory=BCConfig)
    """Behaviour cloning of all data."""
    bc_safe: BCSafeConfig = field(default_factory=BCSafeConfig)
    """Behaviour cloning of safe episodes."""
    cpq: CPQConfig = field(default_factory=CPQConfig)
    """CPQ."""
    bcq_lag: BCQLagConfig = field(default_factory=BCQLagConfig)
    """BCQ-Lagrangian."""
    fisor: SafeTraining = field(default_factory=SafeTraining)
    """FISOR."""

    def run(self) -> None:
        """Compare, print the tables, and keep the figures.

        Raises:
            ValueError: for unknown methods, numbers out of range, or data that are unfit.
        """
        self._check()
        require_writable(self.json, self.out / "seconds")
        began = time.perf_counter()
        tasks = [self._task(dataset) for dataset in self.datasets]
        data = {t.dataset: checked(t, self.cost_limit, self.methods) for t in tasks}
        who = [self._contestant(name) for name in self.methods]
        results = self._results(items(tasks, who, self.seeds))
        rows = {
            dataset: {
                c.name: row(c.title, own[c.name], self.cost_limit, data[dataset].reference)
                for c in who
            }
            for dataset, own in results.items()
        }
        found = {dataset: self._criteria(own) for dataset, own in rows.items()}
        for dataset, own in rows.items():
            print(f"\n{self._heading(data[dataset])}\n\n{markdown(own)}\n")
            for name, verdict in found[dataset].items():
                print(told(own[name]["policy"], own[name], verdict, own))
        overall = summary(rows)
        print(f"\nAll {len(rows)} tasks, each alike\n\n{summary_markdown(overall)}")
        if self.json is not None:
            about = {**self._used(who), "rows": rows, "criteria": found, "summary": overall}
            about |= {"references": {name: own.reference for name, own in data.items()}}
            about |= {"results": results, "versions": versions()}
            about |= {"seconds": round(time.perf_counter() - began, 1)}
            write_json(self.json, plain(about))

    def _check(self) -> None:
        for name, values in (("data set", self.datasets), ("method", self.methods)):
            if not values or len(set(values)) < len(values):
                got = ", ".join(values) or "none"
                raise ValueError(f"give every {name} once, and at least one, got {got}")
        if unknown := sorted(set(self.methods) - {*BASELINES, *OURS}):
            known = ", ".join((*BASELINES, *OURS))
            raise ValueError(f"unknown methods {', '.join(unknown)}; choose from {known}")
        check_seeds(self.seeds)
        check_limit(self.cost_limit)
        counts = {
            name: getattr(self, name)
            for name in ("episodes", "validation", "candidates", "steps", "jobs")
        }
        if min(counts.values()) < 1:
            said = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise ValueError(f"counts must be at least 1, got {said}")

    def _task(self, dataset: str) -> Task:
        test = Trials(2 if self.quick else self.episodes, TEST_SEED)
        other = Trials(2 if self.quick else self.validation, VALIDATION_SEED)
        steps = min(2, self.steps) if self.quick else self.steps
        return Task(dataset, self.out / dataset.strip("/").replace("/", "-"), steps, test, other)

    def _contestant(self, name: str) -> Contestant:
        if name in OURS:
            training = quick(self.fisor) if self.quick else self.fisor
            return ours(name, training, self.candidates, self.cost_limit)
        config = getattr(self, name)
        if hasattr(config, "cost_limit"):
            config = replace(config, cost_limit=self.cost_limit)
        return baseline(name, quick(config) if self.quick else config)

    def _results(self, work: list[Item]) -> Results:
        """Do all work, in order or side by side."""
        calls = (joblib.delayed(settled)(item) for item in work)
        done = joblib.Parallel(self.jobs, return_as="generator")(calls)
        results: Results = {}
        for item, found in zip(work, tqdm(done, "train and play", len(work)), strict=True):
            of_task = results.setdefault(item.task.dataset, {})
            for name, result in found.items():
                own = {key: value for key, value in result.items() if key != "asked"}
                of_task.setdefault(name, []).append(own)
        return results

    def _criteria(self, rows: dict[str, Row]) -> dict[str, dict[str, Any]]:
        others = [name for name in rows if name in BASELINES]
        return {name: criterion(rows, name, others) for name in rows if name in OURS}

    def _heading(self, data: OfflineData) -> str:
        kind = f"{data.origin} data" if data.origin else "data as given"
        unit = "0 and 1 are the references of the data"
        if data.origin == SELF_GENERATED:
            unit = "0 is random, 1 the best safe controller"
        if data.reference is None:
            unit = "returns as they are, as the data have no references"
        test = 2 if self.quick else self.episodes
        return (
            f"{data.name}, {kind}: {len(self.seeds)} seeds of {test} episodes, cost limit "
            f"{self.cost_limit:g}; reward: {unit}"
        )

    def _used(self, who: list[Contestant]) -> dict[str, Any]:
        """Return the options, and what every method was really trained with (but for its seed)."""
        nested = {"json", "fisor", *BASELINES}
        options = {name: value for name, value in vars(self).items() if name not in nested}
        return {"options": options, "configs": {c.name: asdict(c.config) for c in who}}


def main(args: list[str] | None = None) -> None:
    """Run the comparison; a user's mistake is one sentence and exit status 1."""
    with in_words("compare_safe", "stopped; the same command goes on from here"):
        tyro.cli(CompareSafe, prog="python -m baselines.rl.compare_safe", args=args).run()


if __name__ == "__main__":
    main()
