"""The networks of a diffusion policy: the behaviour's denoiser and the energy of noisy actions."""

from dataclasses import asdict, dataclass

from guided.denoiser import NetDenoiser
from guided.guidance import EnergyNet
from guided.nets import ResidualMLP, ScalarMLP
from guided.schedule import VPLinear, log_snr

SCHEDULE = VPLinear()
# Ratios of noise to signal between which actions are sampled; they live in [-1, 1].
LEAST_NOISE, MOST_NOISE = 0.02, 80.0


@dataclass(frozen=True)
class ModelConfig:
    """The architecture; saved with the weights."""

    width: int = 128
    """Width of the hidden layers of the behaviour's network."""
    depth: int = 3
    """Number of its residual blocks."""
    energy_width: int = 128
    """Width of the hidden layers of the energy's network."""
    energy_depth: int = 3
    """Number of its hidden layers."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ValueError(f"a model needs {name} >= 1, got {value}")


def behaviour(config: ModelConfig, states: int, actions: int, null: bool = False) -> NetDenoiser:
    """Return an untrained denoiser of scaled actions (B, actions), given states (B, states).

    Args:
        config: the architecture.
        states: numbers in a state.
        actions: numbers in an action.
        null: whether it can learn actions of no state, whose row is NaN.
    """
    net = ResidualMLP(actions, states, config.width, config.depth, null=null)
    return NetDenoiser(net, SCHEDULE, "eps")


def energy(config: ModelConfig, states: int, actions: int) -> EnergyNet:
    """Return an untrained energy of noisy actions, given states."""
    net = ScalarMLP(actions, states, config.energy_width, config.energy_depth)
    return EnergyNet(net, SCHEDULE)


def times(steps: int) -> list[float]:
    """Return the time grid of a sampling run with that many network calls."""
    return log_snr(SCHEDULE, steps, LEAST_NOISE, MOST_NOISE)
