"""One method and one seed: trained, tuned on validation episodes, played on the test episodes.

All of it is kept in a folder and found there again: training states, times, and results.
"""

import json
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from baselines.rl.clock import Clock, OnTrain
from baselines.rl.registry import BASELINES, Knob
from domains.rl import environments
from domains.rl.acting import Policy, Together
from domains.rl.data.identity import identity
from domains.rl.data.offline import OfflineData
from domains.rl.episodes import Episodes
from domains.rl.evaluate import OnStep, Trials, evaluate, sweep
from domains.rl.policy import DiffusionPolicy
from domains.rl.train import PolicyTraining, Progress, Run
from domains.rl.vector import MakeEnv
from guided.results import write_json
from guided.resume import claim
from guided.train import TrainConfig

TEST_SEED, VALIDATION_SEED = 1_000, 2_000  # of episodes, the same for all seeds of training
SHARED = ("behaviour", "support")  # stages that several methods build on
GUIDED = "guided"  # folder of these, and of all stages of the guided policy


@dataclass(frozen=True)
class Contest:
    """What all methods have in common.

    Args:
        data: logged episodes.
        make_env: returns a new environment.
        guided: training of the guided policy, whose behaviour others share.
        steps: network calls of an action of the guided policy.
        test: episodes that count.
        validation: episodes that settings are chosen on.
        folder: of everything.
    """

    data: OfflineData
    make_env: MakeEnv
    guided: PolicyTraining
    steps: int
    test: Trials
    validation: Trials
    folder: Path

    def run(self, seed: int) -> Run:
        """Return the run of the guided policy of a seed."""
        return Run(self.data, with_seed(self.guided, seed), self.folder / f"seed-{seed}" / GUIDED)


@dataclass(frozen=True)
class Contestant:
    """A method.

    Args:
        name: of its files.
        title: for the table.
        config: of its training; its seeds are set by the contest.
        train: maps (contest, configuration, seed, folder) to progress that ends in a policy.
        knob: what is chosen on the validation episodes.
        builds_on: shared stages that its training time includes.
        sampling: fields of the configuration that only the drawing of actions depends on.
        place: folder of its own stages; empty is its name.
    """

    name: str
    title: str
    config: Any
    train: Callable[[Contest, Any, int, Path], Generator[Progress, None, Policy]]
    knob: Knob | None = None
    builds_on: tuple[str, ...] = ()
    sampling: tuple[str, ...] = ()
    place: str = ""

    def settings(self, seed: int) -> dict[str, Any]:
        """Return the configuration of a seed, without the field that the knob sets."""
        known = asdict(with_seed(self.config, seed))
        return {key: v for key, v in known.items() if self.knob is None or key != self.knob.name}


def behaviour(config: PolicyTraining) -> Contestant:
    """Return the diffusion model of the behaviour, unguided."""

    def train(contest: Contest, _: Any, seed: int, __: Path) -> Generator[Progress, None, Policy]:
        run = contest.run(seed)
        yield from run.train_behaviour()
        return run.policy(steps=contest.steps, scale=0.0)

    return Contestant("behaviour", "diffusion BC", config, train, None, ("behaviour",))


def cep(config: PolicyTraining, scales: tuple[float, ...]) -> Contestant:
    """Return the guided policy, with the scales to choose from."""

    def train(contest: Contest, _: Any, seed: int, __: Path) -> Generator[Progress, None, Policy]:
        run = contest.run(seed)
        yield from run.stages()
        return run.policy(steps=contest.steps)

    def scaled(policy: DiffusionPolicy, scale: float) -> Policy:
        return policy.guided(scale=scale)

    knob = Knob("scale", scales, scaled)
    return Contestant("cep", "CEP (ours)", config, train, knob, SHARED, place=GUIDED)


def baseline(name: str, config: Any) -> Contestant:
    """Return one of the registry."""
    own = BASELINES[name]

    def train(
        contest: Contest, config: Any, seed: int, folder: Path
    ) -> Generator[Progress, None, Policy]:
        run = None
        if own.shares:
            run = contest.run(seed)
            yield from run.train_behaviour()
        return (yield from own.train(contest.data, config, folder, run))

    builds_on = () if not own.shares else SHARED if name == "sfbc" else SHARED[:1]
    return Contestant(name, own.title, config, train, own.knob, builds_on, own.sampling)


