"""``guided-bench safe``: FISOR's training and acting, beside the original's way in PyTorch."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from domains.rl.bench.safe_items import critic_update, iteration, safe_action, weighing
from domains.rl.bench.safe_problem import LARGE, acting_policy, risky, untrained
from domains.rl.model import ModelConfig
from guided.bench.cases import report, require_counts

STEPS = 10  # of training, that are timed at once
STATES = {"car": 60, "point robot": 11}

Part = Literal["critics", "acting", "iteration"]


@dataclass(frozen=True)
class Safe:
    """Time safe offline RL by FISOR beside the original's way of it in the same framework.

    Made-up data, states of 60 numbers (a car among hazards) or 11 (the point robot), actions of 2.
    """

    parts: tuple[Part, ...] = get_args(Part)
    """What to measure."""
    rounds: int = 20
    """Repetitions of everything; large batches of actions take a fifth of them."""
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
            report("safe", self, self._cases(Path(folder)))

    def _cases(self, folder: Path) -> Iterator[dict[str, Any]]:
        rounds, steps = (2, 1) if self.quick else (self.rounds, STEPS)
        shape = (4, 100) if self.quick else (100, 200)
        data = {name: risky(*shape, states, self.seed) for name, states in STATES.items()}
        if "critics" in self.parts:
            for name, own in data.items():
                make = partial(untrained, own, folder / name, self.seed, steps)
                yield critic_update(make, rounds)
        if "acting" in self.parts:
            sizes = {"as large as the original": LARGE, "of our usual size": ModelConfig()}
            batches = (1, 8) if self.quick else (1, 256)
            for size, model in sizes.items():
                policy = acting_policy(data["car"], folder, self.seed, model)
                for batch in batches:
                    times = rounds if batch == 1 else max(1, rounds // 5)
                    yield safe_action(policy, size, batch, times, self.seed)
        if "iteration" in self.parts:
            make = partial(untrained, data["car"], folder / "order", self.seed, steps)
            yield iteration(make, rounds)
            yield weighing(make, max(1, rounds // 5))
