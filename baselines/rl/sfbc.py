r"""SfBC: draws from a diffusion model of the behaviour, one of which is drawn again by its Q.

=========  ======================================================================================
behaviour  a diffusion model of a | s, trained on all of the data
critics    squared error of each to :math:`y = r + \gamma (1 - d) V(s')`, where V is the mean of
           :math:`\bar Q(s', a_j)` over draws :math:`a_j` of the behaviour, weighed by their softmax
policy     :math:`a_i` with the probability :math:`\mathrm{softmax}_i(\beta \bar Q(s, a_i))` among
           N draws of the behaviour: self-normalised importance sampling of
           :math:`\pi(a | s) \propto \mu(a | s)\, e^{\beta Q(s, a)}`
=========  ======================================================================================

That pi is what guidance by an exact energy draws from too, so SfBC tells what the guidance of a
sampler buys over many draws without: N must grow as e to the power of the divergence of pi from mu.
The losses of the critics are in ``domains.rl.critics.critic``.

Source: Chen, Lu, Ying, Su & Zhu, 2023, Offline Reinforcement Learning via High-Fidelity Generative
Behavior Modeling, eq. 5-7 and algorithm 1, https://arxiv.org/abs/2209.14548.
Differs: the softmax target of its successor (Lu et al. 2023, https://arxiv.org/abs/2304.12824) in
place of planning over whole trajectories; beta is in units of one over the deviation of Q within a
state; draws are made by DPM-Solver++ (2M).
"""

from collections.abc import Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from domains.rl.critics.critic import CriticConfig
from domains.rl.data.offline import OfflineData
from domains.rl.networks import Networks
from domains.rl.policy import DiffusionPolicy, Sampling
from domains.rl.stack import CriticEnergy
from domains.rl.train import PolicyTraining, Progress, Run
from guided.cond import repeat
from guided.guidance import BestOfN
from guided.guidance.step.scg import choose
from guided.rng import Rng
from guided.sampler import Sampler
from guided.samplers import DPMpp2M
from guided.train import TrainConfig


@dataclass(frozen=True)
class SfBCConfig:
    """How to train."""

    candidates: int = 16
    """Draws of which one is drawn again, N."""
    beta: float = 10.0
    """Inverse temperature, in units of one over the deviation of Q within a state; the comparison
    tries its own values instead."""
    steps: int = 15
    """Network calls of a draw."""
    critic: CriticConfig = field(default_factory=CriticConfig)
    """How values are learned: the guided policy's own way, unless changed."""
    loop: TrainConfig = field(default_factory=lambda: PolicyTraining().critic_loop)
    """The optimisation of the critic."""
    seed: int = 0
    """Of the initial weights."""

    def __post_init__(self) -> None:
        if min(self.candidates, self.steps) < 1 or self.beta < 0:
            raise ValueError(
                f"SfBC needs candidates >= 1, steps >= 1 and beta >= 0, got {self.candidates}, "
                f"{self.steps} and {self.beta}"
            )


class Resample(BestOfN):
    """Runs a sampler n times per request and draws one of the samples by softmax(-E / T).

    Args:
        sampler: any sampler.
        energy: of the clean sample.
        candidates: n.
        temperature: T, positive.
    """

    def __init__(
        self, sampler: Sampler, energy: CriticEnergy, candidates: int, temperature: float
    ) -> None:
        super().__init__(sampler, energy, candidates)
        self.temperature = temperature

    def sample(self, x: Tensor, times: Sequence[float], cond: Any = None, *, rng: Rng) -> Tensor:
        """Return the chosen x_0 (B, ...); of x only the shape counts, all starts are drawn."""
        n = self.candidates
        many, shape = repeat(cond, n), (n * len(x), *x.shape[1:])
        start = self.sampler.initial(shape, times, rng, x.dtype, x.device)
        x0 = self.sampler.sample(start, times, many, rng=rng)
        return x0[choose(self.energy(x0, many), n, self.temperature, rng)]


def resampled(policy: DiffusionPolicy, beta: float) -> DiffusionPolicy:
    """Return a policy of the same networks that draws its candidates again at another beta."""
    critic = policy.networks.critic
    assert critic is not None
    if beta < 0:
        raise ValueError(f"SfBC got beta = {beta}; give 0 (the behaviour) or more")
    temperature = critic.spread.clamp(min=1e-6).item() / max(beta, 1e-9)

    def stack(own: DiffusionPolicy) -> Resample:
        energy = CriticEnergy(critic)
        return Resample(DPMpp2M(own.denoiser), energy, own.sampling.candidates, temperature)

    return policy.guided(stack)


def train(
    data: OfflineData,
    config: SfBCConfig,
    folder: Path | None = None,
    behaviour: Run | None = None,
) -> Generator[Progress, None, DiffusionPolicy]:
    """Train, and return a policy whose beta may be set with :func:`resampled`.

    Args:
        data: logged episodes.
        config: how.
        folder: of the resumable state; None keeps none.
        behaviour: a run whose behaviour is trained, whose support actions serve too; None trains
            one of the default size first.
    """
    with nullcontext(folder) if folder else TemporaryDirectory() as place:
        run = behaviour
        if run is None:
            run = Run(data, PolicyTraining(seed=config.seed), Path(place))
            yield from run.train_behaviour()
        support = yield from run.draw_support()
        how = replace(run.config, critic=config.critic, critic_loop=config.loop, seed=config.seed)
        critics = Run(data, how, Path(place) / "sfbc")
        yield from critics.train_critic(support)
        # Sets the critic's spread, the unit of beta, which the rule "expectile" has no use for.
        critics.contrast(support)
    networks = Networks(run.behaviour, run.normaliser, critics.critic, model=run.config.model)
    sampling = Sampling(config.steps, scale=0.0, candidates=config.candidates)
    policy = DiffusionPolicy(
        networks, sampling, keys=data.keys, shapes=data.shapes, environment=data.environment
    )
    return resampled(policy, config.beta)
