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
from domains.trajectory.tasks import Task
from guided.results import require_writable, versions, write_json

OTHER = 500_000  # added to the seed of the scenes on which strengths are chosen


@dataclass(frozen=True)
class Tasks:
    """Send every agent of every scene somewhere, by each method of guidance.

    The strength of each is chosen on other scenes (the built-in generator's with another seed, or
    every fourth of a file's), as the one with the least sum of goal error and distance from the
    route. Errors are means over agents; min and mean are over samples.
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
    strengths: tuple[float, ...] = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6)
    """Strengths to choose from."""
    json: Path | None = None
    """Write the figures to this file."""
    quick: bool = False
    """Two scenes, 4 samples, two strengths: a smoke test."""

    def run(self) -> None:
        """Choose strengths, sample, print tables.

        Raises:
            ValueError: for scenes without a future, and what cannot be read or written.
        """
        require_writable(self.json)
        predictor, scenes = self.scenes.load()
        how, strengths = self.how, self.strengths
        if self.quick:
            how, strengths = replace(how, samples=4, steps=3), strengths[:2]
        require_start(predictor, how)
        source, count = self.scenes.source, self.scenes.count
        if is_made(source):
            other = open_scenes(
                source, max(2, count // 2), self.scenes.scene_seed + OTHER, predictor.config.window
            )
        else:
            other, scenes = scenes[::4], [s for i, s in enumerate(scenes) if i % 4]
        if self.quick:
            other, scenes = other[:2], scenes[:2]
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
