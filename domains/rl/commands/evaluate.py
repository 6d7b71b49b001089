"""evaluate: a policy in its environment, at several guidance scales, one of them chosen fairly."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from tqdm import tqdm

from domains.rl.assess import VALIDATION, assess, choose, gains, maker, require_fit, row, table
from domains.rl.episodes import Episodes
from domains.rl.evaluate import OnStep, Played, Trials, evaluate
from domains.rl.pictures import draw
from domains.rl.policy import DiffusionPolicy
from domains.rl.safe.scores import shielded
from domains.rl.safe.table import require_costs, require_limits, safety
from domains.rl.safe.table import table as safety_table
from domains.rl.video import film, require_filmable
from guided.guidance.registry import Named
from guided.results import require_writable, versions, write_json

SCALES = (0.0, 1.0, 2.0, 4.0, 8.0)  # tried unless told, where there is an energy
SHIELD = "shield"  # the label of what is played behind one


@dataclass(frozen=True)
class Evaluate:
    """Play episodes with a trained policy; all scales play the same episodes, side by side."""

    policy: Annotated[Path, tyro.conf.Positional]
    """Folder of a trained policy, e.g. runs/rl/policy."""
    environment: str | None = None
    """Gymnasium id, or specification as JSON; None is the environment of the data."""
    scales: tuple[float, ...] | None = None
    """Guidance scales; 0 is the behaviour, 1 what the energy was trained for, more is sharper; None
    is 0 1 2 4 8, or 0 alone without an energy."""
    named: Annotated[Named, tyro.conf.arg(name="")] = field(default_factory=Named)
    """Guidance of the behaviour itself, at every scale."""
    candidates: int | None = None
    """Actions drawn each time, of which the critics pick one; None is the policy's own number."""
    threshold: float | None = None
    """For a safe policy: take the best by Q of the candidates with Q_h at most this, else the
    safest; None is the policy's own rule, which is the safest unless saved otherwise."""
    shield: float | None = None
    """Play the same episodes behind a shield of that threshold as well, and tell how often it found
    nothing admissible; needs a policy that learned what is feasible."""
    network_calls: int | None = None
    """Network calls to draw an action; None is the policy's own, 15 unless saved otherwise."""
    episodes: int = 100
    """Test episodes of every scale."""
    validation: int = 50
    """Other episodes, by which one scale is chosen; 0 chooses none."""
    seed: int = 0
    """Of the episodes and the actions."""
    deterministic: bool = False
    """Start every action from no noise."""
    processes: bool = False
    """A process for every environment, for those that are slow to step."""
    max_steps: int | None = None
    """Cut episodes here; None leaves it to the environment."""
    cost_limits: Annotated[tuple[float, ...], tyro.conf.arg(aliases=["--cost-limit"])] = ()
    """Allowed costs of an episode: safe is a mean of cost / limit up to 1; at 0, of cost + 1."""
    pictures: Path | None = None
    """Folder for plots: return against scale, Q calibration, and paths in a maze."""
    video: Path | None = None
    """Film the first episode at the chosen scale, or at the last if none is (.gif or .mp4)."""
    json: Path | None = None
    """Write the figures to this file."""
    quick: bool = False
    """Two episodes of 20 steps: a smoke test."""

    def run(self) -> None:
        """Play, print a table, draw.

        Raises:
            ValueError: for a policy or an environment that is missing or does not fit.
        """
        self._check()
        torch.set_num_threads(1)  # the fastest for networks as small as these
        policy = self._loaded()
        scales = self._scales(policy)
        make = maker(policy, self.environment)
        shield = None if self.shield is None else shielded(policy, self.shield)
        own = policy.networks.normaliser
        data = policy.about.get("data", "the policy's data")
        require_fit(make, len(own.mean), len(own.low), policy.keys, data)
        if self.video is not None:
            require_filmable(maker(policy, self.environment, render_mode="rgb_array"), self.video)
        if self.cost_limits:
            require_costs(make)
        test = self._trials(policy)
        chosen = self._choose(policy, make, test, scales)
        keep = policy.flat if self.pictures is not None else None
        with tqdm(total=test.episodes * len(scales), desc="test", unit="episode") as bar:
            played: dict[Any, Episodes] = {
                **assess(make, policy, scales, test, keep=keep, on_step=counting(bar))
            }
        if shield is not None:
            with tqdm(total=test.episodes, desc="shielded", unit="episode") as bar:
                with warnings.catch_warnings():  # the summary says what it would warn of
                    warnings.simplefilter("ignore", RuntimeWarning)
                    played[SHIELD] = evaluate(make, shield, test, on_step=counting(bar))
            print(f"shield: {shield.summary()}")
        # The returns of other tasks or of cut episodes are not on its scale.
        other = self.environment is not None or test.max_steps is not None
        reference = None if other else policy.about.get("reference")
        rows = {
            scale: {**row(episodes, reference), "safety": safety(episodes, self.cost_limits)}
            for scale, episodes in played.items()
        }
        gained = gains(played)
        _tell(rows, chosen, gained, None if reference is None else policy.about.get("origin"))
        shown = scales[-1] if chosen is None else chosen
        if self.json is not None:
            guard = None if shield is None else shield.summary().to_json()
            facts = self._facts(policy, test, rows, chosen, gained)
            write_json(self.json, {**facts, "shield": guard})
        if self.pictures is not None:
            drawn = {scale: episodes for scale, episodes in played.items() if scale != SHIELD}
            for path in draw(self.pictures, policy, make, drawn, shown):
                print(f"wrote {path}")
        if self.video is not None:
            self._film(policy, test, shown)

    def _check(self) -> None:
        if not all(map(isfinite, self.scales or ())):
            raise ValueError(f"guidance scales must be finite, got {list(self.scales or ())}")
        require_limits(self.cost_limits)
        for path in (self.json, self.video, self.pictures and self.pictures / "scale.png"):
            require_writable(path or None)

    def _loaded(self) -> DiffusionPolicy:
        asked: dict[str, Any] = {
            "candidates": self.candidates,
            "threshold": self.threshold,
            "steps": self.network_calls,
        }
        changes = {name: value for name, value in asked.items() if value is not None}
        policy = DiffusionPolicy.load(self.policy, named=self.named, **changes)
        if policy.networks.safety is None and self.threshold is not None:
            raise ValueError(
                "--threshold is for a policy that learned what is feasible; train one with --algo "
                "fisor"
            )
        return policy

    def _scales(self, policy: DiffusionPolicy) -> tuple[float, ...]:
        """Return the scales to play, at least one.

        Raises:
            ValueError: for scales that a policy without an energy does not know.
        """
        if self.scales is None:
            return SCALES if policy.energy is not None else (0.0,)
        if policy.energy is None and any(self.scales):
            raise ValueError(
                f"got the scales {list(self.scales)} for a policy without an energy, which acts at"
                f" 0 alone; leave --scales out"
            )
        return self.scales

    def _trials(self, policy: DiffusionPolicy) -> Trials:
        return Trials(
            2 if self.quick else self.episodes,
            seed=self.seed,
            deterministic=self.deterministic,
            max_steps=20 if self.quick else self.max_steps,
            discount=policy.discount,
            processes=self.processes,
        )

    def _validated(self, scales: Sequence[float]) -> int:
        """Return how many episodes choose between the scales; 0 where there is no choice."""
        if self.validation < 0:
            raise ValueError(f"give 0 validation episodes or more, got {self.validation}")
        if len(scales) == 1:
            return 0
        return min(self.validation, 2) if self.quick else self.validation

    def _choose(
        self,
        policy: DiffusionPolicy,
        make: Callable[[], Any],
        test: Trials,
        scales: Sequence[float],
    ) -> float | None:
        """Return the best scale by the mean discounted return of the validation episodes."""
        count = self._validated(scales)
        if not count:
            return None
        other = replace(test, episodes=count, seed=self.seed + VALIDATION)
        with tqdm(total=count * len(scales), desc="validation", unit="episode") as bar:
            return choose(assess(make, policy, scales, other, on_step=counting(bar)))

    def _facts(
        self,
        policy: DiffusionPolicy,
        test: Trials,
        rows: dict[Any, Any],
        chosen: float | None,
        gained: dict[Any, Any],
    ) -> dict[str, Any]:
        return {
            "policy": str(self.policy),
            "data": policy.about.get("data"),
            "origin": policy.about.get("origin"),
            "environment": self.environment,
            "trials": asdict(test),
            "validation": self._validated(tuple(rows)),
            "candidates": policy.sampling.candidates,
            "guidance": asdict(policy.named),
            "threshold": policy.sampling.threshold,
            "network_calls": policy.sampling.steps,
            "chosen": chosen,
            "gains": {named(label): gain for label, gain in gained.items()},
            "scales": {named(label): facts for label, facts in rows.items()},
            "versions": versions(),
        }

    def _film(self, policy: DiffusionPolicy, test: Trials, scale: float) -> None:
        assert self.video is not None
        make = maker(policy, self.environment, render_mode="rgb_array")
        film(make, policy.guided(scale=scale), replace(test, episodes=1), self.video)
        print(f"wrote {self.video}")


def counting(bar: tqdm) -> OnStep:
    """Return what moves a bar to the number of finished episodes."""

    def on_step(progress: Played) -> None:
        bar.update(progress.finished - bar.n)

    return on_step


def named(label: float | str) -> str:
    """Return a scale as it was given, or the name of what was played beside the scales."""
    return label if isinstance(label, str) else f"{label:g}"


def _tell(
    rows: dict[Any, dict[str, Any]],
    chosen: float | None,
    gained: dict[Any, dict[str, float]],
    origin: str | None,
) -> None:
    print(table(rows, "scale", chosen))
    if origin is not None:
        print(f"score: 0 and 100 are reference returns of {origin} data")
    if risks := {label: own["safety"] for label, own in rows.items() if own["safety"]}:
        print(safety_table(risks, "scale", chosen))
    who = {label: label if label == SHIELD else f"scale {label:g}" for label in rows}
    first = who[next(iter(rows))]
    for label, gain in gained.items():
        value, low, high = (f"{gain[name]:+.3g}" for name in ("value", "low", "high"))
        print(f"{who[label]} earns {value} [{low}, {high}] more than {first} (discounted)")
