"""evaluate: best-of-K errors, joint and marginal, collisions, and the Argoverse 2 figures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from domains.trajectory.commands.chosen import Chosen
from domains.trajectory.contrast import contrasted
from domains.trajectory.evaluate import KINDS, Figures, Kind, evaluate
from domains.trajectory.model import Predictor
from domains.trajectory.predict import Guide, Sampling, require_start, unguided
from domains.trajectory.scene import Scene
from domains.trajectory.tasks import judgeable
from guided.guidance.registry import Named
from guided.results import require_writable, versions, write_json

COLUMNS = ("ade", "fde", "jade", "jfde", "mean_jade", "mean_jfde", "cr_mean", "cr_jade")


@dataclass(frozen=True)
class Evaluate:
    """Score forecasts of scenes whose future is known.

    ADE and FDE take the best world for each agent alone, JADE and JFDE one world for all. For a
    fold of ETH/UCY: ``--source FOLDER:eth --count 0``.
    """

    scenes: Annotated[Chosen, tyro.conf.arg(name="")] = field(
        default_factory=lambda: Chosen(count=200)
    )
    """Which scenes, and which predictor."""
    how: Annotated[Sampling, tyro.conf.arg(name="")] = field(
        default_factory=lambda: Sampling(samples=100)
    )
    """How samples are drawn."""
    named: Annotated[Named, tyro.conf.arg(name="")] = field(default_factory=Named)
    """Guidance of the predictor itself."""
    worlds: int = 20
    """K."""
    sets: tuple[Kind, ...] = KINDS
    """How K worlds are chosen: the first samples, those that cover all samples (worlds),
    combinations of marginal modes (snapped), marginal modes alone."""
    json: Path | None = None
    """Write the figures to this file."""
    quick: bool = False
    """Four scenes: a smoke test."""

    def run(self) -> None:
        """Sample, score, print a table.

        Raises:
            ValueError: for a set that is given twice, scenes without a future, what cannot be read
                or written, and guidance that does not fit.
        """
        require_writable(self.json)
        for kind in self.sets:
            if self.sets.count(kind) > 1:
                raise ValueError(f"--sets has {kind} more than once; give each set once")
        how, chosen = self.how, self.scenes
        if self.quick:
            how = replace(how, samples=self.worlds)
            chosen = replace(chosen, count=min(chosen.count or 4, 4))
        predictor, scenes = chosen.load()
        require_start(predictor, how)
        known = judgeable(scenes, predictor.config.window)
        if len(known) < len(scenes):
            print(f"{len(scenes) - len(known)} scenes left out: nobody has a whole future there")
        scenes = known
        guide = contrasted(self.named, chosen.weak())
        found = scored(predictor, scenes, how, self.worlds, self.sets, guide=guide)
        print(table(found))
        if self.json is not None:
            about = {"source": self.scenes.source, "how": asdict(how)}
            about["guidance"] = asdict(self.named)
            rows = [asdict(figures) for figures in found]
            write_json(self.json, {"versions": versions(), **about, "sets": rows})


def scored(
    predictor: Predictor,
    scenes: Sequence[Scene],
    how: Sampling,
    worlds: int,
    sets: Sequence[Kind],
    label: str = "evaluating",
    guide: Guide = unguided,
) -> list[Figures]:
    """Return the figures of every set of worlds, under a progress bar."""
    found: list[Figures] = []
    with tqdm(total=len(scenes), desc=label, unit="scene") as bar:
        for done, figures in evaluate(predictor, scenes, how, worlds, sets, guide):
            bar.update(done - bar.n)
            found = figures
    return found


def table(found: Sequence[Figures]) -> str:
    """Return figures as text."""
    first = found[0].windows
    lines = [
        f"{first.windows} windows, {first.people} people, best of K; metres, shares",
        f"{'set':8}   K  " + "  ".join(f"{name:>9}" for name in COLUMNS),
    ]
    for one in found:
        values = "  ".join(f"{getattr(one.windows, name):9.3f}" for name in COLUMNS)
        lines.append(f"{one.kind:8}  {one.windows.worlds:2d}  {values}")
    names = list(found[0].multi_world)
    lines.append("\nArgoverse 2, the world with the least final error of all")
    lines.append(f"{'set':8}  " + "  ".join(f"{name:>14}" for name in names))
    for one in found:
        values = "  ".join(f"{one.multi_world[name]:14.3f}" for name in names)
        lines.append(f"{one.kind:8}  {values}")
    return "\n".join(lines)
