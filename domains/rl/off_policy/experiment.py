"""Log a bandit while learning its losses, then estimate targets from the log."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from domains.rl.off_policy.bandit import LABELS, NODES, Bandit
from domains.rl.off_policy.capped_igw import Cap, Played, among, rejection
from domains.rl.off_policy.estimators import Estimate, doubly_robust, ips, snips
from guided.rng import Rng

Logger = Literal["rejection", "among", "reference"]
LOGGERS: tuple[Logger, ...] = ("rejection", "among", "reference")

BLOCKS = 20  # of rounds; the prediction is fitted anew after each
DRAWS = 64  # that "among" plays one of
CENTRES, BUMP = 16, 0.15  # features of the prediction: bumps on [-1.5, 1.5], and their width
RIDGE = 1.0


class Prediction:
    """Ridge regression of losses on bumps of the action, for every label; a half at first."""

    def __init__(self) -> None:
        self.centres = torch.linspace(-1.5, 1.5, CENTRES, dtype=torch.float64)
        self.square = RIDGE * torch.eye(CENTRES, dtype=torch.float64).repeat(LABELS, 1, 1)
        self.product = torch.zeros(LABELS, CENTRES, dtype=torch.float64)
        self.weights = torch.zeros(LABELS, CENTRES, dtype=torch.float64)

    def __call__(self, labels: Tensor, actions: Tensor) -> Tensor:
        """Return losses in [0, 1], (B, K), of labels (B,) and actions (B, K, 1)."""
        return self.of(self.features(actions[..., 0]), labels)

    def of(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return losses (B, K) of the features (B, K, F) of actions."""
        found = (features @ self.weights[labels][..., None])[..., 0]
        return (0.5 + found).clamp(0, 1)

    def learn(self, labels: Tensor, actions: Tensor, losses: Tensor) -> None:
        """Take in actions (B, 1) and their losses (B,)."""
        features = self.features(actions[:, 0])
        self.square.index_add_(0, labels, features[:, :, None] * features[:, None, :])
        self.product.index_add_(0, labels, features * (losses - 0.5)[:, None])
        self.weights = torch.linalg.solve(self.square, self.product)

    def features(self, actions: Tensor) -> Tensor:
        """Return the bumps (..., F) at numbers (...)."""
        return (-0.5 * ((actions[..., None] - self.centres) / BUMP).square()).exp()


@dataclass(frozen=True)
class Log:
    """What one way of logging left, a row a round.

    Args:
        prediction: of losses, after all rounds.
        labels: the contexts.
        expected: mean losses of the actions played, which only a simulation knows.
        losses: those observed, 0 or 1.
        log_density: of the actions played.
        predicted: losses of these, by the prediction of the time.
        baseline: the mean prediction over each target's actions, (rounds, targets).
        draws: of the reference, for everything.
        accepted: False where rejection gave up.
        certified: whether the normaliser was.
    """

    prediction: Prediction
    labels: Tensor
    expected: Tensor
    losses: Tensor
    log_density: Tensor
    predicted: Tensor
    baseline: Tensor
    draws: Tensor
    accepted: Tensor
    certified: Tensor

    def blocks(self) -> list[float]:
        """Return the mean expected loss of every block."""
        return [float(part.mean()) for part in self.expected.tensor_split(BLOCKS)]


def logged(
    bandit: Bandit,
    logger: Logger,
    rounds: int,
    cap: Cap,
    rng: Rng,
    on_rounds: Callable[[int], None] = lambda _: None,
) -> Log:
    """Play rounds and keep a log.

    The prediction is fitted to all earlier blocks; gamma grows with the square root of the rounds
    to that of ``cap``, as in the paper.

    Args:
        bandit: it.
        logger: ``rejection`` or ``among``, the two samplers of CappedIGW; ``reference`` plays plain
            draws of the reference.
        rounds: at least one a block.
        cap: settings; ``among`` reads tau and gamma of it.
        rng: of everything.
        on_rounds: told how many rounds were played, after each block.

    Raises:
        ValueError: for an unknown logger, or too few rounds.
    """
    if logger not in LOGGERS or rounds < BLOCKS:
        raise ValueError(
            f"a log needs a logger of {', '.join(LOGGERS)} and at least {BLOCKS} rounds, got "
            f"{logger!r} and {rounds}"
        )
    prediction, parts, done = Prediction(), [], 0
    nodes = prediction.features(bandit.actions)
    shares = torch.stack([target.nodes.exp() / NODES for target in bandit.targets], 2)
    for block in torch.arange(rounds).tensor_split(BLOCKS):
        done += len(block)
        now = Cap(cap.tau, cap.gamma * (done / rounds) ** 0.5, cap.kappa, cap.alpha, cap.draws)
        labels = bandit.contexts(len(block), rng)
        played = _played(bandit, logger, labels, prediction, now, rng)
        expected = bandit.loss(labels, played.actions[:, None])[:, 0]
        losses = bandit.observe(expected, rng)
        guess = prediction.of(nodes, torch.arange(LABELS))
        baseline = torch.einsum("ln,lnt->lt", guess, shares)[labels]
        predicted = prediction(labels, played.actions[:, None])[:, 0]
        seen = labels, expected, losses, played.log_density, predicted, baseline
        draws = played.tries + (2 * now.draws if logger == "rejection" else 0)
        parts.append((*seen, draws, played.accepted, played.certified))
        prediction.learn(labels, played.actions, losses)
        on_rounds(len(block))
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    return Log(prediction, *columns)


def estimates(bandit: Bandit, log: Log) -> list[dict[str, Any]]:
    """Return a row for every target: its truth and its three estimates."""
    rows = []
    for index, target in enumerate(bandit.targets):
        truth = bandit.truth(target)
        wanted = target.log_density(log.labels, log.expected)
        data = log.losses.numpy(), log.log_density.numpy(), wanted.numpy()
        model = log.predicted.numpy(), log.baseline[:, index].numpy()
        found = {"ips": ips(*data), "snips": snips(*data), "dr": doubly_robust(*data, *model)}
        row: dict[str, Any] = {"target": target.name, "truth": truth, "size": found["ips"].size}
        rows.append(row | {name: _against(one, truth) for name, one in found.items()})
    return rows


def _against(found: Estimate, truth: float) -> dict[str, float]:
    deviation = (found.value - truth) / found.error if found.error > 0 else 0.0
    return {"value": found.value, "error": found.error, "deviation": deviation}


def _played(
    bandit: Bandit, logger: Logger, labels: Tensor, prediction: Prediction, cap: Cap, rng: Rng
) -> Played:
    if logger == "rejection":
        return rejection(labels, bandit.reference, prediction, cap, rng)
    draws, tau = (1, 1.0) if logger == "reference" else (DRAWS, cap.tau)
    actions = bandit.reference(labels, draws, rng)
    return among(actions, prediction(labels, actions), tau, cap.gamma, rng)
