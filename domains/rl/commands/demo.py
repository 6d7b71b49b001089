"""demo: a shipped policy in its task, with pictures: guided in a maze, or safe between hazards."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from domains.rl.commands.evaluate import Evaluate
from domains.rl.policy import SHIPPED
from guided.guidance.registry import Named
from guided.results import require_writable, versions, write_json

SHIPPED_SAFE = SHIPPED.parent / "point_robot"


@dataclass(frozen=True)
class Demo:
    """Let a shipped policy drive.

    ``maze``: through PointMaze-UMaze at several guidance scales, learned from episodes of which
    half wander about. ``point-robot``: between two hazards, safely, with what it takes for feasible
    beside what truly is. The commands that made both stand in ``domains/rl/weights/README.md``.
    """

    task: Annotated[Literal["maze", "point-robot"], tyro.conf.Positional] = "maze"
    """Which."""
    out: Path = Path("demo-rl")
    """Folder of the pictures and figures."""
    episodes: int = 50
    """Episodes at every scale; of the point robot, from feasible and from infeasible starts."""
    seed: int = 0
    """Of the episodes and the actions."""
    named: Annotated[Named, tyro.conf.arg(name="")] = field(default_factory=Named)
    """Guidance of the behaviour itself."""
    quick: bool = False
    """Two short episodes: a smoke test."""

    def run(self) -> None:
        """Play, print a table, draw.

        Raises:
            ValueError: for packages that are missing, or a folder that cannot be written.
        """
        if self.task == "point-robot":
            self._point_robot()
            return
        Evaluate(
            SHIPPED,
            episodes=self.episodes,
            validation=0,
            seed=self.seed,
            named=self.named,
            pictures=self.out,
            json=self.out / "figures.json",
            quick=self.quick,
        ).run()

    def _point_robot(self) -> None:
        from domains.rl.safe.against_truth import summary, table
        from domains.rl.safe.drive import LIMIT
        from domains.rl.safe.experiment import KINDS, Truth, judged, point_robot_training
        from domains.rl.safe.pictures import sets_and_ways

        if self.episodes < 1:
            raise ValueError(f"give at least 1 episode, got {self.episodes}")
        picture, figures = self.out / "feasible.png", self.out / "figures.json"
        require_writable(picture)
        truth = Truth.computed(point_robot_training().critics)
        starts = 2 if self.quick else self.episodes
        with tqdm(total=len(KINDS) * LIMIT, desc="driving", unit="step") as bar:
            found = judged(
                SHIPPED_SAFE,
                truth,
                starts,
                self.seed,
                on_step=lambda _: bar.update(),
                named=self.named,
            )
        print(table(found.sets))
        print("\n".join(summary(found.outcome)))
        title = "What FISOR takes for feasible, and what is"
        sets_and_ways(found.policy, truth.value, found.ways, picture, title)
        facts = {"sets": found.sets, "drives": found.outcome, "versions": versions()}
        write_json(figures, facts)
        print(f"wrote {picture} and {figures}")
