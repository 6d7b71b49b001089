"""demo: the shipped policy in its maze, unguided and guided, with pictures."""

from dataclasses import dataclass
from pathlib import Path

from domains.rl.commands.evaluate import Evaluate
from domains.rl.policy import SHIPPED


@dataclass(frozen=True)
class Demo:
    """Let the shipped policy drive through PointMaze-UMaze at several guidance scales.

    The policy was trained on episodes of which half wander about. The commands that made it stand
    in ``domains/rl/weights/README.md``.
    """

    out: Path = Path("demo-rl")
    """Folder of the pictures and figures."""
    episodes: int = 50
    """Episodes at every scale."""
    seed: int = 0
    """Of the episodes and the actions."""
    quick: bool = False
    """Two short episodes: a smoke test."""

    def run(self) -> None:
        """Play, print a table, draw.

        Raises:
            ValueError: for packages that are missing, or a folder that cannot be written.
        """
        Evaluate(
            SHIPPED,
            episodes=self.episodes,
            validation=0,
            seed=self.seed,
            pictures=self.out,
            json=self.out / "figures.json",
            quick=self.quick,
        ).run()
