"""The trained networks of a policy, and how a checkpoint keeps them."""

from dataclasses import asdict, dataclass, field
from typing import Any

from domains.rl.critics.critic import Critic, CriticConfig
from domains.rl.critics.feasible import SafeCritics, SafetyConfig
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
        safety: critics of what is feasible; None where nothing told what is unsafe.
        weak: the behaviour early in its training; None where it was not kept.
    """

    behaviour: NetDenoiser
    normaliser: Normaliser
    critic: Critic | None = None
    energy: EnergyNet | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    safety: SafeCritics | None = None
    weak: NetDenoiser | None = None

    def freeze(self) -> None:
        """Let no network learn any more."""
        for net in (self.behaviour, self.weak, self.critic, self.energy, self.safety):
            if net is not None:
                net.eval().requires_grad_(False)

    def config(self) -> dict[str, Any]:
        """Return what rebuilds the networks, as JSON can hold it."""
        critic = None if self.critic is None else asdict(self.critic.config)
        safety = None if self.safety is None else asdict(self.safety.config)
        return {"model": asdict(self.model), "critic": critic, "safety": safety}

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
        if self.safety is not None:
            parts["safety"] = self.safety.state_dict()
        if self.weak is not None:
            parts["weak"] = self.weak.state_dict()
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
        critic, noisy, safety = None, None, None
        own, weak = (_behaviour(model, sizes, weights.get(k)) for k in ("behaviour", "weak"))
        if own is None:
            raise KeyError("behaviour")
        if "critic" in weights:
            critic = Critic(*sizes, CriticConfig(**_settings(config["critic"])))
            critic.load_state_dict(weights["critic"])
        if "energy" in weights:
            noisy = energy(model, *sizes)
            noisy.load_state_dict(weights["energy"])
        if "safety" in weights:
            safety = SafeCritics(*sizes, SafetyConfig(**_settings(config["safety"])))
            safety.load_state_dict(weights["safety"])
        return cls(own, normaliser, critic, noisy, model, safety, weak)


def _behaviour(
    model: ModelConfig, sizes: tuple[int, int], weights: Weights | None
) -> NetDenoiser | None:
    if weights is None:
        return None
    found = behaviour(model, *sizes, null="net.nothing" in weights)
    found.load_state_dict(weights)
    return found


def _settings(saved: dict[str, Any]) -> dict[str, Any]:
    """Return settings as the configurations hold them: JSON knows no tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
