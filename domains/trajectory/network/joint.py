"""The joint denoiser: agents attend to each other's noisy futures; samples never do.

All that does not depend on them, relations, what the scene says, the marginal modes, is a
:class:`Context` that is computed once a scene and serves every sample and every step.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from domains.trajectory.network.attention import Feed, Related, RelationAttention
from domains.trajectory.network.encoder import Encoding
from domains.trajectory.network.modes import Modes
from guided.nets.attention import AttentionControl
from guided.nets.control import Control


class Context(NamedTuple):
    """What the denoiser knows of B scenes, whatever the noise.

    Args:
        agents: (B, 1, A, width).
        others: for every layer, relations between agents.
        modes: for every layer, keys and values of the agents' own modes.
    """

    agents: Tensor
    others: tuple[Related, ...]
    modes: tuple[Related, ...]


class JointNet(nn.Module):
    """Predicts from noisy whitened latents (B S, A, k) at times (B S,) given a context of B scenes.

    Args:
        width: of everything.
        heads: of the attention.
        layers: how many.
        dim: k.
    """

    frequencies: Tensor

    def __init__(self, width: int, heads: int, layers: int, dim: int) -> None:
        super().__init__()
        self.width, self.dim = width, dim
        self.noisy = nn.Linear(dim, width)
        self.own = nn.Linear(width, width)
        self.prior = nn.Sequential(nn.Linear(2 * dim, width), nn.SiLU(), nn.Linear(width, width))
        frequencies = torch.logspace(0.0, 2.0, width // 2) * math.pi / 2
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.mode = nn.Sequential(nn.Linear(3 * dim + 1, width), nn.SiLU(), nn.Linear(width, width))
        self.layers = nn.ModuleList(JointLayer(width, heads) for _ in range(layers))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dim))

    def context(self, encoding: Encoding, modes: Modes, mean: Tensor, std: Tensor) -> Context:
        """Return what does not depend on x_t.

        Args:
            encoding: of the scenes.
            modes: of their agents.
            mean: of the coordinates of x, (B, A, k).
            std: of the coordinates of x, (B, A, k).
        """
        agents = self.own(encoding.agents) + self.prior(torch.cat([mean, std.log()], dim=-1))
        places = (modes.latents - mean[:, :, None]) / std[:, :, None]
        chance = modes.logits.log_softmax(-1)[..., None]
        parts = [places.clamp(-10, 10), modes.latents, (modes.spread / std[:, :, None]), chance]
        tokens = self.mode(torch.cat(parts, dim=-1))
        counts = torch.ones(tokens.shape[:3], dtype=torch.bool, device=tokens.device)
        layers: list[JointLayer] = list(self.layers)  # type: ignore[arg-type]
        return Context(
            agents[:, None],
            tuple(one.others.relate(encoding.relations, encoding.sees) for one in layers),
            tuple(one.modes.relate(tokens, counts) for one in layers),
        )

    def forward(
        self, x: Tensor, time: Tensor, context: Context, control: Control | None = None
    ) -> Tensor:
        """Return the network's output (B S, A, k); the S samples of a scene lie side by side.

        Args:
            x: noisy whitened latents.
            time: of each row.
            context: of the scenes.
            control: what to do to the attention among agents, which blocks to skip, and what to do
                to the embedding of time, in all rows alike; None = nothing.

        Raises:
            TypeError: for a control of stacked branches, whose rows do not lie scene by scene.
            ValueError: for rows that are no multiple of the scenes, another number of agents,
                blocks that do not exist, or a control that wants attention maps.
        """
        if control:
            self._check(control)
        scenes, _, agents, _ = context.agents.shape
        if len(x) % scenes or x.shape[1] != agents:
            raise ValueError(
                f"a context of {scenes} scenes with {agents} agents needs x of ({scenes} S, "
                f"{agents}, {self.dim}), got {tuple(x.shape)}"
            )
        angle = time[:, None] * self.frequencies
        waves = torch.cat([angle.cos(), angle.sin()], dim=-1)
        when = self.time(waves)
        when = (control.embedded(when) if control else when).reshape(scenes, -1, 1, self.width)
        h = self.noisy(x).reshape(scenes, -1, agents, self.width) + context.agents + when
        blocks = zip(self.layers, context.others, context.modes, strict=True)
        for index, (layer, others, modes) in enumerate(blocks):
            here = control.at(index) if control else None
            after = layer(h, when, others, modes, _attention(control, index))
            h = here.kept(h, after) if here else after
        return self.out(h).flatten(0, 1)

    def _check(self, control: Control) -> None:
        if not isinstance(control, Control):
            raise TypeError(
                "a JointNet takes one control for all rows, whose samples lie scene by scene; "
                "BoundDenoiser takes stacked ones apart"
            )
        control.require_layers(len(self.layers), type(self).__name__)
        if control.maps:
            raise ValueError("a JointNet hands out no attention maps; use PAG, which needs none")


def _attention(control: Control | None, layer: int) -> AttentionControl | None:
    own = control.attention if control else None
    return own if own and layer in own.layers else None


class JointLayer(nn.Module):
    """Attention to the agent's own modes, to the others' noisy futures, then a perceptron."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.modes = RelationAttention(width, heads)
        self.others = RelationAttention(width, heads)
        self.feed = Feed(width)

    def forward(
        self,
        h: Tensor,
        when: Tensor,
        others: Related,
        modes: Related,
        control: AttentionControl | None = None,
    ) -> Tensor:
        """Return the tokens (B, S, A, width); a control is of the attention to the others."""
        h = h + self.modes(h + when, modes)
        h = h + self.others(h, others, h, control)
        return h + self.feed(h)
