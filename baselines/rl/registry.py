"""All baselines by name: how each is trained, and the one number that is chosen after training."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.rl import bc, diffusion_ql, idql, iql, sfbc, td3_bc
from domains.rl.acting import Policy
from domains.rl.data.offline import OfflineData
from domains.rl.episodes import Episodes
from domains.rl.policy import DiffusionPolicy
from domains.rl.train import Progress, Run

Train = Callable[..., Generator[Progress, None, Any]]


def mean_discounted(games: Episodes) -> float:
    """Return the mean discounted return."""
    return float(games.discounted.mean())


@dataclass(frozen=True)
class Knob:
    """A number that may be chosen after training, on episodes of their own.

    Args:
        name: of it; also of the field of the configuration that it replaces, where there is one.
        values: to choose from; one alone is no choice.
        tuned: maps a policy and a value to the policy with that value.
        merit: of the episodes that a value played; the largest is chosen.
    """

    name: str
    values: tuple[float, ...]
    tuned: Callable[[Any, float], Policy]
    merit: Callable[[Episodes], float] = mean_discounted


@dataclass(frozen=True)
class Baseline:
    """An algorithm.

    Args:
        title: as papers call it.
        config: class of its configuration, whose defaults are meant for minutes on a CPU.
        fit: maps (data, config, folder) to a generator of progress that returns the policy.
        knob: what is chosen after training; None = nothing.
        shares: whether ``fit`` also takes the run whose behaviour model it uses.
        sampling: fields of the configuration that only the drawing of actions depends on, beside
            the one that the knob sets.
    """

    title: str
    config: type[Any]
    fit: Train
    knob: Knob | None = None
    shares: bool = False
    sampling: tuple[str, ...] = ()

    def train(
        self, data: OfflineData, config: Any, folder: Path | None, behaviour: Run | None = None
    ) -> Generator[Progress, None, Any]:
        """Train; a behaviour is passed on to those that use one."""
        own = (behaviour,) if self.shares else ()
        return self.fit(data, config, folder, *own)


def _tuned(policy: Any, setting: float) -> Policy:
    return policy.tuned(setting)


def _candidates(policy: DiffusionPolicy, count: float) -> Policy:
    return policy.guided(candidates=int(count))


_NOISE = Knob("noise", (0.0, 1.0), _tuned)

BASELINES: dict[str, Baseline] = {
    "bc": Baseline("BC", bc.BCConfig, bc.train, _NOISE),
    "td3_bc": Baseline("TD3+BC", td3_bc.TD3BCConfig, td3_bc.train),
    "iql": Baseline("IQL", iql.IQLConfig, iql.train, _NOISE),
    "diffusion_ql": Baseline(
        "Diffusion-QL",
        diffusion_ql.DiffusionQLConfig,
        diffusion_ql.train,
        Knob("candidates", (1, 10), _tuned),
    ),
    "idql": Baseline(
        "IDQL",
        idql.IDQLConfig,
        idql.train,
        Knob("candidates", (4, 16), _candidates),
        shares=True,
        sampling=("steps",),
    ),
    "sfbc": Baseline(
        "SfBC",
        sfbc.SfBCConfig,
        sfbc.train,
        Knob("beta", (1, 3, 10, 30), sfbc.resampled),
        shares=True,
        sampling=("candidates", "steps"),
    ),
}
