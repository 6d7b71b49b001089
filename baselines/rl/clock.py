"""How long the stages of a training took, kept beside what they made."""

import json
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from domains.rl.acting import Policy
from domains.rl.train import Progress
from guided.results import write_json

OnTrain = Callable[[Progress], object]


class Clock:
    """Times the stages of a training, and keeps the times of those that were done before.

    Times lie in ``seconds.json``, {stage: {"wall", "cpu", "done"}}, in the folder of the stage, so
    that whoever deletes one deletes the other. They are written at every progress, as a training
    may be killed at any.

    Args:
        own: folder of this training.
        shared: folder of the stages that several trainings build on; it may be the same.
        stages: names of these.
    """

    def __init__(self, own: Path, shared: Path, stages: tuple[str, ...]) -> None:
        self.own, self.shared = own / "seconds.json", shared / "seconds.json"
        self.stages = stages
        self.times: dict[Path, dict[str, dict[str, Any]]] = {
            path: json.loads(path.read_text()) if path.exists() else {}
            for path in (self.own, self.shared)
        }

    def timed(self, training: Generator[Progress, None, Policy], on_train: OnTrain) -> Policy:
        """Train to the end; return the policy."""
        complete = {
            (path, stage)
            for path, times in self.times.items()
            for stage, spent in times.items()
            if spent["done"]
        }
        while True:
            began = time.perf_counter(), time.process_time()
            try:
                progress = next(training)
            except StopIteration as end:
                policy: Policy = end.value
                return policy
            path = self.shared if progress.stage in self.stages else self.own
            if (path, progress.stage) not in complete:
                self._add(path, progress, began)
            on_train(progress)

    def seconds(self, builds_on: tuple[str, ...]) -> dict[str, float]:
        """Return the time of this training with the shared stages that it builds on."""
        own, shared = self.times[self.own], self.times[self.shared]
        mine = [spent for stage, spent in own.items() if stage not in self.stages]
        mine += [spent for stage, spent in shared.items() if stage in builds_on]
        return {kind: round(sum(spent[kind] for spent in mine), 2) for kind in ("wall", "cpu")}

    def _add(self, path: Path, progress: Progress, began: tuple[float, float]) -> None:
        new = {"wall": 0.0, "cpu": 0.0, "done": False}
        spent = self.times[path].setdefault(progress.stage, new)
        spent["wall"] += time.perf_counter() - began[0]
        spent["cpu"] += time.process_time() - began[1]
        spent["done"] = progress.done == progress.of
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, self.times[path])
