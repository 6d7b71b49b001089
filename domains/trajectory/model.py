r"""The predictor: encoder, marginal modes and joint denoiser behind the core's contract.

Agents' futures are latents x in their own frames. With the optimal Gaussian prior (OGD) every agent
has its own mean and deviation, from its marginal modes, and diffusion runs in
:math:`u = (x - \mu) / s`, where the prior is a standard normal law at every level: a run may start
at any T. With the vanilla prior :math:`\mu = 0, s = 1` for all, and a run starts in pure noise.

Source: Wang et al. 2024, Optimizing diffusion models for joint trajectory prediction and
    controllable generation, section 3.2.
Differs: whitened coordinates, which make the moment match exact at every level; see
    :mod:`guided.prior`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from domains.trajectory.batch import Inputs, Targets, Window
from domains.trajectory.frames import to_local
from domains.trajectory.latents import Latents
from domains.trajectory.network.encoder import Encoder, Encoding
from domains.trajectory.network.joint import JointNet
from domains.trajectory.network.modes import ModeHead, Modes, mode_loss, moments
from domains.trajectory.scene import KINDS
from guided.checkpoint import CheckpointError, load, save
from guided.denoiser import NetDenoiser
from guided.rng import Rng
from guided.schedule import Schedule, VPLinear
from guided.snapshot import groups

SHIPPED = Path(__file__).parent / "weights" / "base"
Prior = Literal["ogd", "vanilla"]
# The first ends at alpha^2 = 0.08, as OptTrajDiff's 100 steps of beta = 1e-4 ... 0.05 do.
SCHEDULES: dict[Prior, Schedule] = {"ogd": VPLinear(0.01, 5.0), "vanilla": VPLinear(0.1, 20.0)}


@dataclass(frozen=True)
class ModelConfig:
    """The architecture; saved with the weights."""

    window: Window = field(default_factory=Window)
    """What the network sees and says."""
    latents: int = 8
    """Principal components of a future."""
    modes: int = 12
    """Marginal futures of an agent."""
    width: int = 64
    """Numbers in a token."""
    heads: int = 4
    """Heads of the attention."""
    layers: int = 2
    """Layers of the encoder, and of the denoiser."""
    prior: Prior = "ogd"
    """Gaussian prior of the diffusion: fitted to the marginal modes, or vanilla for comparison."""
    floor: float = 0.1
    """Least deviation of the prior, in units of the latents over all data."""
    draws: int = 4
    """Noisy samples of a scene in a training step."""

    def __post_init__(self) -> None:
        counts = [self.latents, self.modes, self.width, self.heads, self.layers, self.draws]
        if min(counts) < 1 or not self.floor > 0:
            raise ValueError(
                f"a model needs 1 or more latents, modes, width, heads, layers and draws, and a "
                f"positive floor, got {counts} and {self.floor}"
            )
        if self.width % self.heads or self.width % 2:
            raise ValueError(
                f"the width is even and a multiple of the heads, got {self.width} for "
                f"{self.heads} heads; change one of them"
            )


class Predictor(nn.Module):
    """Everything learned.

    Args:
        config: the architecture.
        kinds: of agents that it is trained on; others are taken for one of these.
    """

    def __init__(self, config: ModelConfig, kinds: Sequence[str] = KINDS) -> None:
        super().__init__()
        self.config, self.kinds = config, tuple(kinds)
        window, width = config.window, config.width
        self.latents = Latents(window.future, config.latents)
        shape = (width, config.heads, config.layers, window.history, window.points)
        self.encoder = Encoder(*shape, maps=window.pieces > 0)
        self.head = ModeHead(width, config.modes, config.latents)
        net = JointNet(width, config.heads, config.layers, config.latents)
        self.joint = NetDenoiser(net, SCHEDULES[config.prior], "v")

    def marginal(self, inputs: Inputs) -> tuple[Encoding, Modes]:
        """Return what the encoder says of the agents, and their marginal modes."""
        encoding = self.encoder(inputs)
        return encoding, self.head(encoding)

    def coordinates(self, modes: Modes) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of the diffusion's coordinates, each (B, A, k)."""
        if self.config.prior == "vanilla":
            return torch.zeros_like(modes.latents[:, :, 0]), torch.ones_like(modes.latents[:, :, 0])
        return moments(modes, self.config.floor)

    def loss(self, targets: Targets, inputs: Inputs, rng: Rng) -> Tensor:
        """Return the loss of every scene (B,), by the agents in it; their mean is per agent."""
        return sum(self.losses(targets, inputs, rng))  # type: ignore[return-value]

    def losses(self, targets: Targets, inputs: Inputs, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the losses of the modes and of the denoiser, each (B,)."""
        encoding, modes = self.marginal(inputs)
        local = to_local(targets.futures, inputs.positions[:, :, -1], inputs.headings[:, :, -1])
        whole = targets.valid.all(-1)
        count = targets.valid.any(-1).sum().clamp(min=1) / len(whole)
        marginal = mode_loss(modes, self.latents, local, targets).sum(1) / count
        fixed = Modes(*(part.detach() for part in modes))
        mean, std = self.coordinates(fixed)
        u0 = torch.where(whole[..., None], (self.latents.encode(local) - mean) / std, 0.0)
        # Whose future is not known whole is not among the noisy tokens that others look at.
        seen = encoding._replace(sees=encoding.sees & whole[:, None])
        net: Any = self.joint.net
        context = net.context(seen, fixed, mean, std)
        draws = self.config.draws
        rows, weight = (part.repeat_interleave(draws, dim=0) for part in (u0, whole))
        each = self.joint.loss(rows, context, rng, weight[..., None].to(rows))
        share = whole.shape[1] * len(whole) / whole.sum().clamp(min=1)
        return marginal, each.reshape(-1, draws).mean(1) * share


def save_model(
    folder: Path,
    config: ModelConfig,
    weights: dict[str, Tensor],
    kinds: Sequence[str] = KINDS,
    weak: dict[str, Tensor] | None = None,
    **about: Any,
) -> None:
    """Write weights in half precision, the latents' whole, and any facts worth keeping.

    Args:
        folder: where to.
        config: the architecture.
        weights: of the model.
        kinds: of agents that it is trained on.
        weak: of an early snapshot of it, for autoguidance; None = none.
        about: anything JSON can hold.
    """
    tensors: dict[str, Any] = groups(_halved(weights), None if weak is None else _halved(weak))
    save(folder, {"model": asdict(config), "kinds": list(kinds), **about}, **tensors)


def _halved(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v if k.startswith("latents.") else v.half() for k, v in weights.items()}


def load_model(folder: Path = SHIPPED) -> Predictor:
    """Return a predictor, ready to sample.

    Raises:
        CheckpointError: for a missing, truncated or foreign checkpoint.
    """
    return load_models(folder)["model"]


def load_models(folder: Path = SHIPPED) -> dict[str, Predictor]:
    """Return the predictor as ``model``, and its early snapshot as ``weak`` if it was kept.

    Raises:
        CheckpointError: for a missing, truncated or foreign checkpoint.
    """
    stored, tensors = load(folder)
    try:
        fields = dict(stored["model"])
        config = ModelConfig(**{**fields, "window": Window(**fields["window"])})
        found = {name: Predictor(config, stored["kinds"]) for name in ("model", *tensors)}
        for name, predictor in found.items():
            predictor.load_state_dict({k: v.float() for k, v in tensors[name].items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder} is no checkpoint of a trajectory predictor ({type(error).__name__}); give "
            f"the folder that guided-trajectory train wrote"
        ) from None
    return {name: one.eval().requires_grad_(False) for name, one in found.items()}
