"""One method and one seed: trained, tuned on validation episodes, played on the test episodes.

All of it is kept in a folder and found there again: training states, times, and results.
"""

import json
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from baselines.rl.registry import BASELINES, Knob
from domains.rl.acting import Policy, Together
from domains.rl.data.offline import OfflineData
from domains.rl.episodes import Episodes
from domains.rl.evaluate import OnStep, Trials, evaluate, sweep
from domains.rl.policy import DiffusionPolicy
from domains.rl.train import PolicyTraining, Progress, Run, identity
from domains.rl.vector import MakeEnv
from guided.results import write_json
from guided.resume import claim

TEST_SEED, VALIDATION_SEED = 1_000, 2_000  # of episodes, the same for all seeds of training
SHARED = ("behaviour", "support")  # stages that several methods build on


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
        return Run(self.data, with_seed(self.guided, seed), self.folder / f"seed-{seed}" / "guided")


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
    """

    name: str
    title: str
    config: Any
    train: Callable[[Contest, Any, int, Path], Generator[Progress, None, Policy]]
    knob: Knob | None = None
    builds_on: tuple[str, ...] = ()


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

    return Contestant("cep", "CEP (ours)", config, train, Knob("scale", scales, scaled), SHARED)


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
    return Contestant(name, own.title, config, train, own.knob, builds_on)


OnTrain = Callable[[Progress], object]


def settle(
    contest: Contest, who: Contestant, seed: int, on_train: OnTrain, on_step: OnStep
) -> dict[str, Any]:
    """Return the result of a method and a seed, from its file if that is of the same question.

    Raises:
        CheckpointError: where the folder holds training of other data or configuration.
    """
    home = contest.folder / f"seed-{seed}"
    config = with_seed(who.config, seed)
    trained: dict[str, Any] = _plain({**identity(contest.data), "config": asdict(config)})
    if who.builds_on:
        trained["guided"] = _plain(asdict(with_seed(contest.guided, seed)))
    asked = {
        "trained": trained,
        "values": list(who.knob.values) if who.knob else None,
        "steps": contest.steps,
        "test": _plain(asdict(contest.test)),
        "validation": _plain(asdict(contest.validation)),
    }
    path = home / f"{who.name}.json"
    if path.exists() and (kept := json.loads(path.read_text()))["asked"] == asked:
        return dict(kept)
    folder = home / who.name
    if who.builds_on:
        contest.run(seed).claim()
    claim(folder / "trained.json", trained)
    clock = Clock(home / "seconds.json", who.name)
    policy = clock.timed(who.train(contest, config, seed, folder), on_train)
    result: dict[str, Any] = {"asked": asked, "seconds": clock.seconds(who.builds_on)}
    if who.knob is not None:
        policies = {value: who.knob.tuned(policy, value) for value in who.knob.values}
        found = {value: 0.0 for value in policies}
        if len(found) > 1:
            played = sweep(
                contest.make_env, Together(policies), contest.validation, on_step=on_step
            )
            found = {value: float(games.discounted.mean()) for value, games in played.items()}
        chosen = max(found, key=lambda value: found[value])  # the first of equals
        result |= {"knob": who.knob.name, "setting": chosen}
        result["chosen_by"] = {f"{value:g}": score for value, score in found.items()}
        policy = policies[chosen]
    result["test"] = figures(evaluate(contest.make_env, policy, contest.test, on_step=on_step))
    write_json(path, result)
    return result


def figures(games: Episodes) -> dict[str, Any]:
    """Return the results of every episode as JSON can hold them."""
    success = None if games.success is None else games.success.tolist()
    return {
        "returns": games.returns.tolist(),
        "discounted": games.discounted.tolist(),
        "lengths": games.lengths.tolist(),
        "success": success,
    }


class Clock:
    """Times the stages of training, and keeps the times of those that were done before.

    Args:
        path: of the times of a seed, {owner/stage: {"wall", "cpu", "done"}}, in seconds.
        owner: whose training it is; shared stages belong to nobody.
    """

    def __init__(self, path: Path, owner: str) -> None:
        self.path, self.owner = path, owner
        self.times: dict[str, dict[str, Any]] = (
            json.loads(path.read_text()) if path.exists() else {}
        )

    def timed(self, training: Generator[Progress, None, Policy], on_train: OnTrain) -> Policy:
        """Train to the end; return the policy."""
        complete = {name for name, own in self.times.items() if own["done"]}
        try:
            while True:
                began = time.perf_counter(), time.process_time()
                progress = next(training)
                name = self._name(progress.stage)
                if name not in complete:
                    own = self.times.setdefault(name, {"wall": 0.0, "cpu": 0.0, "done": False})
                    own["wall"] += time.perf_counter() - began[0]
                    own["cpu"] += time.process_time() - began[1]
                    own["done"] = progress.done == progress.of
                on_train(progress)
        except StopIteration as end:
            return end.value
        finally:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, self.times)

    def seconds(self, builds_on: tuple[str, ...]) -> dict[str, float]:
        """Return the time of this training with the shared stages that it builds on."""
        shared = {f"shared/{stage}" for stage in builds_on}
        mine = [
            own
            for name, own in self.times.items()
            if name in shared or name.startswith(f"{self.owner}/")
        ]
        return {kind: round(sum(own[kind] for own in mine), 2) for kind in ("wall", "cpu")}

    def _name(self, stage: str) -> str:
        return f"{'shared' if stage in SHARED else self.owner}/{stage}"


def with_seed(config: Any, seed: int) -> Any:
    """Return a configuration with all its seeds set, those of its parts included."""
    parts = {
        name: with_seed(value, seed)
        for name, value in vars(config).items()
        if hasattr(value, "__dataclass_fields__")
    }
    own = {"seed": seed} if hasattr(config, "seed") else {}
    return replace(config, **parts, **own)


def _plain(tree: Any) -> Any:
    """Return a tree as JSON would give it back."""
    return json.loads(json.dumps(tree))


def stacked(results: list[dict[str, Any]], entry: str) -> np.ndarray | None:
    """Return an entry of the test episodes of all seeds, (S, E); None where it is not told."""
    parts = [result["test"][entry] for result in results]
    return None if parts[0] is None else np.array(parts)
