"""What a data set is made of: a task, and a mixture of behaviours in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from domains.rl.collect.behaviour import Behaviour
from domains.rl.collect.sac import Learned, SacTraining
from domains.rl.collect.spread import Spread


@dataclass(frozen=True)
class Quality:
    """One behaviour of a mixture, and its share of the episodes."""

    name: str
    behaviour: Behaviour
    share: float = 1.0


@dataclass(frozen=True)
class Preset:
    """A task and who acts in it.

    Args:
        environment: Gymnasium id.
        qualities: the mixture; shares need not sum to one.
        best: the behaviour whose mean return counts as 1 in the normalised score.
        steps: default size.
        options: what ``gymnasium.make`` takes besides the id.
        training: of the policy that the places ``Learned`` wait for; None = there are none.
        spread: which of the recorded episodes are kept, by cost and return; None = all.
    """

    environment: str
    qualities: tuple[Quality, ...]
    best: Behaviour
    steps: int
    options: Mapping[str, Any] = field(default_factory=dict)
    training: SacTraining | None = None
    spread: Spread | None = None

    def with_policy(self, policy: Learned) -> "Preset":
        """Return the preset with a trained policy in every place that waits for one."""

        def placed(behaviour: Behaviour) -> Behaviour:
            return policy if isinstance(behaviour, Learned) else behaviour

        qualities = tuple(replace(q, behaviour=placed(q.behaviour)) for q in self.qualities)
        return replace(self, qualities=qualities, best=placed(self.best))
