"""Training a guided policy in four resumable stages: behaviour, support actions, critic, energy."""

from collections.abc import Callable, Generator, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from domains.rl.contrast import Contrasts
from domains.rl.critics.critic import Critic, CriticConfig
from domains.rl.critics.targets import Targets, targets
from domains.rl.data.identity import facts, identity
from domains.rl.data.normalise import Normaliser
from domains.rl.data.offline import OfflineData
from domains.rl.model import ModelConfig, behaviour, energy
from domains.rl.networks import Networks
from domains.rl.policy import DiffusionPolicy, Sampling
from domains.rl.support import read_support, support_actions
from guided.checkpoint import Weights
from guided.denoiser import NetDenoiser
from guided.guidance.denoise.cep import Target, cep_loss
from guided.resume import claim
from guided.rng import Rng, initial_weights, stream_seed
from guided.train import TrainConfig, TrainState, train


def loop_of(**changes: Any) -> Callable[[], TrainConfig]:
    """Return what makes the loops of this domain, with some fields changed."""
    settings: dict[str, Any] = {"lr": 1e-3, "weight_decay": 0.0, "clip": 10.0, "log_every": 100}
    return lambda: TrainConfig(**{**settings, "save_every": 2_000, "ema": 0.995, **changes})


@dataclass(frozen=True)
class PolicyTraining:
    """Everything a training run depends on, but the data."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """The architecture."""
    contrast: Contrasts = field(default_factory=Contrasts)
    """What the behaviour's training does for cfg and autoguidance."""
    critic: CriticConfig = field(default_factory=CriticConfig)
    """How values are learned."""
    behaviour_loop: TrainConfig = field(default_factory=loop_of(steps=10_000, batch=256))
    """The optimisation of the behaviour's denoiser."""
    critic_loop: TrainConfig = field(default_factory=loop_of(steps=15_000, batch=256))
    """The optimisation of the critic."""
    energy_loop: TrainConfig = field(default_factory=loop_of(steps=5_000, batch=256))
    """The optimisation of the energy."""
    support: int = 8
    """Actions drawn from the behaviour for every state: the K of the contrast."""
    support_steps: int = 10
    """Network calls to draw a support action."""
    beta: float = 3.0
    """Inverse temperature of the energy, E = -beta Q / spread of Q within a state; the scale of the
    guidance multiplies its effect."""
    target: Target = "self"
    """What the energy learns by: ``self``, as the paper's code, biased at small support; ``raw``,
    unbiased, contrasts half of the support; ``mse`` and ``emse``, regressions, to compare."""
    seed: int = 0
    """Of everything random; ``guided-rl train`` sets that of the three loops to it."""

    def __post_init__(self) -> None:
        least = 4 if self.target == "raw" else 2
        if self.support < least or self.support_steps < 1 or not 0 < self.beta < inf:
            raise ValueError(
                f"training needs support >= {least} (to contrast actions), support_steps >= 1 and "
                f"a finite beta > 0, got {self.support}, {self.support_steps} and {self.beta}"
            )


class Progress(NamedTuple):
    """Where a run is: stage, how much of it is done, last loss and averaged weights."""

    stage: str
    done: int
    of: int
    loss: float | None = None
    weights: Weights | None = None


class Scaled(NamedTuple):
    """What the networks see of the data: normalised states (N + E, S), scaled actions (N, A)."""

    states: Tensor
    actions: Tensor
    at: Tensor


