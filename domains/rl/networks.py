"""The trained networks of a policy, and how a checkpoint keeps them."""

from dataclasses import asdict, dataclass, field
from typing import Any

from domains.rl.critics.critic import Critic, CriticConfig
from domains.rl.data.normalise import Normaliser
from domains.rl.model import ModelConfig, behaviour, energy
from guided.checkpoint import Weights
from guided.denoiser import NetDenoiser
from guided.guidance import EnergyNet


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

    def config(self) -> dict[str, Any]:
        """Return what rebuilds the networks, as JSON can hold it."""
        critic = None if self.critic is None else asdict(self.critic.config)
        return {"model": asdict(self.model), "critic": critic}

    def weights(self) -> dict[str, Any]:
        """Return all tensors by part."""
        parts: dict[str, Weights] = {
            "behaviour": self.behaviour.state_dict(),
            "normaliser": self.normaliser.tensors(),
        }
        if self.critic is not None:
            parts["critic"] = self.critic.state_dict()
        if self.energy is not None:
            parts["energy"] = self.energy.state_dict()
        return parts

    @classmethod
    def rebuilt(cls, config: dict[str, Any], weights: dict[str, Weights]) -> "Networks":
        """Return the networks of :meth:`config` and :meth:`weights`.

        Raises:
            KeyError: for parts that are missing.
            RuntimeError: for weights of other networks.
            TypeError: for settings of other networks.
        """
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
        return cls(own, normaliser, critic, noisy, model)
