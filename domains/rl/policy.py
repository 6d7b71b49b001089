"""A diffusion policy: observations in, actions out, whatever guides it in between."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.rl.contrast import conditions
from domains.rl.data.flatten import Shapes, flatten
from domains.rl.model import times
from domains.rl.networks import Networks
from domains.rl.sampling import Sampling
from domains.rl.stack import Stack, standard_stack
from guided.checkpoint import CheckpointError, load, save
from guided.command import one_line
from guided.cond import repeat
from guided.guidance import BestOfN, HoistedEnergy
from guided.guidance.registry import Named
from guided.hoist import HoistedDenoiser
from guided.rng import Rng
from guided.sampler import Sampler

SHIPPED = Path(__file__).parent / "weights" / "umaze"
FIXED_SEED = 0  # of what a deterministic action still draws, such as other candidates


class DiffusionPolicy:
    """Acts in an environment by sampling actions from a guided diffusion model.

    Args:
        networks: trained; frozen from here on.
        sampling: how actions are drawn.
        named: guidance of the behaviour by contrast, such as ``Named("stg")``; CEP goes around it.
        stack: maps this policy to the sampler to use; it finds ``denoiser``, ``energy``,
            ``networks.critic``, ``named`` and ``sampling`` here. None: ``named``, and CEP and
            best-of-n as ``sampling`` says.
        keys: entries of a dict observation, as in the data.
        shapes: of the observation's entries, as in the data.
        environment: the Gymnasium specification of the data, as JSON.
        about: facts that travel with the policy, such as ``data``, the name of its data, and
            ``reference``, the returns that count as 0 and 1.
        seed: of the policy's own stream, which draws where ``act`` is given no randomness.

    Attributes:
        denoiser: the behaviour with embeddings hoisted; its cond is a dict with ``behaviour``,
            ``energy``, ``weak`` (embedded states) and ``state`` (normalised, (B, S)).
        energy: the energy, hoisted likewise; None if there is none.
        weak: the early behaviour, hoisted likewise; None if it was not kept.
    """

    def __init__(
        self,
        networks: Networks,
        sampling: Sampling | None = None,
        *,
        named: Named | None = None,
        stack: Stack | None = None,
        keys: Sequence[str] | None = None,
        shapes: Shapes | None = None,
        environment: str | None = None,
        about: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.networks = networks
        self.sampling, self.named = sampling or Sampling(), named or Named()
        self.keys = tuple(keys) if keys is not None else None
        self.shapes = tuple(map(tuple, shapes)) if shapes is not None else None
        self.environment = environment
        self.about = dict(about or {})
        self.times = times(self.sampling.steps)
        networks.freeze()
        self.denoiser = HoistedDenoiser(networks.behaviour, self.times, "behaviour")
        self.weak: HoistedDenoiser | None = None
        if networks.weak is not None:
            self.weak = HoistedDenoiser(networks.weak, self.times, "weak")
        self.energy: HoistedEnergy | None = None
        if networks.energy is not None:
            self.energy = HoistedEnergy(networks.energy, self.times, "energy")
        self.seed, self.rng = seed, Rng(seed)
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
            deterministic: start from no noise (other candidates from fixed noise), so that equal
                observations get equal actions.
            seed: of this call's noise; None goes on with the policy's own stream.
            rng: as ``seed``, but a stream that goes on, or one per row; it comes before ``seed``.
            scale: of the guidance, a number or one per row, in place of the policy's own.

        Returns:
            Shape (A,), or (N, A).

        Raises:
            ValueError: for an observation of another shape, or a scale for a stack of one's own.
        """
        flat, single = self.observed(obs)
        start = None
        if deterministic:
            rng = Rng([FIXED_SEED] * max(len(flat), 1))
            start = torch.zeros(len(flat), len(self.networks.normaliser.low))
        elif rng is None:
            rng = self.rng if seed is None else Rng(seed)
        # A stack of one's own may differentiate, which this mode forbids for good.
        with torch.inference_mode(self.stack is None):
            x0 = self.sample(torch.from_numpy(flat), rng, scale, start)
        actions = self.networks.normaliser.actions_back(x0).numpy()
        return actions[0] if single else actions

    def propose(self, obs: Any, n: int, rng: Rng | None = None) -> NDArray[np.float32]:
        """Return n actions for every observation, none picked, (N, n, A), as a shield asks.

        Args:
            obs: N observations; one alone counts as N = 1.
            n: how many.
            rng: one stream, or one per row, of which the row's candidates draw in turn; None goes
                on with the policy's own.
        """
        flat, _ = self.observed(obs)
        rng = rng or self.rng
        if len(rng.seeds) == len(flat):
            rng = rng.take(np.repeat(np.arange(len(flat)), n))
        with torch.inference_mode(self.stack is None):
            x0 = self._single.sample(torch.from_numpy(flat), rng, each=n)
        return self.networks.normaliser.actions_back(x0).unflatten(0, (-1, n)).numpy()

    @cached_property
    def _single(self) -> "DiffusionPolicy":
        """This policy without a choice between candidates, if that is its own."""
        if self.stack is not None or self.sampling.candidates == 1:
            return self
        return self.guided(candidates=1)

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
        self,
        states: Tensor,
        rng: Rng,
        scale: float | NDArray[np.floating] | None = None,
        start: Tensor | None = None,
        each: int = 1,
    ) -> Tensor:
        """Return scaled actions (N * each, A) in [-1, 1] for raw flat states (N, S).

        Args:
            states: what the data call states.
            rng: draws the noise.
            scale: as for :meth:`act`.
            start: noise to start from, (N * each, A), of unit variance; None draws it.
            each: actions of every state, one after the other.
        """
        state = self.networks.normaliser.states(states)
        cond = repeat(conditions(self, state), each)
        if start is None:
            start = rng.normal((len(state) * each, len(self.networks.normaliser.low)))
        noise = self.denoiser.schedule.level(self.times[0]).sigma * start
        sampler = self._sampler if scale is None else self._scaled(scale)
        return sampler.sample(noise, self.times, cond, rng=rng).clamp(-1, 1)

    def _scaled(self, scale: float | NDArray[np.floating]) -> Sampler | BestOfN:
        if self.stack is not None:
            raise ValueError("this policy has a stack of its own, which alone knows its scale")
        own = torch.from_numpy(scale).float() if isinstance(scale, np.ndarray) else float(scale)
        return standard_stack(self, own)

    @property
    def discount(self) -> float:
        """The critic's discount of a step; 1 without a critic."""
        critic = self.networks.critic or self.networks.safety
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

    def guided(
        self, stack: Stack | None = None, named: Named | None = None, **sampling: Any
    ) -> "DiffusionPolicy":
        """Return a policy of the same networks with other guidance or other ``sampling`` fields.

        The seed stays, with its stream from the beginning. A stack of one's own stays too, unless
        another is given (:func:`~domains.rl.stack.standard_stack` goes back to ``sampling``).

        Raises:
            ValueError: for another ``scale``, ``candidates`` or ``named`` of a stack that stays: it
                may not read them. Give the stack too, to say that it does.
        """
        unread = sorted(sampling.keys() & {"scale", "candidates"} | ({"named"} if named else set()))
        if stack is None and self.stack is not None and unread:
            raise ValueError(
                f"this policy has a stack of its own, which may not read {' and '.join(unread)}; "
                f"give the stack as well"
            )
        return DiffusionPolicy(
            self.networks,
            replace(self.sampling, **sampling),
            named=named or self.named,
            stack=stack or self.stack,
            keys=self.keys,
            shapes=self.shapes,
            environment=self.environment,
            about=self.about,
            seed=self.seed,
        )

    def save(self, folder: Path) -> None:
        """Write networks and settings to a folder, not ``named`` or a stack of one's own."""
        config = {
            **self.networks.config(),
            "sampling": asdict(self.sampling),
            "keys": self.keys,
            "shapes": self.shapes,
            "environment": self.environment,
            "about": self.about,
        }
        save(folder, config, **self.networks.weights())

    @classmethod
    def load(
        cls,
        folder: Path = SHIPPED,
        stack: Stack | None = None,
        seed: int = 0,
        named: Named | None = None,
        **sampling: Any,
    ) -> "DiffusionPolicy":
        """Read what :meth:`save` wrote.

        Args:
            folder: of the checkpoint; the shipped maze policy unless told.
            stack: as in the class.
            seed: as in the class.
            named: as in the class; it is not saved.
            sampling: fields of :class:`Sampling` that replace the saved ones.

        Raises:
            CheckpointError: for a missing, truncated or foreign checkpoint.
        """
        config, weights = load(folder)
        if not {"model", "sampling", "keys", "shapes", "environment", "about"} <= config.keys():
            raise CheckpointError(f"{folder} holds no diffusion policy; train one with guided-rl")
        try:
            networks = Networks.rebuilt(config, weights)
            saved = Sampling(**config["sampling"])
        except (RuntimeError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{folder} holds a policy of other networks ({one_line(error)}); train it again"
            ) from None
        return cls(
            networks,
            replace(saved, **sampling),
            named=named,
            stack=stack,
            keys=config["keys"],
            shapes=config["shapes"],
            environment=config["environment"],
            about=config["about"],
            seed=seed,
        )
