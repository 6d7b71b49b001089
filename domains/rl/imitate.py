"""Training the behaviour alone: a policy of no values, guided by contrast or not at all."""

from collections.abc import Iterator
from typing import Any

from domains.rl.networks import Networks
from domains.rl.policy import DiffusionPolicy
from domains.rl.train import Progress, Run


class Imitation(Run):
    """The first stage of a run; arguments as there. A whole run in its folder goes on from it."""

    @property
    def networks(self) -> Networks:
        """What the run made so far."""
        return Networks(self.behaviour, self.normaliser, model=self.config.model, weak=self.weak)

    def policy(self, **sampling: Any) -> DiffusionPolicy:
        """Return the policy of the network as it is now; arguments of :class:`Sampling`."""
        return super().policy(**{"scale": 0.0, **sampling})

    def found(self) -> str:
        """Return what there is for guidance."""
        known = "states and no state" if self.config.contrast.drop else "states alone"
        return f"the behaviour, given {known}{', and as it was early' if self.weak else ''}"

    def stages(self) -> Iterator[Progress]:
        """Train the behaviour, yielding where the run is.

        Raises:
            CheckpointError: if the folder holds a run of other data or settings.
        """
        self.claim()
        yield from self.train_behaviour()
