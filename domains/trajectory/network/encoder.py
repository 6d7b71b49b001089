"""What a scene says about each agent: one vector, from its motion, the map and the others."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from domains.trajectory.batch import Inputs
from domains.trajectory.frames import to_local
from domains.trajectory.network.attention import Feed, RelationAttention
from domains.trajectory.network.relations import Poses, RelationEmbedding, relations
from domains.trajectory.polylines import MAP_KINDS
from domains.trajectory.scene import KINDS

FAR = 100.0  # metres beyond which an agent is not seen


class Encoding(NamedTuple):
    """What the heads know of B scenes.

    Args:
        agents: (B, A, width).
        relations: (B, A, A, width), embedded, of agents now; the first axis A receives.
        sees: (B, A, A), who sees whom; nobody sees itself or padding.
    """

    agents: Tensor
    relations: Tensor
    sees: Tensor


class Encoder(nn.Module):
    """Layers of attention to an agent's own past, the map, and the other agents.

    Args:
        width: of everything.
        heads: of the attention.
        layers: how many.
        history: H, steps of history.
        points: L, points of a piece of map.
        maps: whether maps are looked at; a scene without one then still differs from one with an
            encoder that never does.
    """

    def __init__(
        self, width: int, heads: int, layers: int, history: int, points: int, maps: bool = True
    ) -> None:
        super().__init__()
        self.maps = maps
        self.motion = nn.Sequential(
            nn.Linear(5 * history + 1, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.kind = nn.Embedding(len(KINDS), width)
        self.past = nn.Sequential(nn.Linear(4, width), nn.SiLU(), nn.Linear(width, width))
        self.shape = nn.Sequential(nn.Linear(2 * points, width), nn.SiLU(), nn.Linear(width, width))
        self.map_kind = nn.Embedding(len(MAP_KINDS), width)
        self.embed = nn.ModuleDict(
            {name: RelationEmbedding(width) for name in ("past", "map", "agents")}
        )
        self.layers = nn.ModuleList(EncoderLayer(width, heads) for _ in range(layers))

    def forward(self, inputs: Inputs) -> Encoding:
        """Encode B scenes."""
        now = Poses(inputs.positions[:, :, -1], inputs.headings[:, :, -1])
        x = self.motion(self._motion(inputs, now)) + self.kind(inputs.kinds)
        past = self.embed["past"](self._past_relations(inputs, now))
        steps, seen = self.past(self._steps(inputs)), inputs.valid & inputs.agents[..., None]
        pieces, near, shapes = self._map(inputs, now)
        others = relations(_column(now), _row(now))
        sees = self._sees(inputs, now)
        others = self.embed["agents"](others)
        for layer in self.layers:
            road = (pieces, near, shapes) if self.maps else None
            x = layer(x, (past, seen, steps), road, (others, sees))
        return Encoding(x, others, sees)

    def _motion(self, inputs: Inputs, now: Poses) -> Tensor:
        """Return the history in the agent's own frame, flat: (B, A, 5 H + 1)."""
        valid = inputs.valid.to(inputs.positions)[..., None]
        places = to_local(inputs.positions, *now) * valid
        moves = places.diff(dim=2) * valid[:, :, 1:] * valid[:, :, :-1]
        moves = torch.cat([moves[:, :, :1], moves], dim=2)
        dt = inputs.dt[:, None, None].expand(*places.shape[:2], 1)
        speeds = moves / dt[..., None]
        return torch.cat([(places / 5).flatten(2), speeds.flatten(2), valid.flatten(2), dt], dim=-1)

    def _past_relations(self, inputs: Inputs, now: Poses) -> Tensor:
        steps = torch.arange(inputs.positions.shape[2] - 1, -1, -1).to(inputs.dt)
        gap = steps * inputs.dt[:, None, None]
        return relations(_column(now), Poses(inputs.positions, inputs.headings), gap)

    def _steps(self, inputs: Inputs) -> Tensor:
        """Return what an agent did in each step, in its heading of then: (B, A, H, 4)."""
        moves = torch.diff(inputs.positions, dim=2, prepend=inputs.positions[:, :, :1])
        both = inputs.valid & torch.roll(inputs.valid, 1, dims=2)
        moves = moves * both[..., None] / inputs.dt[:, None, None, None]
        speed = moves.square().sum(-1).add(1e-12).sqrt()
        angle = torch.atan2(moves[..., 1], moves[..., 0] + 1e-9) - inputs.headings
        moving = speed / (speed + 0.3)
        parts = [speed / 5, angle.cos() * moving, angle.sin() * moving, both.to(speed)]
        return torch.stack(parts, dim=-1)

    def _map(self, inputs: Inputs, now: Poses) -> tuple[Tensor, Tensor, Tensor]:
        """Return relations to pieces of map, which count, and what shape they have."""
        points = inputs.map_points
        start, end = points[:, :, 0], points[:, :, -1]
        middle = points[:, :, points.shape[2] // 2]
        poses = Poses(middle, torch.atan2(*(end - start + 1e-9).flip(-1).unbind(-1)))
        own = to_local(points, *poses).flatten(2) / 10
        shapes = self.shape(own) + self.map_kind(inputs.map_kinds)
        embedded = self.embed["map"](relations(_column(now), _row(poses)))
        near = (inputs.agents[:, :, None] & inputs.pieces[:, None]).expand(embedded.shape[:3])
        return embedded, near, shapes

    def _sees(self, inputs: Inputs, now: Poses) -> Tensor:
        gaps = (now.positions[:, :, None] - now.positions[:, None]).norm(dim=-1)
        both = inputs.agents[:, :, None] & inputs.agents[:, None]
        own = torch.eye(gaps.shape[-1], dtype=torch.bool, device=gaps.device)
        return both & ~own & (gaps < FAR)


class EncoderLayer(nn.Module):
    """Attention to the past, to the map, to the others, then a perceptron; all residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.past = RelationAttention(width, heads)
        self.map = RelationAttention(width, heads)
        self.agents = RelationAttention(width, heads)
        self.feed = Feed(width)

    def forward(
        self,
        x: Tensor,
        past: tuple[Tensor, Tensor, Tensor],
        pieces: tuple[Tensor, Tensor, Tensor] | None,
        others: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Return the agents (B, A, width), each triple being relations, a mask and contents."""
        x = x[:, None]  # one sample
        for attention, seen in ((self.past, past), (self.map, pieces)):
            if seen is not None:
                related, counts, contents = seen
                x = x + attention(x, attention.fixed(attention.relate(related, counts), contents))
        x = x + self.agents(x, self.agents.relate(*others), x)
        return (x + self.feed(x))[:, 0]


def _column(poses: Poses) -> Poses:
    return Poses(poses.positions[:, :, None], poses.headings[:, :, None])


def _row(poses: Poses) -> Poses:
    return Poses(poses.positions[:, None], poses.headings[:, None])
