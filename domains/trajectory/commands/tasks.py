"""tasks: methods of guidance side by side, in reaching goals and in staying on the route."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from domains.trajectory.commands.chosen import Chosen
from domains.trajectory.contest import Outcome, contest, contestants, table, tuned
from domains.trajectory.guiding import Method
from domains.trajectory.predict import Sampling, require_start
from domains.trajectory.sources import is_made, open_scenes
from domains.trajectory.tasks import Task, judgeable
from guided.results import require_writable, versions, write_json

OTHER = 500_000  # added to the seed of the scenes on which strengths are chosen


@dataclass(frozen=True)
class Tasks:
    """Send every agent of every scene somewhere, by each method of guidance.

    The strength of each is chosen on other scenes (the built-in generator's with another seed, or
    the first quarter of a file's), as the one with the least sum of goal error and distance from
    the route. Errors are means over agents; min and mean are over samples.
    """

    tasks: tuple[Task, ...] = ("goal", "deceleration", "route")
    """What is asked; also acceleration."""
    methods: tuple[Method, ...] = ("none", "next-noise-mean", "score-function", "ecm", "ecmr")
    """Which methods."""
    scenes: Annotated[Chosen, tyro.conf.arg(name="")] = field(
        default_factory=lambda: Chosen(count=40)
    )
    """Which scenes, and which predictor."""
    how: Annotated[Sampling, tyro.conf.arg(name="")] = field(
        default_factory=lambda: Sampling(samples=32, steps=10, start=1.0)
    )
    """How samples are drawn."""
    strengths: tuple[float, ...] = (0.2, 0.4, 0.8, 1.6, 3.2, 12.8, 51.2, 204.8, 409.6)
    """Strengths to choose from."""
    json: Path | None = None
    """Write the figures to this file."""
    quick: bool = False
    """Four scenes, 4 samples, two strengths: a smoke test."""

    def run(self) -> None:
        """Choose strengths, sample, print tables.

        Raises:
            ValueError: for scenes without a future, and what cannot be read or written.
        """
        require_writable(self.json)
        if not (self.tasks and self.methods and self.strengths):
            raise ValueError(
                f"give 1 or more tasks, methods and strengths, got {self.tasks}, {self.methods} "
                f"and {self.strengths}"
            )
        if self.quick:
            return self._few().run()
        predictor, scenes = self.scenes.load()
        how, strengths = self.how, self.strengths
        require_start(predictor, how)
        source, count = self.scenes.source, self.scenes.count
        if is_made(source):
            other = open_scenes(
                source, max(2, count // 2), self.scenes.scene_seed + OTHER, predictor.config.window
            )
        else:
            if len(scenes) < 2:
                raise ValueError(
                    f"tasks need 2 or more scenes of a file, got {len(scenes)}: strengths are "
                    f"chosen on one part"
                )
            cut = max(1, len(scenes) // 4)
            other, scenes = scenes[:cut], scenes[cut:]
        window = predictor.config.window
        other, scenes = judgeable(other, window), judgeable(scenes, window)
        found: dict[str, list[Outcome]] = {}
        for task in self.tasks:
            rivals = contestants(self.methods, strengths)
            bar = tqdm(rivals, desc=f"{task}: strengths", unit="run")
            chosen = tuned([contest(predictor, other, task, how, rival) for rival in bar])
            bar = tqdm(chosen, desc=task, unit="run")
            found[task] = [contest(predictor, scenes, task, how, rival) for rival in bar]
            print(table(task, len(scenes), found[task]))
        if self.json is not None:
            rows = {task: [outcome.figures() for outcome in out] for task, out in found.items()}
            about = {"source": source, "scenes": len(scenes), "samples": how.samples}
            write_json(self.json, {"versions": versions(), **about, "tasks": rows})

    def _few(self) -> "Tasks":
        """Return a small run of the same."""
        return replace(
            self,
            scenes=replace(self.scenes, count=min(self.scenes.count or 4, 4)),
            how=replace(self.how, samples=4, steps=3),
            strengths=self.strengths[:2],
            quick=False,
        )
