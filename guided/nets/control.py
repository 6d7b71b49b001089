r"""What a guidance method does inside a network for one call: an explicit argument, no patching.

A network that takes a ``control`` has an attribute ``layers``, the number of its blocks, and asks
the control three things: :meth:`Control.embedded` of its embedding of the noise level,
:meth:`Control.at` for every block, and of that :meth:`Here.attend` and :meth:`Here.kept`.
:class:`Stacked` is the control of a batch whose rows are several branches of one stacked call.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from torch import Tensor

from guided.nets.attention import AttentionControl, attend


@dataclass(frozen=True)
class Skip:
    r"""Blocks that count in part: :math:`h \leftarrow h + \rho\, (f(h) - h)`.

    Args:
        layers: indices of the blocks; empty is neutral.
        keep: rho; 1 is neutral, 0 skips the blocks.

    Raises:
        ValueError: for a share outside [0, 1].
    """

    layers: frozenset[int]
    keep: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.keep <= 1:
            raise ValueError(f"the share of a block that is kept is in [0, 1], got {self.keep}")


@dataclass
class Maps:
    """Receives the attention maps of some layers in a call.

    Args:
        layers: indices of the blocks.
        after: how many rows of the call came before, in earlier chunks of it.

    Attributes:
        found: the maps after softmax, (B, H, T, T), of each layer in the last call.
        grid: how the T tokens lie.
    """

    layers: frozenset[int]
    found: dict[int, Tensor] = field(default_factory=dict)
    grid: tuple[int, ...] = ()
    after: int = 0

    def receive(self, layer: int, maps: Tensor, grid: Sequence[int]) -> None:
        """Keep the maps (B, H, T, T) of a layer, beside those of the rows that came before."""
        before = self.found[layer][: self.after] if self.after else None
        self.found[layer] = maps if before is None else torch.cat([before, maps])
        self.grid = tuple(grid)

    def rows(self, start: int) -> "Maps":
        """Return what receives the maps of a chunk that begins with this row."""
        return replace(self, after=start) if start else self


@dataclass(frozen=True)
class Control:
    """What to do in one call; the default does nothing.

    Args:
        attention: what to do to the attention of some blocks.
        skip: blocks that count in part.
        embedding: maps the embedding of the noise level (B, W), or (B, T, W) where every token has
            its own, to another one.
        maps: receives attention maps.
    """

    attention: AttentionControl | None = None
    skip: Skip | None = None
    embedding: Callable[[Tensor], Tensor] | None = None
    maps: Maps | None = None

    @property
    def layers(self) -> frozenset[int]:
        """Return all blocks that it acts on."""
        parts = (self.attention, self.skip, self.maps)
        return frozenset().union(*(part.layers for part in parts if part))

    def require_layers(self, count: int, network: str) -> None:
        """Refuse blocks that do not exist.

        Raises:
            ValueError: naming those that do.
        """
        if not self.layers <= set(range(count)):
            exist = f"has blocks 0 to {count - 1}" if count else "has none that a control acts on"
            raise ValueError(
                f"the control acts on layers {sorted(self.layers)}, but the {network} {exist}"
            )

    def require_no_attention(self, network: str) -> None:
        """Refuse what acts on attention, for a network that has none.

        Raises:
            ValueError: in words.
        """
        if self.attention or self.maps:
            raise ValueError(
                f"the control acts on attention, but a {network} has none; skip a block of it "
                f"(STG), or perturb its embedding of time (TSG)"
            )

    def at(self, layer: int) -> "Here | None":
        """Return what to do in one block; None = nothing."""
        return Here(self, layer) if layer in self.layers else None

    def embedded(self, embedding: Tensor) -> Tensor:
        """Return the embedding (B, W) of the noise level as the network is to use it."""
        return embedding if self.embedding is None else self.embedding(embedding)

    def rows(self, start: int, stop: int) -> "Control":
        """Return the control of some rows: all have the same, but each has its own maps."""
        return replace(self, maps=self.maps.rows(start)) if self.maps else self

    def unwatched(self) -> "Control | None":
        """Return the control without its maps; None = nothing else is left."""
        if self.maps is None:
            return self
        acts = self.attention or self.skip or self.embedding
        return replace(self, maps=None) if acts else None


@dataclass(frozen=True)
class Here:
    """A control in one block."""

    control: Control
    layer: int

    def attend(self, q: Tensor, k: Tensor, v: Tensor, grid: Sequence[int]) -> Tensor:
        """Return the block's attention (B, H, T, D)."""
        maps, own = self.control.maps, self.control.attention
        if maps and self.layer in maps.layers:
            found = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
            maps.receive(self.layer, found, grid)
            if not (own and self.layer in own.layers):
                return found @ v
        if own and self.layer in own.layers:
            return own.attend(q, k, v, grid)
        return attend(q, k, v)

    def kept(self, before: Tensor, after: Tensor) -> Tensor:
        """Return the block's result: what went in, and as much of what it did as is kept."""
        skip = self.control.skip
        if skip is None or self.layer not in skip.layers:
            return after
        return torch.lerp(before, after, skip.keep) if skip.keep else before


