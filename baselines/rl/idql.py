r"""IDQL: draws from a diffusion model of the behaviour, of which the best by an IQL critic acts.

=========  ======================================================================================
behaviour  a diffusion model of a | s, trained on all of the data
value      :math:`\min_V\; |\tau - 1(u < 0)|\, u^2`, :math:`u = \min_i \bar Q_i(s, a) - V(s)`
critics    squared error of each to :math:`y = r + \gamma (1 - d) V(s')`
policy     :math:`\arg\max_i \min_j \bar Q_j(s, a_i)` over N draws :math:`a_i` of the behaviour
=========  ======================================================================================

Neither network knows of the other, so one behaviour serves any number of critics: here it may be
that of a guided policy. The losses of value and critics are in ``domains.rl.critics.critic``.

Source: Hansen-Estruch, Kostrikov, Janner, Kuba & Levine, 2023, IDQL: Implicit Q-Learning as an
Actor-Critic Method with Diffusion Policies, algorithms 1 and 2, https://arxiv.org/abs/2304.10573.
Differs: the behaviour is drawn by DPM-Solver++ (2M), not by DDPM; see ``transitions.short`` for the
learning rate of the critic.
"""

from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from baselines.rl.nets import check_hidden
from baselines.rl.transitions import Bootstrap, Transitions, fit, short
from domains.rl.critics.critic import Critic, CriticConfig
from domains.rl.data.offline import OfflineData
from domains.rl.networks import Networks
from domains.rl.policy import DiffusionPolicy, Sampling
from domains.rl.train import PolicyTraining, Progress, Run
from guided.rng import initial_weights, stream_seed
from guided.train import TrainConfig


@dataclass(frozen=True)
class IDQLConfig:
    """How to train."""

    candidates: int = 16
    """Draws of which the best acts, N; the comparison tries its own values instead."""
    steps: int = 15
    """Network calls of a draw."""
    expectile: float = 0.9
    """Expectile of the value: 0.5 is the behaviour's mean, 1 the best action seen."""
    tau: float = 0.005
    """Share of the new weights that the slow critics take in a step."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of critics and value."""
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    """The targets of the critics."""
    loop: TrainConfig = field(default_factory=lambda: short(10_000))
    """The optimisation of the critic."""
    seed: int = 0
    """Of the initial weights."""

    def __post_init__(self) -> None:
        if min(self.candidates, self.steps) < 1:
            raise ValueError(
                f"IDQL needs candidates >= 1 and steps >= 1, got {self.candidates} and {self.steps}"
            )
        check_hidden(self.hidden)
        _ = self.rule  # which checks the rest

    @property
    def rule(self) -> CriticConfig:
        """How the critic learns."""
        own = self.bootstrap
        return CriticConfig(
            "expectile",
            gamma=own.gamma,
            n_step=own.n_step,
            warm_up=own.warm_up,
            expectile=self.expectile,
            tau=self.tau,
            hidden=self.hidden,
        )


def train(
    data: OfflineData,
    config: IDQLConfig,
    folder: Path | None = None,
    behaviour: Run | None = None,
) -> Generator[Progress, None, DiffusionPolicy]:
    """Train, and return a policy whose ``candidates`` may be set.

    Args:
        data: logged episodes.
        config: how.
        folder: of the resumable state; None keeps none.
        behaviour: a run whose behaviour is trained; None trains one of the default size first.
    """
    with nullcontext(folder) if folder else TemporaryDirectory() as place:
        run = behaviour
        if run is None:
            run = Run(data, PolicyTraining(seed=config.seed), Path(place))
            yield from run.train_behaviour()
        transitions = Transitions(data, config.bootstrap)
        with initial_weights(stream_seed(config.seed)):
            critic = Critic(*transitions.sizes, config.rule)
        yield from fit("idql", critic, transitions, config.loop, folder and folder / "idql")
    networks = Networks(run.behaviour, run.normaliser, critic, model=run.config.model)
    sampling = Sampling(config.steps, scale=0.0, candidates=config.candidates)
    return DiffusionPolicy(
        networks, sampling, keys=data.keys, shapes=data.shapes, environment=data.environment
    )
