"""collect: record a data set of a task with hand-made or quickly trained behaviours."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from tqdm import tqdm

from domains.rl import environments
from domains.rl.collect.play import Episode
from domains.rl.collect.preset import Preset
from domains.rl.collect.presets import PRESETS
from domains.rl.collect.recorder import Size, dataset_path, record, require_recordable
from domains.rl.collect.sac import Learned, SacTraining, train_sac
from domains.rl.collect.spread import report
from guided.results import require_writable, versions, write_json


@dataclass(frozen=True)
class Collect:
    """Record a local Minari data set, in MINARI_DATASETS_PATH or ~/.minari/datasets."""

    preset: Annotated[
        str, tyro.conf.Positional, tyro.conf.arg(help=f"One of {', '.join(PRESETS)}.")
    ]
    id: str | None = None
    """Minari's name of the data set; by default guided/TASK-MIXTURE-v0."""
    steps: int | None = None
    """Record whole episodes until there are so many steps; None is the preset's own: 60,000 in
    umaze, 400,000 in medium, 800,000 in large, 20,000 for pendulum, 200,000 for runners;
    250,000 for the point robot (100,000 of drivers alone), 200,000 for ballrun and 240,000 for the
    other balls and cars; a spread keeps some of those of drivers, balls and cars."""
    episodes: int | None = None
    """So many episodes instead of steps."""
    seed: int = 0
    """Of the episodes and of the behaviours' noise: the same seed gives the same data."""
    sac_steps: int | None = None
    """Steps of training of the policy, for presets that have one; None is the preset's own."""
    references: int = 100
    """Episodes that measure the returns which count as 0 and 1 in the normalised score."""
    overwrite: bool = False
    """Replace a data set of that name."""
    quick: bool = False
    """Four episodes, and hardly a policy: a smoke test."""
    json: Path | None = None
    """Write the figures to this file."""

    def run(self) -> None:
        """Record, and tell what was recorded.

        Raises:
            ValueError: for an unknown preset, a name that exists, or packages that are missing.
        """
        require_writable(self.json)
        preset = self._preset()
        dataset_id = self.id or f"guided/{self.preset.replace('/', '-')}-v0"
        steps = preset.steps if self.steps is None else self.steps
        size = Size(steps, 4 if self.quick else self.episodes)
        references = 2 if self.quick else self.references
        require_recordable(dataset_id, self.overwrite, self.seed, references)
        began = time.perf_counter()
        if preset.training is not None:
            preset = preset.with_policy(self._train(preset, preset.training))
        total = size.steps if size.episodes is None else size.episodes
        unit = "step" if size.episodes is None else "episode"
        recorded: list[Episode] = []
        with tqdm(total=total, desc=f"recording {self.preset}", unit=unit) as bar:
            episodes, reference = record(
                preset,
                dataset_id,
                size,
                self.seed,
                overwrite=self.overwrite,
                reference_episodes=references,
                advance=_advance(bar, size.episodes is None, recorded),
            )
        facts = {
            "id": dataset_id,
            "path": str(dataset_path(dataset_id)),
            "seconds": round(time.perf_counter() - began, 2),
            "reference": dict(zip(("random", "best"), reference, strict=True)),
            **summary(episodes),
            **_spread_facts(preset, recorded),
            "versions": versions(),
        }
        if self.json is not None:
            write_json(self.json, facts)
        for name, row in facts["qualities"].items():
            print(f"{name:8s} {_line(row)}")
        if "recorded" in facts:
            print(
                f"kept {facts['episodes']} of {facts['recorded']} recorded episodes, spread over "
                f"{facts['coverage']:.0%} of the bins of cost and return"
            )
        print(f"wrote {dataset_id}: {_line(facts)}")

    def _preset(self) -> Preset:
        if self.preset not in PRESETS:
            raise ValueError(f"no preset {self.preset!r}; choose one of {', '.join(PRESETS)}")
        return PRESETS[self.preset]

    def _train(self, preset: Preset, training: SacTraining) -> Learned:
        steps = 150 if self.quick else self.sac_steps
        training = training if steps is None else replace(training, steps=steps)
        env = environments.make(preset.environment, **preset.options)
        with tqdm(total=training.steps, desc="training SAC", unit="step") as bar:
            return train_sac(env, training, self.seed, lambda step: _to(bar, step))


def summary(episodes: list[Episode]) -> dict[str, Any]:
    """Return figures of all episodes, and those of each quality under ``qualities``."""
    names = list(dict.fromkeys(e.quality for e in episodes))
    rows = {name: _figures([e for e in episodes if e.quality == name]) for name in names}
    return {**_figures(episodes), "qualities": rows}


def _figures(episodes: list[Episode]) -> dict[str, Any]:
    successes = [e for e in episodes if e.success]
    known = any(e.success is not None for e in episodes)
    costs = [e.cost for e in episodes if e.cost is not None]
    return {
        "episodes": len(episodes),
        "steps": sum(e.steps for e in episodes),
        "mean_steps": float(np.mean([e.steps for e in episodes])),
        "mean_return": float(np.mean([e.total for e in episodes])),
        "success": len(successes) / len(episodes) if known else None,
        "mean_steps_of_successes": (
            float(np.mean([e.steps for e in successes])) if successes else None
        ),
        **(report(costs, [e.total for e in episodes]) if costs else {}),
    }


def _spread_facts(preset: Preset, recorded: list[Episode]) -> dict[str, Any]:
    """Return how many episodes there were before the preset's spread, and the bins they hit."""
    if preset.spread is None:
        return {}
    costs = [e.cost for e in recorded if e.cost is not None]
    coverage = preset.spread.coverage(costs, [e.total for e in recorded])
    return {"recorded": len(recorded), "coverage": coverage}


def _line(row: dict[str, Any]) -> str:
    text = (
        f"{row['episodes']} episodes, {row['steps']} steps, {row['mean_steps']:.1f} an episode, "
        f"mean return {row['mean_return']:.2f}"
    )
    if row["success"] is not None:
        text += f", success {row['success']:.2f}"
    if row["mean_steps_of_successes"] is not None:
        text += f" in {row['mean_steps_of_successes']:.1f} steps"
    if "mean_cost" in row:
        text += f", mean cost {row['mean_cost']:.2f}, safe {row['safe']:.2f}"
        if row["return_cost_correlation"] is not None:
            text += f", correlation of return and cost {row['return_cost_correlation']:.2f}"
    return text


def _to(bar: tqdm, step: int) -> None:
    bar.update(step - bar.n)


def _advance(bar: tqdm, by_steps: bool, recorded: list[Episode]) -> Callable[[Episode], None]:
    def advance(episode: Episode) -> None:
        recorded.append(episode)
        bar.update(episode.steps if by_steps else 1)

    return advance
