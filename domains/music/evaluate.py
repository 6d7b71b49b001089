"""Does guidance work: error and quality with SCG, with the best of as many samples, and without.

    from domains.music.data.reference import reference_clips
    report = evaluate(Composer.load(), reference_clips(), Evaluation(count=64))
    print(report.text())

Protocol:
    Target i of a rule is copied from real clip i; clip i of every method has stream i of one seed.
    Rules are asked for one at a time, with their default options.
    Per target, n complete unguided samples are drawn once, for all rules: those of `BestOfN`. The
    first of them is "none", the one of lowest error is "best". SCG has n candidates a step, which
    takes the same network rows as "best".
    Overlaps are taken with the real clips that no target comes from, equal draws for all methods.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np
import torch
from tqdm import tqdm

from domains.music.asking import COPIED
from domains.music.bench import Bench
from domains.music.compose import Composer
from domains.music.metrics import Features, Overlap, features, overlap
from domains.music.roll import Rolls
from domains.music.rules import Rule, RuleEnergy, make_rule
from domains.music.scores import Report, RuleScores, Score, mean_and_se
from guided.energy import Energy
from guided.results import versions

Points = dict[str, list[tuple[float, float, float]]]
"""By rule (n, mean error, standard error), as `plots.error_curves` takes them."""


@dataclass(frozen=True)
class Evaluation:
    """What to evaluate.

    Raises:
        ValueError: for numbers out of range or an unknown rule.
    """

    rules: tuple[str, ...] = COPIED
    """Rules by name."""
    candidates: int = 16
    """n of best-of-n and of SCG."""
    count: int = 64
    """Targets for each rule."""
    seed: int = 0
    """Seed of all runs and draws."""
    draws: int = 10
    """Draws of real clips for the overlap."""
    corpus: str | None = "pop909"
    """Style asked of the model: that of the real clips."""
    progress: bool = True
    """Show a progress bar."""

    def __post_init__(self) -> None:
        """Check the numbers and names."""
        if self.candidates < 2 or self.count < 2 or self.draws < 1 or not self.rules:
            raise ValueError(
                f"got candidates={self.candidates}, count={self.count}, draws={self.draws} and "
                f"{len(self.rules)} rules; give at least 2, 2, 1 and 1"
            )
        for name in self.rules:
            make_rule(name)


def evaluate(composer: Composer, clips: Rolls, config: Evaluation | None = None) -> Report:
    """Compare no guidance, best-of-n and SCG on targets from real clips.

    Args:
        composer: the model; its settings hold, but for method and candidates.
        clips: real clips (N, T, 88); the first `count` give targets, the rest are for overlaps.
        config: what to evaluate.

    Raises:
        ValueError: if there are fewer than twice `count` clips.
    """
    config = config or Evaluation()
    _require(clips, 2 * config.count)
    began = perf_counter()
    targets, others = take(clips, slice(config.count)), take(clips, slice(config.count, None))
    asked = {name: energies(name, targets) for name in config.rules}
    free, guided = (Bench(composer, config.seed, clips, config.corpus) for _ in range(2))
    numbers = range(config.count)
    n = config.candidates
    pools = [free.pool(i, n) for i in _watched(numbers, "unguided", config.progress)]
    none = [take(pool, slice(1)) for pool in pools]
    score = Scorer(features(others), config)
    rules = {}
    for name, wanted in asked.items():
        made = [
            guided.scg(i, n, wanted[i]) for i in _watched(numbers, f"SCG {name}", config.progress)
        ]
        best = [lowest(pool, energy) for pool, energy in zip(pools, wanted, strict=True)]
        rules[name] = RuleScores(*(score(some, wanted) for some in (none, best, made)))
    return Report(
        rules=rules,
        real=score.overlap(targets),
        none=free.cost(),
        scg=guided.cost(),
        seconds=perf_counter() - began,
        setup={**asdict(config), "settings": asdict(composer.settings)},
        model=digest(composer),
        versions=versions(),
    )


def curve(
    composer: Composer,
    clips: Rolls,
    rules: Sequence[str] = COPIED,
    *,
    candidates: Sequence[int] = (1, 4, 16, 64),
    count: int = 16,
    seed: int = 0,
    corpus: str | None = "pop909",
    progress: bool = True,
) -> Points:
    """Return the error of SCG against its number of candidates, for every rule.

    Args:
        composer: the model; its settings hold, but for method and candidates.
        clips: real clips (N, T, 88), the first `count` of which give targets.
        rules: names of rules.
        candidates: numbers n; 1 is the model alone, run once for all rules.
        count: targets for each rule and n, at least 2.
        seed: seed of all runs.
        corpus: style asked of the model.
        progress: show a progress bar.

    Raises:
        ValueError: for an unknown rule, numbers out of range or too few clips.
    """
    if not candidates or min(candidates) < 1 or count < 2:
        raise ValueError(
            f"got candidates={list(candidates)} and count={count}; give 1 or more and 2 or more"
        )
    _require(clips, count)
    asked = {name: energies(name, take(clips, slice(count))) for name in rules}
    bench = Bench(composer, seed, clips, corpus)
    free: list[Rolls] = []
    if 1 in candidates:
        free = [bench.free(i) for i in _watched(range(count), "unguided", progress)]
    points: Points = {name: [] for name in rules}
    for name, wanted in asked.items():
        for n in candidates:
            numbers = _watched(range(count), f"SCG {name} {n}", progress and n > 1)
            made = free if n == 1 else [bench.scg(i, n, wanted[i]) for i in numbers]
            points[name].append((n, *mean_and_se(errors(made, wanted))))
    return points


def energies(rule: str, targets: Rolls) -> list[RuleEnergy]:
    """Return, for every clip, the energy that asks for what a rule measures on it."""
    made: Rule = make_rule(rule)
    return [
        RuleEnergy(made, made.target_from(take(targets, slice(i, i + 1))))
        for i in range(len(targets.velocity))
    ]


def errors(made: Sequence[Rolls], wanted: Sequence[RuleEnergy]) -> list[float]:
    """Return the error of every single clip against its own target."""
    return [energy(clip).item() for clip, energy in zip(made, wanted, strict=True)]


def lowest(pool: Rolls, energy: Energy) -> Rolls:
    """Return the clip (1, T, 88) of lowest energy, the first one where several have it."""
    best = int(energy(pool).argmin())
    return take(pool, slice(best, best + 1))


def take(rolls: Rolls, index: slice) -> Rolls:
    """Return some clips of a batch."""
    return rolls._replace(velocity=rolls.velocity[index], onset=rolls.onset[index])


def digest(composer: Composer) -> str:
    """Return a hash of weights, schedule and codec, which tells models apart."""
    about = {"schedule": composer.denoiser.schedule.to_dict(), "codec": composer.codec.to_dict()}
    total = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(composer.denoiser.state_dict().items()):
        total.update(name.encode())
        total.update(tensor.detach().cpu().double().numpy().tobytes())
    return total.hexdigest()[:16]


class Scorer:
    """Errors and overlap of one clip per target.

    Args:
        real: features of real clips.
        config: seed and number of the draws, equal for all methods.
    """

    def __init__(self, real: Features, config: Evaluation) -> None:
        self.real = real
        self.config = config

    def __call__(self, made: Sequence[Rolls], wanted: Sequence[RuleEnergy]) -> Score:
        """Score single clips against their targets."""
        found = errors(made, wanted)
        velocity, onset = (torch.cat(part) for part in list(zip(*made, strict=True))[:2])
        together = made[0]._replace(velocity=velocity, onset=onset)
        return Score(*mean_and_se(found), self.overlap(together), found)

    def overlap(self, clips: Rolls) -> Overlap:
        """Compare clips with the real ones."""
        rng = np.random.default_rng(self.config.seed)
        return overlap(self.real, features(clips), rng, draws=self.config.draws)


def _require(clips: Rolls, least: int) -> None:
    found = len(clips.velocity)
    if found < least:
        raise ValueError(f"got {found} real clips; give {least} or more, or a smaller count")


def _watched(numbers: Sequence[int], name: str, progress: bool) -> Iterable[int]:
    return tqdm(numbers, desc=name, unit="clip", disable=not progress)
