"""``guided-bench rl``: acting, learning and drawing support actions, beside the plain way."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from domains.rl.bench.acting import acting
from domains.rl.bench.learning import critic_learning, energy_learning
from domains.rl.bench.problem import CALLS, made_up, made_up_support, untrained
from domains.rl.bench.support import drawing
from guided.bench.cases import report, require_counts

STEPS = 10  # of training, that are timed at once

Part = Literal["acting", "learning", "support"]


@dataclass(frozen=True)
class Offline:
    """Time a guided policy and its training beside the plain way of doing the same.

    States of 17 numbers, actions of 6, the networks of ``guided-rl train``, made-up data.
    """

    parts: tuple[Part, ...] = get_args(Part)
    """What to measure."""
    rounds: int = 20
    """Repetitions of everything; drawing support actions takes a fifth of them."""
    threads: int = 1
    """Processor threads."""
    seed: int = 0
    """Of the networks, the data and the noise."""
    json: Path | None = None
    """Write all figures to this file."""
    quick: bool = False
    """Two rounds on few data: a smoke test, not a result."""

    def run(self) -> None:
        """Measure and print.

        Raises:
            ValueError: for no part, or fewer than 1 round or thread.
        """
        require_counts(self.rounds, self.threads, self.parts, self.json)
        with tempfile.TemporaryDirectory() as folder:
            report("rl", self, self._cases(Path(folder)))

    def _cases(self, folder: Path) -> Iterator[dict[str, Any]]:
        rounds = 2 if self.quick else self.rounds
        data = made_up(*((4, 100) if self.quick else (100, 200)), self.seed)
        if "acting" in self.parts:
            policy = untrained(data, folder, self.seed).policy(steps=CALLS)
            for batch in (1, 10):
                yield acting(policy, batch, rounds, self.seed)
        if "learning" in self.parts:
            support = made_up_support(data, self.seed)
            for number, learning in enumerate((critic_learning, energy_learning)):
                own = folder / str(number)
                make = partial(untrained, data, own, self.seed, 1 if self.quick else STEPS)
                yield learning(make, support, rounds, self.seed)
        if "support" in self.parts:
            few = made_up(*((2, 10) if self.quick else (3, 100)), self.seed)
            run = untrained(few, folder, self.seed)
            yield drawing(run, max(1, rounds // 5), self.seed)