class Run:
    """One training run in a folder; iterate over :meth:`stages`, then take :attr:`networks`.

    Args:
        data: logged episodes.
        config: how to train.
        folder: of the run; what is found there is continued.
    """

    def __init__(self, data: OfflineData, config: PolicyTraining, folder: Path) -> None:
        self.data, self.config, self.folder = data, config, folder
        self.normaliser = Normaliser.of(data)
        self.scaled = Scaled(
            self.normaliser.states(data.states),
            self.normaliser.actions(data.actions),
            data.at,
        )
        sizes = data.states.shape[1], data.actions.shape[1]
        with initial_weights(stream_seed(config.seed)):
            self.behaviour = behaviour(config.model, *sizes, null=config.contrast.drop > 0)
            self.critic = Critic(*sizes, config.critic)
            self.energy = energy(config.model, *sizes)
        self.weak: NetDenoiser | None = None

    @property
    def networks(self) -> Networks:
        """What the run made so far."""
        model = self.config.model
        trained = self.behaviour, self.normaliser, self.critic, self.energy
        return Networks(*trained, model, weak=self.weak)

    def policy(self, **sampling: Any) -> DiffusionPolicy:
        """Return the policy of the networks as they are now; arguments of :class:`Sampling`."""
        data = self.data
        return DiffusionPolicy(
            self.networks,
            Sampling(**sampling),
            keys=data.keys,
            shapes=data.shapes,
            environment=data.environment,
            about=facts(data),
        )

    def found(self) -> str:
        """Return a fact about the critic that tells whether it learned anything."""
        return f"spread of Q within a state {self.critic.spread:.4g}"

    def stages(self) -> Iterator[Progress]:
        """Train all stages in turn, yielding where the run is.

        Raises:
            CheckpointError: if the folder holds a run of other data or settings.
        """
        self.claim()
        yield from self.train_behaviour()
        support = yield from self.draw_support()
        yield from self.train_critic(support)
        yield from self.train_energy(support)

    def claim(self) -> None:
        """Refuse a folder of another run, whose finished stages would be taken for this one's.

        Raises:
            CheckpointError: if the folder holds a run of other data or settings.
        """
        claim(self.folder / "training.json", {**identity(self.data), **asdict(self.config)})

    def train_behaviour(self) -> Iterator[Progress]:
        """Fit the denoiser to the data's actions; keep how it was early, if a snapshot is taken."""
        data, how = self.scaled, self.config.contrast
        loop = how.loop(self.config.behaviour_loop)

        def batch(_: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            i = torch.randint(len(data.actions), (loop.batch,), generator=generator)
            return data.actions[i], how.hidden(data.states[data.at[i]], generator)

        loss = self.behaviour.loss
        early = yield from staged("behaviour", self.behaviour, batch, loop, self.folder, loss)
        if early is not None:
            self.weak = deepcopy(self.behaviour)
            self.weak.load_state_dict(early)

    def draw_support(self) -> Generator[Progress, None, Tensor]:
        """Draw actions from the behaviour for every state once; return them, (N + E, K, A)."""
        path, count = self.folder / "support.safetensors", self.config.support
        states = self.scaled.states
        if path.exists():
            drawn = read_support(path)
            yield Progress("support", len(states), len(states))
            return drawn
        parts = []
        seed = stream_seed(self.config.seed, 1)
        dim, steps = self.scaled.actions.shape[1], self.config.support_steps
        for done, part in support_actions(self.behaviour, states, dim, count, steps, seed):
            parts.append(part)
            yield Progress("support", done, len(states))
        drawn = torch.cat(parts)
        save_file({"actions": drawn}, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
        return drawn

    def train_critic(self, support: Tensor) -> Iterator[Progress]:
        """Learn values: first of Monte-Carlo returns, then by the critic's own rule."""
        data, loop, how = self.scaled, self.config.critic_loop, self.config.critic
        warm = targets(self.data, how.gamma, None)
        late = targets(self.data, how.gamma, how.n_step)
        turn = round(how.warm_up * loop.steps)

        def batch(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
            i = torch.randint(len(data.actions), (loop.batch,), generator=generator)
            own = critic_batch(data, warm if step < turn else late, i, support)
            return data.actions[i], own

        yield from staged("critic", self.critic, batch, loop, self.folder, self.critic.loss)

    def train_energy(self, support: Tensor) -> Iterator[Progress]:
        """Learn the energy of noisy actions by contrast between support actions."""
        states, loop = self.scaled.states, self.config.energy_loop
        support, energies = self.contrast(support)

        def batch(_: int, generator: torch.Generator) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            i = torch.randint(len(states), (loop.batch,), generator=generator)
            return support[i], (energies[i], states[i])

        def loss(x0: Tensor, pair: tuple[Tensor, Tensor], rng: Rng) -> Tensor:
            return cep_loss(self.energy, x0, pair[0], pair[1], rng, self.config.target)

        yield from staged("energy", self.energy, batch, loop, self.folder, loss)

    @torch.no_grad()
    def contrast(self, support: Tensor) -> tuple[Tensor, Tensor]:
        """Return the actions to contrast, (N + E, K, A), and E = -beta (Q - mean Q) / spread.

        The mean keeps exp(-E) of all states alike, which changes no target but for ``raw``, whose
        weights must not depend on the samples they weigh: there half of the support gives the
        mean, and the other half is contrasted.
        """
        parts = zip(self.scaled.states.split(4096), support.split(4096), strict=True)
        q = torch.cat([self.critic.q(states, actions) for states, actions in parts])
        self.critic.spread.copy_(q.std(1).mean())
        base, first = q, 0
        if self.config.target == "raw":
            first = support.shape[1] // 2
            base = q[:, :first]
        advantage = q[:, first:] - base.mean(1, keepdim=True)
        return support[:, first:], -self.config.beta / self.critic.spread.clamp(1e-6) * advantage


def staged(
    stage: str, module: nn.Module, batch: Any, loop: TrainConfig, folder: Path, loss: Any
) -> Generator[Progress, None, Weights | None]:
    """Train a module in a folder of its own; leave it with the averaged weights.

    Returns:
        The averaged weights of the loop's snapshot; None where it takes none.
    """
    state: TrainState | None = None
    for state in train(module, batch, loop, folder / stage, loss):
        yield Progress(stage, state.step, loop.steps, state.loss, state.ema)
    assert state is not None
    module.load_state_dict(state.ema)
    module.eval()
    return state.weak


def critic_batch(data: Scaled, own: Targets, i: Tensor, support: Tensor) -> dict[str, Tensor]:
    """Return the batch of transitions ``i`` as :meth:`Critic.loss` reads it."""
    reached = own.reached[i]
    return {
        "state": data.states[data.at[i]],
        "reward": own.rewards[i],
        "discount": own.discounts[i],
        "reached": data.states[reached],
        "support": support[reached],
    }
