"""risk: which of one agent's plans keep clear of everybody, and how surely."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from domains.trajectory.commands.chosen import Chosen, forecasts
from domains.trajectory.commands.demo import fastest
from domains.trajectory.forecast import Forecast
from domains.trajectory.predict import Sampling, require_start
from domains.trajectory.risk.filter import Kept
from domains.trajectory.risk.picture import plot_risk
from domains.trajectory.risk.plans import Doubt, density, judged
from domains.trajectory.scene_file import forecast_in
from guided.results import require_writable, versions, write_json


@dataclass(frozen=True)
class Risk:
    """Estimate the probability that an agent touches anybody, for each plan that it might follow.

    Its plans are its futures in the worlds of a forecast. It follows one with some error, as its
    first state is uncertain; the others move as in the worlds, with their probabilities. Numbers
    are estimates for these dynamics, and no proof of safety.
    """

    scenes: Annotated[Chosen, tyro.conf.arg(name="")] = field(
        default_factory=lambda: Chosen(count=1)
    )
    """Which scene (the first one), and which predictor; a forecast of predict or guide is taken as
    it is."""
    how: Annotated[Sampling, tyro.conf.arg(name="")] = field(default_factory=Sampling)
    """How samples are drawn."""
    ego: str | None = None
    """Id of the agent; None takes the fastest."""
    worlds: int = 8
    """Worlds to choose of the samples, and so plans; 0 keeps them all."""
    limit: float = 0.05
    """Risk of contact at any step that a plan may have to be kept."""
    margin: float = 0.0
    """Standard errors added to each risk before."""
    radius: float | None = None
    """Metres between centres at which two touch; None goes by the widths of their
    kinds, which finds contact of a front and a back late; 4.7 finds that of two cars in a lane."""
    doubt: Doubt = field(default_factory=Doubt)
    """How uncertain the agent's first state is."""
    states: int = 2000
    """States drawn to estimate a risk."""
    picture: Path | None = None
    """Draw the plans by their risk to this file (.png)."""
    json: Path | None = None
    """Write the figures to this file."""
    quick: bool = False
    """8 samples, 100 states: a smoke test."""

    def run(self) -> None:
        """Estimate and print.

        Raises:
            ValueError: for an agent that is not there, numbers out of their range, and what cannot
                be read or written.
        """
        require_writable(self.picture, self.json)
        forecast = self._forecast()
        scene = forecast.scene
        ego = scene.agent(fastest(scene) if self.ego is None else self.ego)
        states = 100 if self.quick else self.states
        reach = density(scene, ego, self.doubt, states, self.how.seed)
        kept = judged(forecast, ego, reach, self.limit, self.radius, self.margin)
        print(f"{scene.name}, agent {scene.ids[ego]}\n{table(forecast, kept)}\n{kept}")
        if self.picture is not None:
            plot_risk(forecast, ego, kept, self.picture)
            print(f"wrote {self.picture}")
        if self.json is not None:
            about = {"scene": scene.name, "agent": scene.ids[ego], "limit": self.limit}
            write_json(self.json, {"versions": versions(), **about, **figures(forecast, kept)})

    def _forecast(self) -> Forecast:
        given = forecast_in(self.scenes.source)
        if given is not None:
            return given
        predictor, scenes = self.scenes.load()
        how = Sampling(8, 2, self.how.start, self.how.seed) if self.quick else self.how
        require_start(predictor, how)
        return forecasts(predictor, scenes[:1], how, self.worlds or None)[0]


def table(forecast: Forecast, kept: Kept) -> str:
    """Return plans as text: their probabilities, their risks, and when they are riskiest."""
    lines = ["plan  probability    risk  +- error  riskiest at"]
    when = (kept.risk.step.argmax(1) + 1) * forecast.dt
    rows = zip(forecast.probabilities, kept.risk.any, kept.risk.any_error, when, strict=True)
    for plan, (probability, risk, error, time) in enumerate(rows):
        mark = "kept" if kept.within and plan in kept.index else ""
        due = f"{time:.1f} s" if risk > 0 else "-"
        line = f"{plan:4}  {probability:11.3f}  {risk:6.4f}  {error:8.4f}  {due:>11}  {mark}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def figures(forecast: Forecast, kept: Kept) -> dict[str, object]:
    """Return the same as JSON, with the risk at every step."""
    return {
        "within": kept.within,
        "kept": kept.index.tolist() if kept.within else [],
        "probability": forecast.probabilities.tolist(),
        "risk": kept.risk.any.tolist(),
        "error": kept.risk.any_error.tolist(),
        "step_risk": kept.risk.step.tolist(),
    }
