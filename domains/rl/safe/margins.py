r"""What counts as a violation: the margin h of every transition, from logged margins or costs.

Conventions:
    h > 0 is a violation. ``now`` is h before a transition and ``next`` h after it; where a state's
    own margin is unknown (data with costs alone), both are what the transition's cost says:
    :math:`M` for a cost above 0, else -1.

The labels' scale matters, as a discount below 1 forgets: h = -1 for k steps and M from then on is
worth :math:`\gamma^k M - (1 - \gamma^k)`, so that the violation counts as one only if

.. math:: M > \gamma^{-k} - 1.

The original's M = 25 with gamma = 0.99 looks 324 steps ahead; with M = 1 it would be 69. M grows
without bounds with the horizon, and critics of targets that large learn nothing: it is at most 25
unless told, and a longer episode asks for a larger gamma.

Source: Zheng et al., 2024, FISOR, section 5 and appendix D, https://arxiv.org/abs/2401.10700.
Differs: M follows from the horizon; margins of states are used as they are.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from domains.rl.data.offline import OfflineData

MOST_LABEL = 25.0


@dataclass(frozen=True)
class Margins:
    """The margins of N transitions.

    Args:
        now: h before the transition, (N,).
        next: h after it, (N,).
        scale: largest label, M; None where the data's own margins are used.
    """

    now: Tensor
    next: Tensor
    scale: float | None = None


def violation_label(horizon: int, gamma: float) -> float:
    r"""Return the least M by which a violation in ``horizon`` steps counts: gamma^-horizon - 1.

    It is at least 1 and at most ``MOST_LABEL``.

    Raises:
        ValueError: for a horizon below 1 or a gamma outside (0, 1].
    """
    if horizon < 1 or not 0 < gamma <= 1:
        raise ValueError(
            f"a label needs a horizon >= 1 and gamma in (0, 1], got {horizon} and {gamma}"
        )
    far = -horizon * math.log(gamma)
    return min(max(math.expm1(min(far, 100.0)), 1.0), MOST_LABEL)


def look_ahead(label: float, gamma: float) -> float:
    """Return how many steps ahead a violation of that label counts; inf without a discount."""
    return math.inf if gamma == 1 else math.log1p(label) / -math.log(gamma)


def margins(
    data: OfflineData,
    label: float | None,
    gamma: float,
    *,
    floor: float | None = None,
    from_costs: bool = False,
    compat: bool = False,
) -> Margins:
    """Return the margins of all transitions.

    Args:
        data: with margins or costs.
        label: h of a transition with a cost, M; None is that of the longest episode under gamma.
            Unused where margins are.
        gamma: discount of the feasibility operator.
        floor: margins below -floor count as -floor; None leaves them.
        from_costs: use costs even where there are margins.
        compat: use the margin after the transition for both, as the original does.

    Raises:
        ValueError: for data with neither, or a label or floor that is not positive.
    """
    if label is None:
        label = violation_label(int(data.lengths.max()), gamma)
    if not label > 0 or (floor is not None and not floor > 0):
        raise ValueError(f"margins need label > 0 and floor > 0, got {label} and {floor}")
    if data.margins is not None and not from_costs:
        h = data.margins if floor is None else data.margins.clamp(min=-floor)
        after = h[data.at + 1]
        return Margins(after if compat else h[data.at], after)
    if data.costs is None:
        raise ValueError(
            f"{data.name} has no costs and no margins, so that nothing tells what is unsafe; "
            f"record it with infos['cost'], or give a file with costs"
        )
    h = (data.costs > 0).to(data.rewards) * (label + 1) - 1
    return Margins(h, h, label)


def notes(data: OfflineData, found: Margins, gamma: float) -> list[str]:
    """Return what is to be said about the margins that safety is learned from.

    Args:
        data: they are of.
        found: them.
        gamma: discount of the feasibility operator.
    """
    said = []
    bad = found.next > 0
    what = "margins" if found.scale is None else "costs"
    if not bad.any() and not (found.now > 0).any():
        said.append(
            f"no {what} of {data.name} tell of a violation: every state counts as feasible, and "
            f"the policy learns nothing about safety"
        )
    elif bad.all():
        said.append(
            f"all {what} of {data.name} tell of violations: no state counts as feasible, and the "
            f"policy can only learn to do less harm"
        )
    longest = int(data.lengths.max())
    if found.scale is not None and (reach := look_ahead(found.scale, gamma)) < longest - 1:
        said.append(
            f"a violation counts from {reach:.0f} steps ahead, and episodes have up to {longest}; "
            f"a larger --fisor.critics.safety-gamma looks further"
        )
    return said
