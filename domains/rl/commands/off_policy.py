"""off-policy: log a bandit by CappedIGW, and estimate other policies from the log."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from domains.rl.off_policy.bandit import KINDS, Bandit, Kind
from domains.rl.off_policy.capped_igw import Cap
from domains.rl.off_policy.experiment import BLOCKS, LOGGERS, Log, estimates, logged
from guided.results import require_writable, versions, write_json
from guided.rng import Rng

WITHIN = 2.0  # standard errors
DRAWS = 20  # of the reference, times tau: they find and check the normaliser


@dataclass(frozen=True)
class OffPolicy:
    """Explore a bandit of continuous actions, and judge three other policies by the logs alone.

    Losses are learned on the way. Logs are of CappedIGW by rejection, of CappedIGW among 64 draws,
    and of plain draws of the reference law for comparison; targets are the reference, the reference
    times exp(-5 loss), and the best tenth of the reference. Their truth is known.
    """

    references: tuple[Kind, ...] = KINDS
    """Reference laws: a diffusion sampler, uniform actions."""
    rounds: int = 10_000
    """Actions of every log."""
    tau: float = 10.0
    """Largest density with respect to the reference; 1 plays the reference."""
    gamma: float = 50.0
    """How much larger losses are avoided in the last round; it grows as the root of the rounds."""
    seed: int = 0
    """Of everything drawn."""
    json: Path | None = None
    """Write the figures to this file."""
    picture: Path | None = None
    """Write a picture of the first reference to this file (.png)."""
    quick: bool = False
    """200 rounds: a smoke test, not a result."""

    def run(self) -> None:
        """Log, estimate, print, draw.

        Raises:
            ValueError: for settings out of range, or files that cannot be written.
        """
        rounds = 200 if self.quick else self.rounds
        if rounds < BLOCKS or self.seed < 0 or not self.references:
            raise ValueError(
                f"give at least {BLOCKS} rounds, one reference and a seed of 0 or more, got "
                f"{rounds}, {list(self.references)} and {self.seed}"
            )
        cap = Cap(self.tau, self.gamma)  # refuses a tau that is no number, before it is rounded
        cap = Cap(self.tau, self.gamma, draws=math.ceil(DRAWS * self.tau))
        require_writable(self.json, self.picture)
        facts: dict[str, Any] = {}
        kinds = list(dict.fromkeys(self.references))
        with tqdm(total=rounds * len(kinds) * len(LOGGERS), desc="log", unit="round") as bar:
            for kind in kinds:
                bandit = Bandit(kind)
                logs: dict[str, Log] = {}
                for index, name in enumerate(LOGGERS):
                    rng = Rng.per_sample(self.seed, 1, index)
                    logs[name] = logged(bandit, name, rounds, cap, rng, bar.update)
                rows = {name: estimates(bandit, log) for name, log in logs.items()}
                facts[kind] = {name: _facts(logs[name], rows[name]) for name in logs}
                if self.picture is not None and kind == kinds[0]:
                    self._draw(bandit, logs, rows, cap)
        print(table(facts))
        if self.picture is not None:
            print(f"wrote {self.picture}")
        if self.json is not None:
            options = {"rounds": rounds, "seed": self.seed, **asdict(cap)}
            write_json(self.json, {"options": options, "logs": facts, "versions": versions()})

    def _draw(
        self,
        bandit: Bandit,
        logs: Mapping[str, Log],
        rows: Mapping[str, Sequence[Mapping[str, Any]]],
        cap: Cap,
    ) -> None:
        from domains.rl.off_policy.plots import draw  # matplotlib

        draw(bandit, logs, rows, cap, self.picture, f"CappedIGW around a {self.references[0]} law")


def table(facts: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return the figures as lines of text."""
    lines = []
    for kind, logs in facts.items():
        lines += [
            f"reference {kind}: value \u00b1 standard error (deviation from the truth in those)",
            f"{'log':>10s} {'draws':>6s} {'loss':>6s}  {'target':<11s}{'truth':>7s}"
            + "".join(f"{name:>26s}" for name in ("IPS", "SNIPS", "doubly robust"))
            + f"{'worth':>8s}",
        ]
        for name, log in logs.items():
            head = f"{name:>10s} {log['draws']:>6.1f} {log['last']:>6.3f}"
            for row in log["targets"]:
                cells = "".join(f"{_cell(row[way]):>26s}" for way in ("ips", "snips", "dr"))
                lines.append(
                    f"{head}  {row['target']:<11s}{row['truth']:>7.4f}{cells}{row['size']:>8.0f}"
                )
                head = " " * len(head)
        lines.append("")
    return "\n".join([*lines, *_verdict(facts)])


def _verdict(facts: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    capped = [log for logs in facts.values() for name, log in logs.items() if name != "reference"]
    rows = [row["ips"] for log in capped for row in log["targets"]]
    near = sum(abs(row["deviation"]) <= WITHIN for row in rows)
    sampled = [logs["rejection"] for logs in facts.values()]
    sure = min(log["certified"] for log in sampled)
    gave_up = max(log["gave_up"] for log in sampled)
    return [
        f"{near} of {len(rows)} IPS estimates from CappedIGW logs lie within {WITHIN:g} standard "
        f"errors of the truth, as about 95 % of correct ones do",
        f"rejection: normaliser certified in {sure:.1%} of the rounds, gave up in {gave_up:.2%}",
        "draws: of the reference for an action; loss: of the last block; worth: effective size",
    ]


def _facts(log: Log, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "draws": float(log.draws.double().mean()),
        "blocks": log.blocks(),
        "last": log.blocks()[-1],
        "certified": float(log.certified.double().mean()),
        "gave_up": float((~log.accepted).double().mean()),
        "targets": rows,
    }


def _cell(found: Mapping[str, float]) -> str:
    return f"{found['value']:.4f} \u00b1 {found['error']:.4f} ({found['deviation']:+.1f})"
