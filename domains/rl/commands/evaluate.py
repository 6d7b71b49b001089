"""evaluate: a policy in its environment, at several guidance scales, one of them chosen fairly."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from domains.rl.assess import VALIDATION, assess, choose, maker, require_fit, row, table
from domains.rl.commands.options import threads
from domains.rl.evaluate import OnStep, Progress, Trials
from domains.rl.pictures import draw
from domains.rl.policy import DiffusionPolicy
from guided.results import require_writable, versions, write_json


@dataclass(frozen=True)
class Evaluate:
    """Play episodes with a trained policy; all scales play the same episodes, side by side."""

    policy: Annotated[Path, tyro.conf.Positional]
    """Folder of a trained policy, e.g. runs/rl/policy."""
    environment: str | None = None
    """Gymnasium id, or specification as JSON; None is the environment of the data."""
    scales: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0, 8.0)
    """Guidance scales; 0 is the behaviour, 1 the exact target."""
    candidates: int = 1
    """Actions drawn each time, of which the critic picks the best."""
    network_calls: int | None = None
    """Of an action; None = as saved."""
    episodes: int = 100
    """Test episodes of every scale."""
    validation: int = 50
    """Other episodes, by which one scale is chosen; 0 chooses none."""
    seed: int = 0
    """Of the episodes and the actions."""
    deterministic: bool = False
    """Start every action from fixed noise."""
    processes: bool = False
    """A process for every environment, for those that are slow to step."""
    max_steps: int | None = None
    """Cut episodes here; None leaves it to the environment."""
    pictures: Path | None = None
    """Folder for plots: return against scale, Q calibration, and paths in a maze."""
    video: Path | None = None
    """Film the first episode at the chosen scale, or else the last (.gif or .mp4)."""
    json: Path | None = None
    """Write the figures to this file."""
    quick: bool = False
    """Two episodes of 20 steps: a smoke test."""

    def run(self) -> None:
        """Play, print a table, draw.

        Raises:
            ValueError: for a policy or an environment that is missing or does not fit.
        """
        for path in (self.json, self.video, self.pictures and self.pictures / "scale.png"):
            require_writable(path or None)
        threads(1)
        policy = self._loaded()
        make = maker(policy, self.environment)
        require_fit(policy, make)
        test = self._trials(policy)
        chosen = self._choose(policy, make, test)
        keep = policy.flat if self.pictures is not None else None
        with tqdm(total=test.episodes * len(self.scales), desc="test", unit="episode") as bar:
            played = assess(make, policy, self.scales, test, keep=keep, on_step=counting(bar))
        reference = policy.about.get("reference")
        rows = {scale: row(episodes, reference) for scale, episodes in played.items()}
        print(table(rows, "scale", chosen))
        shown = self.scales[-1] if chosen is None else chosen
        if self.json is not None:
            write_json(self.json, self._facts(policy, rows, chosen))
        if self.pictures is not None:
            for path in draw(self.pictures, policy, make, played, shown):
                print(f"wrote {path}")
        if self.video is not None:
            self._film(policy, test, shown)

    def _loaded(self) -> DiffusionPolicy:
        changes: dict[str, Any] = {"candidates": self.candidates}
        if self.network_calls is not None:
            changes["steps"] = self.network_calls
        return DiffusionPolicy.load(self.policy, **changes)

    def _trials(self, policy: DiffusionPolicy) -> Trials:
        return Trials(
            2 if self.quick else self.episodes,
            seed=self.seed,
            deterministic=self.deterministic,
            max_steps=20 if self.quick else self.max_steps,
            discount=policy.discount,
            processes=self.processes,
        )

    def _choose(
        self, policy: DiffusionPolicy, make: Callable[[], Any], test: Trials
    ) -> float | None:
        """Return the best scale by the mean discounted return of the validation episodes."""
        count = 2 if self.quick and self.validation else self.validation
        if count == 0 or len(self.scales) == 1:
            return None
        other = replace(test, episodes=count, seed=self.seed + VALIDATION)
        with tqdm(total=count * len(self.scales), desc="validation", unit="episode") as bar:
            return choose(assess(make, policy, self.scales, other, on_step=counting(bar)))

    def _facts(
        self, policy: DiffusionPolicy, rows: dict[float, Any], chosen: float | None
    ) -> dict[str, Any]:
        return {
            "policy": str(self.policy),
            "data": policy.about.get("data"),
            "episodes": self.episodes,
            "validation": self.validation,
            "seed": self.seed,
            "candidates": self.candidates,
            "chosen": chosen,
            "scales": {f"{scale:g}": facts for scale, facts in rows.items()},
            "versions": versions(),
        }

    def _film(self, policy: DiffusionPolicy, test: Trials, scale: float) -> None:
        from domains.rl.video import film

        assert self.video is not None
        make = maker(policy, self.environment, render_mode="rgb_array")
        film(make, policy.guided(scale=scale), replace(test, episodes=1), self.video)
        print(f"wrote {self.video}")


def counting(bar: tqdm) -> OnStep:
    """Return what moves a bar to the number of finished episodes."""

    def on_step(progress: Progress) -> None:
        bar.update(progress.finished - bar.n)

    return on_step