@dataclass(frozen=True)
class Stacked:
    """The control of a batch of branches, one above the other.

    Args:
        parts: the control of each branch; None = none.
        sizes: rows of each branch.
    """

    parts: tuple[Control | None, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, controls: Sequence["Control | Stacked | None"], sizes: Sequence[int]) -> "Stacked":
        """Stack controls, some of which may be stacked already; equal neighbours are one part."""
        parts: list[Control | None] = []
        rows: list[int] = []
        for control, size in zip(controls, sizes, strict=True):
            flat = control if isinstance(control, Stacked) else cls((control,), (size,))
            for part, count in zip(flat.parts, flat.sizes, strict=True):
                if parts and parts[-1] is part:
                    rows[-1] += count
                else:
                    parts.append(part)
                    rows.append(count)
        return cls(tuple(parts), tuple(rows))

    def require_layers(self, count: int, network: str) -> None:
        """Refuse blocks that do not exist."""
        for part in self.parts:
            if part:
                part.require_layers(count, network)

    def require_no_attention(self, network: str) -> None:
        """Refuse what acts on attention, for a network that has none."""
        for part in self.parts:
            if part:
                part.require_no_attention(network)

    def at(self, layer: int) -> "StackedHere | None":
        """Return what to do in one block; None = nothing."""
        here = tuple(part.at(layer) if part else None for part in self.parts)
        return StackedHere(here, self.sizes) if any(here) else None

    def embedded(self, embedding: Tensor) -> Tensor:
        """Return the embeddings (B, W), each part by its own control."""
        if not any(part and part.embedding for part in self.parts):
            return embedding
        own = embedding.split(self.sizes)
        return torch.cat(
            [part.embedded(e) if part else e for part, e in zip(self.parts, own, strict=True)]
        )

    def unwatched(self) -> "Stacked | None":
        """Return the control without maps; None = nothing else is left."""
        parts = tuple(part and part.unwatched() for part in self.parts)
        return replace(self, parts=parts) if any(parts) else None

    def rows(self, start: int, stop: int) -> "Stacked":
        """Return the control of the rows from start to stop."""
        ends = [0]
        for size in self.sizes:
            ends.append(ends[-1] + size)
        held: list[tuple[Control | None, int]] = []
        for part, (first, end) in zip(self.parts, pairwise(ends), strict=True):
            own = max(0, start - first), min(stop, end) - first
            if own[0] < own[1]:
                held.append((part and part.rows(*own), own[1] - own[0]))
        return Stacked(tuple(p for p, _ in held), tuple(n for _, n in held))


@dataclass(frozen=True)
class StackedHere:
    """The controls of several branches in one block."""

    parts: tuple[Here | None, ...]
    sizes: tuple[int, ...]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, grid: Sequence[int]) -> Tensor:
        """Return the block's attention, each branch by its own control."""
        queries, keys, values = (t.split(self.sizes) for t in (q, k, v))
        own = zip(self.parts, queries, keys, values, strict=True)
        found = [attend(a, b, c, here, grid) for here, a, b, c in own]
        # With tokens before heads, as the kernels leave it and the network goes on: one copy less.
        return torch.cat([part.transpose(1, 2) for part in found]).transpose(1, 2)

    def kept(self, before: Tensor, after: Tensor) -> Tensor:
        """Return the block's result, each branch by its own control."""
        if not any(part and part.control.skip for part in self.parts):
            return after
        own = zip(self.parts, before.split(self.sizes), after.split(self.sizes), strict=True)
        return torch.cat([here.kept(b, a) if here else a for here, b, a in own])
