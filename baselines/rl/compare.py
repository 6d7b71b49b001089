"""``python -m baselines.rl.compare``: the guided policy beside what one would use otherwise.

All methods learn from the same data and play the same test episodes. The one number of each that
may be set after training, such as the guidance scale, is chosen for every seed by the mean
discounted return of validation episodes, which are others than the test episodes.
"""

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from tqdm import tqdm

from baselines.rl.bc import BCConfig
from baselines.rl.contest import (
    TEST_SEED,
    VALIDATION_SEED,
    Contest,
    Contestant,
    baseline,
    behaviour,
    cep,
    check_seeds,
    figures,
    plain,
    played_in,
    quick,
    settle,
)
from baselines.rl.controller import controller_of, play
from baselines.rl.diffusion_ql import DiffusionQLConfig
from baselines.rl.idql import IDQLConfig
from baselines.rl.iql import IQLConfig
from baselines.rl.registry import BASELINES
from baselines.rl.sfbc import SfBCConfig
from baselines.rl.table import markdown, row
from baselines.rl.td3_bc import TD3BCConfig
from baselines.rl.transitions import Bootstrap
from domains.rl import environments
from domains.rl.data.offline import OfflineData
from domains.rl.data.sources import load_data
from domains.rl.evaluate import Trials
from domains.rl.train import PolicyTraining
from guided.command import in_words
from guided.results import require_writable, versions, write_json

OURS = ("behaviour", "cep")


