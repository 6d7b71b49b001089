"""guide: what if this one goes there, brakes, keeps two metres?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from domains.trajectory.animate import animate_comparison
from domains.trajectory.asking import asking, guide, judged, require_fit, with_goals
from domains.trajectory.commands.chosen import Chosen, forecasts
from domains.trajectory.contrast import contrasted
from domains.trajectory.costs.edits import Edit, edited, parse_edit
from domains.trajectory.costs.language import Constraint, parse
from domains.trajectory.costs.plan_file import Plan, read_plan
from domains.trajectory.costs.report import table
from domains.trajectory.forecast import Forecast
from domains.trajectory.guiding import Guidance
from domains.trajectory.plots import plot_comparison
from domains.trajectory.predict import Sampling
from domains.trajectory.scene_file import file_name, write_forecast
from guided.guidance.registry import Named
from guided.results import require_writable, versions, write_json

UNGUIDED, GUIDED = "unguided", "guided"


@dataclass(frozen=True)
class Guide:
    """Generate futures that obey, beside those that nobody asked anything of.

    Constraints are lines such as ``agent 3: goal (12.0, 4.5) at 3.2 s; speed <= 2``, ``agent 1:
    brake by 3`` or ``all: apart 2``; edits such as ``agent 3: speed x 0.5`` or ``remove agent 4``
    change the scene first. What cannot be met, or contradicts another constraint, shows in the
    table of residuals.
    """

    ask: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["-a"])] = ()
    """Constraints, one or more in a line."""
    edit: tuple[str, ...] = ()
    """Edits of the scene."""
    plan: Path | None = None
    """A YAML file with ``edits`` and ``constraints``, which come before those above."""
    scenes: Annotated[Chosen, tyro.conf.arg(name="")] = field(
        default_factory=lambda: Chosen(count=1)
    )
    """Which scenes, and which predictor."""
    how: Annotated[Sampling, tyro.conf.arg(name="")] = field(
        default_factory=lambda: Sampling(steps=10, start=1.0)
    )
    """How samples are drawn."""
    guidance: Annotated[Guidance, tyro.conf.arg(name="")] = field(default_factory=Guidance)
    """How they are made to obey."""
    named: Annotated[Named, tyro.conf.arg(name="")] = field(default_factory=Named)
    """Guidance of the predictor itself, with and without constraints."""
    worlds: int = 6
    """Worlds to choose of the samples; 0 keeps them all."""
    out: Path = Path("what-if")
    """Folder of the files."""
    film: bool = False
    """Film both side by side as well (.gif)."""
    json: Path | None = None
    """Write the residuals to this file."""
    quick: bool = False
    """8 samples in 3 steps: a smoke test."""

    def run(self) -> None:
        """Sample twice, print residuals, draw.

        Raises:
            ValueError: for a constraint or an edit that cannot be understood or does not fit the
                scene, and for what cannot be read or written.
        """
        constraints, edits = self._request()
        require_writable(self.out / "picture.png", self.json)
        predictor, scenes = self.scenes.load()
        scenes = [edited(scene, edits) for scene in scenes] if edits else scenes
        for scene in scenes:
            require_fit(scene, constraints, predictor.config.window)
        how = replace(self.how, samples=8, steps=3) if self.quick else self.how
        keep = self.worlds or None
        weak = self.scenes.weak()
        plain = forecasts(predictor, scenes, how, keep, contrasted(self.named, weak))
        obeying = guide(asking(constraints), self.guidance, self.named, weak)
        told = forecasts(predictor, scenes, how, keep, obeying)
        figures = [self._show(*pair, constraints) for pair in zip(plain, told, strict=True)]
        if self.json is not None:
            write_json(self.json, {"versions": versions(), "scenes": figures})

    def _request(self) -> tuple[Sequence[Constraint], Sequence[Edit]]:
        plan = Plan() if self.plan is None else read_plan(self.plan)
        constraints = [*plan.constraints, *(c for line in self.ask for c in parse(line))]
        if not constraints:
            raise ValueError(
                "nothing was asked for; give --ask 'agent 0: goal (12, 4.5) at 3 s', or a --plan"
            )
        return constraints, [*plan.edits, *(parse_edit(line) for line in self.edit)]

    def _show(
        self, plain: Forecast, told: Forecast, constraints: Sequence[Constraint]
    ) -> dict[str, object]:
        """Print and draw one scene; return its figures."""
        name = file_name(plain.scene)
        both = {UNGUIDED: plain, GUIDED: told}
        both = {k: with_goals(forecast, constraints) for k, forecast in both.items()}
        rows = {k: judged(forecast, constraints) for k, forecast in both.items()}
        for kind, forecast in both.items():
            print(f"\n{name}, {kind}\n{table(rows[kind])}")
            write_forecast(self.out / f"{name}-{kind}.json", forecast)
        plot_comparison(both, self.out / f"{name}.png", truth=False)
        if self.film:
            animate_comparison(both, self.out / f"{name}.gif")
        print(f"wrote {self.out / name}*")
        return {"scene": name, **{k: [asdict(row) for row in found] for k, found in rows.items()}}