def settle(
    contest: Contest, who: Contestant, seed: int, on_train: OnTrain, on_step: OnStep
) -> dict[str, Any]:
    """Return the result of a method and a seed, from its file if that is of the same question.

    Raises:
        CheckpointError: where the folder holds training of other data or configuration.
    """
    home = contest.folder / f"seed-{seed}"
    asked, path = _question(contest, who, seed), home / f"{who.name}.json"
    if path.exists() and (kept := json.loads(path.read_text()))["asked"] == asked:
        return dict(kept)
    run, folder = contest.run(seed), home / (who.place or who.name)
    if who.builds_on:
        run.claim()
    claim(folder / "trained.json", asked["trained"])
    clock = Clock(folder, run.folder, SHARED)
    config = with_seed(who.config, seed)
    policy = clock.timed(who.train(contest, config, seed, folder), on_train)
    result: dict[str, Any] = {"asked": asked, "seconds": clock.seconds(who.builds_on)}
    if who.knob is not None:
        policy, chosen = _chosen(contest, who.knob, policy, on_step)
        result |= chosen
    result["test"] = figures(evaluate(contest.make_env, policy, contest.test, on_step=on_step))
    write_json(path, result)
    return result


def _question(contest: Contest, who: Contestant, seed: int) -> dict[str, Any]:
    """Return all that a result depends on; ``trained`` is what the training does."""
    config = who.settings(seed)
    sampling = {name: config.pop(name) for name in who.sampling}
    trained = {**identity(contest.data), "config": config}
    if who.builds_on:
        trained["guided"] = asdict(with_seed(contest.guided, seed))
    asked = {
        "trained": trained,
        "sampling": sampling,
        "values": who.knob.values if who.knob else None,
        "steps": contest.steps,
        "test": asdict(contest.test),
        "validation": asdict(contest.validation),
    }
    return dict(plain(asked))


def _chosen(
    contest: Contest, knob: Knob, policy: Any, on_step: OnStep
) -> tuple[Policy, dict[str, Any]]:
    """Return the policy with the best value of its knob, and how that was found."""
    policies = {value: knob.tuned(policy, value) for value in knob.values}
    best, *others = policies
    found: dict[str, Any] = {"knob": knob.name}
    if others:
        played = sweep(contest.make_env, Together(policies), contest.validation, on_step=on_step)
        scores = {value: knob.merit(games) for value, games in played.items()}
        best = max(scores, key=lambda value: scores[value])  # the first of equals
        found["chosen_by"] = {f"{value:g}": score for value, score in scores.items()}
    return policies[best], {**found, "setting": best}


def figures(games: Episodes) -> dict[str, Any]:
    """Return the results of every episode as JSON can hold them; None is what was not told."""
    names = ("returns", "discounted", "lengths", "success", "costs", "violations")
    found = {name: getattr(games, name) for name in names}
    return {name: None if own is None else own.tolist() for name, own in found.items()}


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise unless there are seeds, all different.

    Raises:
        ValueError: otherwise, or for one below 0.
    """
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        got = ", ".join(map(str, seeds)) or "none"
        raise ValueError(f"give different seeds of at least 0, got {got}")


def played_in(data: OfflineData) -> tuple[str, int]:
    """Return the environment that data are of, and the steps after which it cuts an episode.

    Raises:
        ValueError: where data do not tell their environment, or that has no limit.
    """
    if data.environment is None:
        raise ValueError(f"{data.name} does not tell its environment, so nothing can be played")
    env = environments.make(data.environment)
    limit = env.spec.max_episode_steps if env.spec else None
    env.close()
    if limit is None:
        raise ValueError(f"the environment of {data.name} has no limit of steps; give one")
    return data.environment, int(limit)


def with_seed(config: Any, seed: int) -> Any:
    """Return a configuration with all its seeds set, those of its parts included."""
    parts = {
        name: with_seed(value, seed)
        for name, value in vars(config).items()
        if hasattr(value, "__dataclass_fields__")
    }
    own = {"seed": seed} if hasattr(config, "seed") else {}
    return replace(config, **parts, **own)


def quick(config: Any) -> Any:
    """Return a configuration with a few steps of narrow networks."""
    changes: dict[str, Any] = {}
    small = {"hidden": (8,), "width": 8, "energy_width": 8, "support": 2, "support_steps": 1}
    for name, value in vars(config).items():
        if isinstance(value, TrainConfig):
            changes[name] = replace(value, steps=4, batch=8, log_every=2, save_every=2)
        elif hasattr(value, "__dataclass_fields__"):
            changes[name] = quick(value)
        elif name in small:
            changes[name] = small[name]
    return replace(config, **changes)


def plain(tree: Any) -> Any:
    """Return a tree as JSON would give it back, with infinity as text, since JSON has none."""
    if isinstance(tree, dict):
        return {str(key): plain(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [plain(value) for value in tree]
    if isinstance(tree, Path) or (isinstance(tree, float) and not math.isfinite(tree)):
        return str(tree)
    return tree


def stacked(results: list[dict[str, Any]], entry: str) -> np.ndarray | None:
    """Return an entry of the test episodes of all seeds, (S, E); None where it is not told."""
    parts = [result["test"][entry] for result in results]
    return None if parts[0] is None else np.array(parts)
