"""A diffusion policy: observations in, actions out, whatever guides it in between."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.rl.critics.critic import Critic, CriticConfig
from domains.rl.data.flatten import Shapes, flatten
from domains.rl.data.normalise import Normaliser
from domains.rl.model import ModelConfig, behaviour, energy, times
from guided.checkpoint import CheckpointError, Weights, load, save
from guided.denoiser import Denoiser, NetDenoiser
from guided.energy import Energy
from guided.guidance import CEP, BestOfN, EnergyNet, HoistedEnergy
from guided.hoist import HoistedDenoiser
from guided.rng import Rng
from guided.sampler import Sampler
from guided.samplers import DPMpp2M

Stack = Callable[["DiffusionPolicy"], Sampler | BestOfN]

SHIPPED = Path(__file__).parent / "weights" / "umaze"
FIXED_SEED = 0  # of the noise that a deterministic action starts from


@dataclass(frozen=True)
class Networks:
    """What training made, frozen.

    Args:
        behaviour: denoiser of the data's actions.
        normaliser: of states and actions.
        critic: values of actions; None where no value was learned.
        energy: of noisy actions; None for a policy without CEP.
        model: the architecture of both.
    """

    behaviour: NetDenoiser
    normaliser: Normaliser
    critic: Critic | None = None
    energy: EnergyNet | None = None
    model: ModelConfig = field(default_factory=ModelConfig)


@dataclass(frozen=True)
class Sampling:
    """How actions are drawn."""

    steps: int = 15
    """Network calls of an action."""
    scale: float = 1.0
    """Of the guidance by the energy; 0 is the behaviour."""
    candidates: int = 1
    """Actions drawn, of which the critic picks the best."""


class CriticEnergy(Energy):
    """E = -Q of scaled actions (B, A), for a cond with the entry ``state`` (B, S)."""

    differentiable = True

    def __init__(self, critic: Critic) -> None:
        self.critic = critic

    def __call__(self, x0: Tensor, cond: Any = None) -> Tensor:
        """Return -Q(s, a), shape (B,)."""
        return -self.critic.q(cond["state"], x0)


def standard_stack(
    policy: "DiffusionPolicy", scale: float | Tensor | None = None
) -> Sampler | BestOfN:
    """Return CEP at a scale, then the best of the policy's candidates by Q; either may be off.

    Args:
        policy: whose networks and ``sampling`` are used.
        scale: a number or one per observation (N,); None is that of ``sampling``.

    Raises:
        ValueError: where a network that is asked for was not trained.
    """
    scale = policy.sampling.scale if scale is None else scale
    denoiser: Denoiser = policy.denoiser
    if isinstance(scale, Tensor) or scale != 0:
        if policy.energy is None:
            raise ValueError("this policy has no energy; train one, or give scale=0")
        denoiser = CEP(denoiser, policy.energy, scale)
    sampler = DPMpp2M(denoiser)
    if policy.sampling.candidates == 1:
        return sampler
    if policy.networks.critic is None:
        raise ValueError("this policy has no critic to pick by; train one, or give candidates=1")
    return BestOfN(sampler, CriticEnergy(policy.networks.critic), policy.sampling.candidates)


class DiffusionPolicy:
    """Acts in an environment by sampling actions from a guided diffusion model.

    Args:
        networks: trained; frozen from here on.
        sampling: how actions are drawn.
        stack: maps this policy to the sampler to use; it finds ``denoiser``, ``energy``,
            ``networks.critic`` and ``sampling`` here. None: CEP and best-of-n as ``sampling`` says.
        keys: entries of a dict observation, as in the data.
        shapes: of the observation's entries, as in the data.
        environment: the Gymnasium specification of the data, as JSON.
        about: facts that travel with the policy, such as ``data``, the name of its data, and
            ``reference``, the returns that count as 0 and 1.
        seed: of the policy's own stream, which draws where ``act`` is given no randomness.

    Attributes:
        denoiser: the behaviour with embeddings hoisted; its cond is a dict with ``behaviour``,
            ``energy`` (embedded states) and ``state`` (normalised, (B, S)).
        energy: the energy, hoisted likewise; None if there is none.
    """

    def __init__(
        self,
        networks: Networks,
        sampling: Sampling | None = None,
        *,
        stack: Stack | None = None,
        keys: Sequence[str] | None = None,
        shapes: Shapes | None = None,
        environment: str | None = None,
        about: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.networks = networks
        self.sampling = sampling or Sampling()
        self.keys = tuple(keys) if keys is not None else None
        self.shapes = tuple(map(tuple, shapes)) if shapes is not None else None
        self.environment = environment
        self.about = dict(about or {})
        self.times = times(self.sampling.steps)
        for net in (networks.behaviour, networks.critic, networks.energy):
            if net is not None:
                net.eval().requires_grad_(False)
        self.denoiser = HoistedDenoiser(networks.behaviour, self.times, "behaviour")
        self.energy: HoistedEnergy | None = None
        if networks.energy is not None:
            self.energy = HoistedEnergy(networks.energy, self.times, "energy")
        self.rng = Rng(seed)
        self.stack = stack
        self._sampler = (stack or standard_stack)(self)

    def act(
        self,
        obs: Any,
        *,
        deterministic: bool = False,
        seed: int | None = None,
        rng: Rng | None = None,
        scale: float | NDArray[np.floating] | None = None,
    ) -> NDArray[np.float32]:
        """Return actions in the environment's units.

        Args:
            obs: one observation, or N in a batch: an array (S,) or (N, S), or a dict of them.
            deterministic: start from fixed noise, so that equal observations get equal actions.
            seed: of this call's noise; None goes on with the policy's own stream.
            rng: as ``seed``, but a stream that goes on, or one per row; it comes before ``seed``.
            scale: of the guidance, a number or one per row, in place of the policy's own.

        Returns:
            Shape (A,), or (N, A).

        Raises:
            ValueError: for an observation of another shape, or a scale for a stack of one's own.
        """
        flat, single = self.observed(obs)
        if deterministic:
            rng = Rng([FIXED_SEED] * len(flat))
        elif rng is None:
            rng = self.rng if seed is None else Rng(seed)
        # A stack of one's own may differentiate, which this mode forbids for good.
        with torch.inference_mode(self.stack is None):
            x0 = self.sample(torch.from_numpy(flat), rng, scale)
        actions = self.networks.normaliser.actions_back(x0).numpy()
        return actions[0] if single else actions

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.float32], Any]:
        """Return the action and the given state: the interface of stable-baselines3."""
        return self.act(observation, deterministic=deterministic), state

    @torch.no_grad()
    def sample(
        self, states: Tensor, rng: Rng, scale: float | NDArray[np.floating] | None = None
    ) -> Tensor:
        """Return scaled actions (N, A) in [-1, 1] for raw flat states (N, S); see :meth:`act`."""
        state = self.networks.normaliser.states(states)
        cond = {"state": state, "behaviour": self.denoiser.embed(state)}
        if self.energy is not None:
            cond["energy"] = self.energy.embed(state)
        noise = rng.normal((len(state), len(self.networks.normaliser.low)))
        start = self.denoiser.schedule.level(self.times[0]).sigma * noise
        sampler = self._sampler if scale is None else self._scaled(scale)
        return sampler.sample(start, self.times, cond, rng=rng).clamp(-1, 1)

    def _scaled(self, scale: float | NDArray[np.floating]) -> Sampler | BestOfN:
        if self.stack is not None:
            raise ValueError("this policy has a stack of its own, which alone knows its scale")
        own = torch.from_numpy(scale).float() if isinstance(scale, np.ndarray) else float(scale)
        return standard_stack(self, own)

    @property
    def discount(self) -> float:
        """The critic's discount of a step; 1 without a critic."""
        critic = self.networks.critic
        return 1.0 if critic is None else critic.config.gamma

    def flat(self, obs: Any) -> NDArray[np.float32]:
        """Return observations as vectors (..., S), as the networks see them, not normalised."""
        return flatten(obs, len(self.networks.normaliser.mean), self.keys, self.shapes)

    def observed(self, obs: Any) -> tuple[NDArray[np.float32], bool]:
        """Return observations as (N, S), and whether it was a single one.

        Raises:
            ValueError: for another number of entries than the policy was trained on.
        """
        flat = self.flat(obs)
        if flat.ndim > 2:
            raise ValueError(
                f"a policy acts on one observation or a batch of them, got axes {flat.shape[:-1]}"
            )
        return flat.reshape(-1, flat.shape[-1]), flat.ndim == 1

    def guided(self, stack: Stack | None = None, **sampling: Any) -> "DiffusionPolicy":
        """Return a policy of the same networks with another stack or other ``sampling`` fields."""
        return DiffusionPolicy(
            self.networks,
            replace(self.sampling, **sampling),
            stack=stack,
            keys=self.keys,
            shapes=self.shapes,
            environment=self.environment,
            about=self.about,
        )

    def save(self, folder: Path) -> None:
        """Write networks and settings to a folder (a stack of one's own is code: not saved)."""
        nets = self.networks
        parts: dict[str, Any] = {
            "behaviour": nets.behaviour.state_dict(),
            "normaliser": nets.normaliser.tensors(),
        }
        config: dict[str, Any] = {
            "model": asdict(nets.model),
            "critic": None,
            "sampling": asdict(self.sampling),
            "keys": self.keys,
            "shapes": self.shapes,
            "environment": self.environment,
            "about": self.about,
        }
        if nets.critic is not None:
            config["critic"] = asdict(nets.critic.config)
            parts["critic"] = nets.critic.state_dict()
        if nets.energy is not None:
            parts["energy"] = nets.energy.state_dict()
        save(folder, config, **parts)

    @classmethod
    def load(
        cls, folder: Path, stack: Stack | None = None, seed: int = 0, **sampling: Any
    ) -> "DiffusionPolicy":
        """Read what :meth:`save` wrote.

        Args:
            folder: of the checkpoint.
            stack: as in the class.
            seed: as in the class.
            sampling: fields of :class:`Sampling` that replace the saved ones.

        Raises:
            CheckpointError: for a missing, truncated or foreign checkpoint.
        """
        config, weights = load(folder)
        if not {"model", "sampling", "keys", "shapes", "environment"} <= config.keys():
            raise CheckpointError(f"{folder} holds no diffusion policy; train one with guided-rl")
        try:
            networks = _networks(config, weights)
        except (RuntimeError, KeyError, TypeError) as error:
            reason = str(error).split("\n")[-1].strip()
            raise CheckpointError(
                f"{folder} holds a policy of other networks ({reason}); train it again"
            ) from None
        return cls(
            networks,
            replace(Sampling(**config["sampling"]), **sampling),
            stack=stack,
            keys=config["keys"],
            shapes=config["shapes"],
            environment=config["environment"],
            about=config["about"],
            seed=seed,
        )


def _networks(config: dict[str, Any], weights: dict[str, Weights]) -> Networks:
    normaliser = Normaliser.from_tensors(weights["normaliser"])
    sizes = len(normaliser.mean), len(normaliser.low)
    model = ModelConfig(**config["model"])
    own, critic, noisy = behaviour(model, *sizes), None, None
    own.load_state_dict(weights["behaviour"])
    if "critic" in weights:
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in config["critic"].items()
        }
        critic = Critic(*sizes, CriticConfig(**fields))
        critic.load_state_dict(weights["critic"])
    if "energy" in weights:
        noisy = energy(model, *sizes)
        noisy.load_state_dict(weights["energy"])
    return Networks(own, normaliser, critic, noisy, model)
