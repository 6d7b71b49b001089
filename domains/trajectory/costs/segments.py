"""Distances from points to lines and areas, with gradients.

The nearest segment is searched without a graph; the distance to it is differentiable. A distance
to the nearest of many segments has the gradient of that one, so nothing is lost, and the memory of
a backward pass does not grow with the map.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from domains.trajectory.costs.motion import length

BLOCK = 1 << 15  # pairs of a point and a segment that are looked at in one go, in the cache
ALL = slice(None)


@dataclass(frozen=True)
class Segments:
    """S straight pieces of lines or of the outlines of areas.

    Args:
        starts: (S, 2).
        steps: (S, 2), from start to end.
        low: (S,), how far a piece goes back, in its lengths; 0, or -inf if it has no start.
        high: (S,), how far it goes ahead; 1, or inf if it has no end.
        last: (G,), the index of the last piece of every area's outline; G is 0 for lines.
    """

    starts: Tensor
    steps: Tensor
    low: Tensor
    high: Tensor
    last: Tensor

    def nearest(self, points: Tensor) -> Tensor:
        """Return the index (...) of the piece that is nearest to points (..., 2)."""
        flat = points.detach().reshape(-1, 2)
        found = [self._squares(part[:, None]).argmin(-1) for part in self._cut(flat)]
        return torch.cat(found).reshape(points.shape[:-1])

    def distance(self, points: Tensor, nearest: Tensor | None = None) -> Tensor:
        """Return the distances (...) of points (..., 2) to the nearest piece, differentiable.

        Args:
            points: metres, in the coordinates of the segments.
            nearest: what :meth:`nearest` returned for them, if known.
        """
        index = self.nearest(points) if nearest is None else nearest
        return length(self._offsets(points, index))

    def outside(self, points: Tensor) -> Tensor:
        """Return the distances (...) to the union of the areas, 0 inside, differentiable."""
        inside = self.inside(points)
        nearest = torch.zeros_like(inside, dtype=torch.long)
        nearest[~inside] = self.nearest(points[~inside])
        return self.distance(points, nearest).masked_fill(inside, 0.0)

    def inside(self, points: Tensor) -> Tensor:
        """Return whether points (..., 2) lie in one of the areas, by the even-odd rule."""
        flat = points.detach().reshape(-1, 2)
        found = [self._inside(part[:, None]) for part in self._cut(flat)]
        return torch.cat(found).reshape(points.shape[:-1])

    def _inside(self, points: Tensor) -> Tensor:
        (x, y), (ax, ay), (dx, dy) = (part.unbind(-1) for part in self._like(points))
        spans = (ay > y) != (ay + dy > y)
        left = x < ax + (y - ay) * (dx / torch.where(dy == 0, 1.0, dy))
        crossings = (spans & left).cumsum(-1)[:, self.last.to(points.device)]
        return (crossings.diff(dim=-1, prepend=torch.zeros_like(crossings[:, :1])) % 2 == 1).any(-1)

    def _squares(self, points: Tensor) -> Tensor:
        """Return the squared distances (n, S) of points (n, 1, 2), by components, for speed."""
        (x, y), (ax, ay), (dx, dy) = (part.unbind(-1) for part in self._like(points))
        gx, gy, square = x - ax, y - ay, dx * dx + dy * dy
        share = self._clamped(gx * (dx / square) + gy * (dy / square))
        return (gx - share * dx).square() + (gy - share * dy).square()

    def _offsets(self, points: Tensor, index: Tensor) -> Tensor:
        """Return the vectors to points (..., 2) from the nearest point of the piece at index."""
        starts, steps = self.starts.to(points)[index], self.steps.to(points)[index]
        gaps = points - starts
        share = self._clamped((gaps * steps).sum(-1) / steps.square().sum(-1), index)
        return gaps - share[..., None] * steps

    def _clamped(self, share: Tensor, index: Tensor | slice = ALL) -> Tensor:
        low, high = self.low.to(share)[index], self.high.to(share)[index]
        return torch.minimum(torch.maximum(share, low), high)

    def _like(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return points, self.starts.to(points), self.steps.to(points)

    def _cut(self, points: Tensor) -> Sequence[Tensor]:
        return points.split(max(1, BLOCK // len(self.starts)))


def line(points: Tensor, endless: bool = False) -> Segments:
    """Return the pieces of a line (n, 2), which may go on straight at both ends.

    Raises:
        ValueError: for a line without length.
    """
    starts, steps = _pieces(points, "a line needs two different points")
    low, high = torch.zeros(len(starts)).to(starts), torch.ones(len(starts)).to(starts)
    if endless:
        low[0], high[-1] = -torch.inf, torch.inf
    return Segments(starts, steps, low, high, torch.zeros(0))


def polygons(outlines: Sequence[Tensor]) -> Segments:
    """Return the outlines (n, 2) of areas, each closed by its first point.

    Raises:
        ValueError: for an outline of less than three different corners in a row.
    """
    need = "an area needs three different corners"
    found = [_pieces(torch.cat([o, o[:1]]), need, least=3) for o in outlines]
    starts, steps = (torch.cat(parts) for parts in zip(*found, strict=True))
    last = torch.tensor([len(part) for part, _ in found]).cumsum(0) - 1
    low, high = torch.zeros(len(starts)), torch.ones(len(starts))
    return Segments(starts, steps, low, high, last)


def _pieces(points: Tensor, need: str, least: int = 1) -> tuple[Tensor, Tensor]:
    steps = points.diff(dim=0)
    moves = steps.abs().sum(-1) > 0
    if points.ndim != 2 or int(moves.sum()) < least:
        raise ValueError(f"{need}, got {points.tolist()} metres from the origin")
    return points[:-1][moves], steps[moves]
