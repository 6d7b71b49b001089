r"""CappedIGW: explore around any reference law, and log densities that can be weighted later.

Symbols: a reference law :math:`\mu` that can only be drawn from, predicted losses
:math:`\hat f(a) \in [0, 1]`, smoothness :math:`\tau \ge 1`, sharpness :math:`\gamma > 0`. The law
has the density, with respect to :math:`\mu`,

.. math:: q(a) = \frac{\tau}{1 + \gamma \max(0, \hat f(a) - \beta)} = \tau\, p(a),

with :math:`\beta` such that :math:`\int q\, d\mu` is about 1. It is at most :math:`\tau`, and at
least :math:`\tau / (\tau + \gamma)`, so that importance weights are bounded. Since
:math:`\int p\, d\mu` is unknown, so is the density of what rejection by p plays. Both samplers here
log a number :math:`d` that is right all the same: for every fixed function h of the action,

.. math:: E[h(a) / d] = \int h\, d\mu,

which is all that inverse propensity weighting needs.

Source: Rucker, Zhu, Mineiro 2023, Infinite action contextual bandits with reusable data exhaust,
https://arxiv.org/abs/2302.08551.
Differs: they log q of an accepted action, which is too small by the factor :math:`\int q\, d\mu`
(down to 1 / kappa). Here :func:`rejection` divides by an independent estimate of it, and says what
it does on giving up; :func:`among` needs no such estimate.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from domains.rl.off_policy.normalised import certified
from guided.rng import Rng

Reference = Callable[[Tensor, int, Rng], Tensor]
"""Draws K actions of every context: (B, ...), K, randomness -> (B, K, A)."""
Losses = Callable[[Tensor, Tensor], Tensor]
"""Predicts losses in [0, 1]: contexts (B, ...), actions (B, K, A) -> (B, K)."""

HALVINGS = 55  # of the interval of beta: down to double precision
AT_ONCE = 32  # tries drawn together
GIVE_UP = 1e-3  # of the contexts with a normalised q, at most so many give up


@dataclass(frozen=True)
class Cap:
    """What shapes the law, and how its normaliser is found."""

    tau: float = 10.0
    """Largest density with respect to the reference; 1 is the reference itself."""
    gamma: float = 50.0
    """How much losses above beta are avoided."""
    kappa: float = 4.0
    """Rejection: the integral of q is to lie in [1/kappa, 1]."""
    alpha: float = 0.05
    """Rejection: a beta beyond that is certified with at most this probability."""
    draws: int = 200
    """Rejection: draws of the reference that find beta, and as many others that check it; 20 tau
    are enough to certify nearly all."""

    def __post_init__(self) -> None:
        require_shape(self.tau, self.gamma)
        if not (1 < self.kappa < math.inf and 0 < self.alpha < 1 and self.draws >= 2):
            raise ValueError(
                f"CappedIGW needs a finite kappa > 1, alpha in (0, 1) and at least 2 draws, got "
                f"{self.kappa}, {self.alpha} and {self.draws}"
            )

    @property
    def integral(self) -> float:
        """What beta aims at: the middle, in ratios, of [1/kappa, 1]."""
        return 1.0 if self.tau == 1 else self.kappa**-0.5

    @property
    def budget(self) -> int:
        """Tries before giving up."""
        return math.ceil(self.kappa * self.tau * -math.log(GIVE_UP))


@dataclass(frozen=True)
class Played:
    """Actions of B contexts, and what a log has to keep of them.

    Args:
        actions: (B, A).
        log_density: log d of each action, with respect to the reference, (B,).
        tries: draws of the reference that it took, without those that found beta, (B,).
        beta: (B,).
        accepted: False where it gave up and played a plain draw of the reference, (B,).
        certified: whether the check found the integral of q in [1/kappa, 1], (B,).
    """

    actions: Tensor
    log_density: Tensor
    tries: Tensor
    beta: Tensor
    accepted: Tensor
    certified: Tensor


def acceptance(losses: Tensor, beta: Tensor, gamma: float) -> Tensor:
    """Return p of losses (B, K) for beta (B,), in double precision, (B, K)."""
    return 1 / (1 + gamma * (losses.double() - beta[:, None]).clamp(min=0))


def solve_beta(losses: Tensor, tau: float, gamma: float, integral: float = 1.0) -> Tensor:
    r"""Return the beta at which the mean of q over some draws is ``integral``, from below, (B,).

    q grows with beta: it is at most ``integral`` at :math:`(1 - \tau / integral) / \gamma`, and
    :math:`\tau` at 1. Where even that is not more, beta is 1.

    Args:
        losses: of K draws of the reference, in [0, 1], (B, K).
        tau: at least 1.
        gamma: positive.
        integral: the mean, positive.

    Raises:
        ValueError: for losses out of [0, 1], or settings out of range.
    """
    require_shape(tau, gamma)
    _check_losses(losses)
    if not 0 < integral < math.inf:
        raise ValueError(f"the integral of q has to be positive and finite, got {integral}")
    high = torch.ones(len(losses), dtype=torch.float64, device=losses.device)
    if tau <= integral:
        return high
    low = torch.full_like(high, (1 - tau / integral) / gamma)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        less = tau * acceptance(losses, middle, gamma).mean(1) <= integral
        low, high = torch.where(less, middle, low), torch.where(less, high, middle)
    return low


def among(actions: Tensor, losses: Tensor, tau: float, gamma: float, rng: Rng) -> Played:
    r"""Play one of K draws of the reference, with q for their law as the reference.

    Draw j is played with probability :math:`\pi_j = q_j / \sum_i q_i`, beta being solved on these
    very draws, and :math:`d = K \pi_j`. It is the density given all K draws, and therefore exact
    for weighting: :math:`E[\sum_j \pi_j h(a_j) / (K \pi_j)] = E[\frac1K \sum_j h(a_j)] = \int h
    d\mu`, whatever K, beta and the losses are. It lies in :math:`[\tau / (\tau + \gamma), \tau]`.

    Args:
        actions: independent draws of the reference, (B, K, A).
        losses: predicted for them, in [0, 1], (B, K).
        tau: at least 1; 1 plays draws of the reference.
        gamma: positive.
        rng: picks.

    Raises:
        ValueError: for shapes that do not fit, losses out of [0, 1], or settings out of range.
    """
    if actions.ndim != 3 or losses.shape != actions.shape[:2]:
        raise ValueError(
            f"CappedIGW needs actions (B, K, A) and losses (B, K), got {tuple(actions.shape)} and "
            f"{tuple(losses.shape)}"
        )
    beta = solve_beta(losses, tau, gamma)
    q = tau * acceptance(losses, beta, gamma)
    density = q / q.mean(1, keepdim=True)
    total = density.cumsum(1)
    place = total[:, -1:] * rng.uniform((len(q), 1), torch.float64, q.device)
    chosen = torch.searchsorted(total, place, right=True).clamp(max=q.shape[1] - 1)
    every = torch.ones(len(q), dtype=torch.bool, device=q.device)
    return Played(
        actions=actions.take_along_dim(chosen[..., None], 1)[:, 0],
        log_density=density.gather(1, chosen)[:, 0].log(),
        tries=torch.full((len(q),), q.shape[1], device=q.device),
        beta=beta,
        accepted=every,
        certified=every,
    )


def rejection(contexts: Tensor, reference: Reference, losses: Losses, cap: Cap, rng: Rng) -> Played:
    r"""Draw from the reference until a draw is accepted, with probability p; give up in the end.

    Three sets of draws of the reference, independent of each other: the first finds beta, the
    second estimates :math:`z = \int p\, d\mu` and certifies that :math:`\tau z \in [1/\kappa, 1]`,
    the third is accepted or not. An accepted action has the density p / z, and d = p / (mean of p
    over the second set); that mean is unbiased and, given beta, independent of the action, so that
    1 / d is unbiased too. After :attr:`Cap.budget` tries a last draw is played as it is: its
    density is 1, and d = 1. Each of the two cases is unbiased by itself, and therefore both are.

    beta aims at an integral of q below 1, at which q is flatter than at 1, which is what
    :func:`among` solves for: rejection explores more widely at the same tau and gamma.

    A context that is not certified is played all the same; it may take more tries, and its weights
    are as unbiased.

    Args:
        contexts: (B, ...).
        reference: draws actions.
        losses: predicts their losses.
        cap: settings.
        rng: draws and accepts; one stream, or one a context.

    Raises:
        ValueError: for losses of another shape or out of [0, 1].
    """
    beta = solve_beta(
        _predicted(contexts, reference(contexts, cap.draws, rng), losses),
        cap.tau, cap.gamma, cap.integral,
    )  # fmt: skip
    checked = _predicted(contexts, reference(contexts, cap.draws, rng), losses)
    p = acceptance(checked, beta, cap.gamma)
    sure = certified(cap.tau * p, cap.tau, cap.kappa, cap.alpha)
    actions, chance, tries = _tried(contexts, reference, losses, beta, cap, rng)
    accepted = chance.isfinite()
    log_density = torch.where(accepted, chance.log() - p.mean(1).log(), 0.0)
    return Played(actions, log_density, tries, beta, accepted, sure)


def _tried(
    contexts: Tensor, reference: Reference, losses: Losses, beta: Tensor, cap: Cap, rng: Rng
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first accepted actions, their p, and tries; p is nan where there was none."""
    actions = reference(contexts, 1, rng)[:, 0].clone()
    chance = torch.full((len(contexts),), torch.nan, dtype=torch.float64)
    tries = torch.full((len(contexts),), cap.budget)
    left = torch.arange(len(contexts))
    for done in range(0, cap.budget, AT_ONCE):
        if not len(left):
            break
        streams = rng if len(rng.seeds) == 1 else rng.take(left.numpy())
        drawn = reference(contexts[left], min(AT_ONCE, cap.budget - done), streams)
        p = acceptance(_predicted(contexts[left], drawn, losses), beta[left], cap.gamma)
        yes = streams.uniform(p.shape, torch.float64) < p
        hit, first = yes.any(1), yes.int().argmax(1)
        rows, first = left[hit], first[hit]
        actions[rows], chance[rows] = drawn[hit, first], p[hit, first]
        tries[rows] = done + first + 1
        left = left[~hit]
    return actions, chance, tries


def _predicted(contexts: Tensor, actions: Tensor, losses: Losses) -> Tensor:
    found = losses(contexts, actions)
    if found.shape != actions.shape[:2]:
        raise ValueError(
            f"losses of actions {tuple(actions.shape)} need the shape "
            f"{tuple(actions.shape[:2])}, got {tuple(found.shape)}"
        )
    _check_losses(found)
    return found


def require_shape(tau: float, gamma: float) -> None:
    """Refuse a tau or gamma out of range.

    Raises:
        ValueError: in one sentence.
    """
    if not (1 <= tau < math.inf and 0 < gamma < math.inf):
        raise ValueError(
            f"CappedIGW needs a finite tau >= 1 and a finite gamma > 0, got {tau} and {gamma}"
        )


def _check_losses(losses: Tensor) -> None:
    if losses.ndim != 2 or not losses.shape[1]:
        raise ValueError(
            f"CappedIGW needs losses (B, K) of at least one draw, got {tuple(losses.shape)}"
        )
    if not ((losses >= 0) & (losses <= 1)).all():
        raise ValueError(
            f"CappedIGW needs losses in [0, 1], got {float(losses.min()):g} to "
            f"{float(losses.max()):g}; scale them"
        )