@dataclass(frozen=True)
class Compare:
    """Train, tune and play the guided policy and the baselines; run it again to resume."""

    dataset: Annotated[str, tyro.conf.Positional]
    """A Minari id, or a D4RL file."""
    methods: tuple[str, ...] = (*OURS, *BASELINES)
    """Which: ``behaviour``, ``cep``, or names of baselines."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the trainings."""
    episodes: int = 100
    """Test episodes of each seed."""
    validation: int = 50
    """Episodes of each seed that settings are chosen on."""
    scales: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0, 8.0)
    """Guidance scales to choose from."""
    steps: int = 15
    """Network calls of an action of the diffusion policies."""
    same_targets: bool = True
    """Give every critic the guided policy's discount, n-step targets and Monte-Carlo warm-up, and
    SfBC its critic, whatever their own options say; else their own: one step, as published, but
    SfBC's, which is the default critic of the guided policy."""
    out: Path = Path("runs/compare")
    """Folder of everything that is trained and found."""
    json: Path | None = None
    """Write all figures to this file."""
    threads: int = 1
    """Processor threads."""
    quick: bool = False
    """Hardly any training: a smoke test, not a result."""
    guided: PolicyTraining = field(default_factory=PolicyTraining)
    """The guided policy."""
    bc: BCConfig = field(default_factory=BCConfig)
    """Behaviour cloning."""
    td3_bc: TD3BCConfig = field(default_factory=TD3BCConfig)
    """TD3+BC."""
    iql: IQLConfig = field(default_factory=IQLConfig)
    """IQL."""
    diffusion_ql: DiffusionQLConfig = field(default_factory=DiffusionQLConfig)
    """Diffusion-QL."""
    idql: IDQLConfig = field(default_factory=IDQLConfig)
    """IDQL."""
    sfbc: SfBCConfig = field(default_factory=SfBCConfig)
    """SfBC."""

    def run(self) -> None:
        """Compare, print the table, and keep the figures.

        Raises:
            ValueError: for unknown methods, numbers out of range, or data without an environment.
        """
        self._check()
        require_writable(self.json, self.out / "seconds")
        torch.set_num_threads(self.threads)
        began, data = time.perf_counter(), load_data(self.dataset)
        where, limit = played_in(data)
        contest = self._contest(data, where)
        who = [self._contestant(name) for name in self.methods]
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in self.methods}
        for seed in self.seeds:
            for contestant in who:
                results[contestant.name].append(_settled(contest, contestant, seed))
        ours = results.get("cep")
        rows = [
            row(c.title, results[c.name], limit, None if c.name == "cep" else ours) for c in who
        ]
        good = controller_of(data.name)
        if good is not None:
            with _Bar("controller: test") as bar:
                games = play(contest.make_env, good, contest.test, bar.episodes)
            rows.append(row("the data's good controller", [{"test": figures(games)}], limit))
        print(markdown(rows))
        if self.json is not None:
            found = {name: [_short(r) for r in own] for name, own in results.items()}
            about = {**self._used(contest, who), "limit": limit, "rows": rows, "results": found}
            about |= {"versions": versions(), "seconds": round(time.perf_counter() - began, 1)}
            write_json(self.json, plain(about))

    def _check(self) -> None:
        if unknown := sorted(set(self.methods) - {*OURS, *BASELINES}):
            known = ", ".join((*OURS, *BASELINES))
            raise ValueError(f"unknown methods {', '.join(unknown)}; choose from {known}")
        if not self.methods or not self.scales:
            raise ValueError("give at least one method and one scale")
        check_seeds(self.seeds)
        if len(set(self.methods)) < len(self.methods):
            raise ValueError(f"give every method once, got {', '.join(self.methods)}")
        if min(self.episodes, self.validation, self.threads, self.steps) < 1:
            raise ValueError(
                f"give episodes, validation, threads and steps of at least 1, got {self.episodes}, "
                f"{self.validation}, {self.threads} and {self.steps}"
            )

    def _contest(self, data: OfflineData, where: str) -> Contest:
        gamma = self.guided.critic.gamma
        test = Trials(2 if self.quick else self.episodes, TEST_SEED, discount=gamma)
        others = 2 if self.quick else self.validation
        return Contest(
            data=data,
            make_env=lambda: environments.make(where),
            guided=self._guided,
            steps=self._steps,
            test=test,
            validation=replace(test, episodes=others, seed=VALIDATION_SEED),
            folder=self.out,
        )

    def _used(self, contest: Contest, who: list[Contestant]) -> dict[str, Any]:
        """Return the options, and what every method was really trained with (but for its seed)."""
        configs = {c.name: c.settings(c.config.seed) for c in who if c.name not in OURS}
        if any(c.builds_on for c in who):
            configs["guided"] = asdict(contest.guided)
        nested = {"json", "guided", *BASELINES}
        options = {name: value for name, value in vars(self).items() if name not in nested}
        return {"options": options, "configs": configs}

    @property
    def _guided(self) -> PolicyTraining:
        return quick(self.guided) if self.quick else self.guided

    @property
    def _steps(self) -> int:
        return min(2, self.steps) if self.quick else self.steps

    def _contestant(self, name: str) -> Contestant:
        if name in OURS:
            own = self._guided
            return behaviour(own) if name == "behaviour" else cep(own, self.scales)
        config = getattr(self, name)
        if hasattr(config, "steps"):
            config = replace(config, steps=self._steps)
        if self.same_targets and hasattr(config, "bootstrap"):
            rule = self.guided.critic
            config = replace(config, bootstrap=Bootstrap(rule.gamma, rule.n_step, rule.warm_up))
        if self.same_targets and hasattr(config, "critic"):
            config = replace(config, critic=self.guided.critic, loop=self.guided.critic_loop)
        return baseline(name, quick(config) if self.quick else config)


def _settled(contest: Contest, who: Contestant, seed: int) -> dict[str, Any]:
    with _Bar(f"{who.title}, seed {seed}") as bar:
        return settle(contest, who, seed, bar.training, bar.episodes)


def _short(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != "asked"}


class _Bar:
    """A progress bar that tells training and episodes."""

    def __init__(self, title: str) -> None:
        self.title, self.shown = title, ""

    def __enter__(self) -> "_Bar":
        self.bar = tqdm(desc=self.title)
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.close()

    def training(self, progress: Any) -> None:
        self._to(f"{self.title}: {progress.stage}", progress.done, progress.of)
        if progress.loss is not None:
            self.bar.set_postfix(loss=f"{progress.loss:.4f}")

    def episodes(self, progress: Any) -> None:
        self._to(f"{self.title}: episodes", progress.finished, progress.episodes)

    def _to(self, title: str, done: int, total: int) -> None:
        if title != self.shown or done < self.bar.n:
            self.shown = title
            self.bar.reset(total)
            self.bar.set_description(title, refresh=False)
        self.bar.update(done - self.bar.n)


def main(args: list[str] | None = None) -> None:
    """Run the comparison; a user's mistake is one sentence and exit status 1."""
    with in_words("compare", "stopped; the same command goes on from here"):
        tyro.cli(Compare, prog="python -m baselines.rl.compare", args=args).run()


if __name__ == "__main__":
    main()
