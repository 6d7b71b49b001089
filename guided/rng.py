"""The only source of randomness: explicit streams, never the global state.

The one exception are the weights that modules draw when they are built, which PyTorch takes from
the global state: :func:`initial_weights` seeds it, and puts it back.

One seed is one stream for a whole batch. Several seeds are one stream per sample: axis 0 of every
drawn shape is split evenly between them, so that sample i does not depend on its batch, and the K
candidates of one request (which lie side by side) come from that request's own stream.
Numbers are drawn on the CPU and moved, so that a seed means the same on every device.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


class Rng:
    """Seeded random numbers.

    Args:
        seed: one integer, or one integer per independent sample.

    Raises:
        ValueError: for an empty sequence of seeds, or a draw that cannot be split evenly.
    """

    def __init__(self, seed: int | Sequence[int]) -> None:
        self.seeds = [seed] if isinstance(seed, int) else list(seed)
        if not self.seeds:
            raise ValueError("Rng needs at least one seed, got an empty sequence")
        self._streams = [torch.Generator().manual_seed(s) for s in self.seeds]

    @classmethod
    def per_sample(cls, seed: int, count: int, first: int = 0) -> "Rng":
        """Return one independent stream for each of the samples first, ..., first + count - 1.

        Sample i of seed s is the same whatever ``first`` and ``count`` are.
        """
        return cls([stream_seed(seed, i) for i in range(first, first + count)])

    @classmethod
    def wrap(cls, generator: torch.Generator) -> "Rng":
        """Return an Rng that draws from an existing CPU generator."""
        rng = cls(0)
        rng._streams = [generator]
        return rng

    def take(self, index: Sequence[int] | np.ndarray) -> "Rng":
        """Return an Rng of the streams of some samples: shared, so that drawing here moves them on.

        With it the samples of a batch may end one by one, and the rest go on as if alone.

        Args:
            index: which of the streams, in the order of the rows to draw for.

        Raises:
            ValueError: for no index, or one that is no stream of this Rng.
        """
        chosen = [int(i) for i in index]
        count = len(self._streams)
        if not chosen or not all(0 <= i < count for i in chosen):
            raise ValueError(
                f"cannot take the streams {chosen} of {count}; give at least one of 0, ...,"
                f" {count - 1}, and one seed per sample"
            )
        rng = Rng(0)
        rng.seeds = [self.seeds[i] for i in chosen]
        rng._streams = [self._streams[i] for i in chosen]
        return rng

    def normal(
        self,
        shape: Sequence[int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw N(0, 1) numbers of the given shape."""
        return self._draw(lambda s, g: torch.randn(s, generator=g, dtype=dtype), shape, device)

    def uniform(
        self,
        shape: Sequence[int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw numbers from U[0, 1)."""
        return self._draw(lambda s, g: torch.rand(s, generator=g, dtype=dtype), shape, device)

    def integers(
        self, low: int, high: int, shape: Sequence[int], device: torch.device | str | None = None
    ) -> Tensor:
        """Draw integers from low, ..., high - 1."""
        return self._draw(lambda s, g: torch.randint(low, high, s, generator=g), shape, device)

    def _draw(
        self,
        draw: Callable[[tuple[int, ...], torch.Generator], Tensor],
        shape: Sequence[int],
        device: torch.device | str | None,
    ) -> Tensor:
        if len(self._streams) == 1:
            drawn = draw(tuple(shape), self._streams[0])
        else:
            if shape[0] % len(self._streams):
                raise ValueError(
                    f"cannot split {shape[0]} rows between {len(self._streams)} per-sample streams;"
                    f" give one seed per sample, or a single seed"
                )
            block = (shape[0] // len(self._streams), *shape[1:])
            drawn = torch.cat([draw(block, stream) for stream in self._streams])
        return drawn if device is None else drawn.to(device)


@contextmanager
def initial_weights(seed: int) -> Iterator[None]:
    """Let modules that are built inside draw their weights from a seed; leave no trace outside.

    They are drawn on the CPU.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def stream_seed(*key: int) -> int:
    """Hash a tuple of non-negative integers into a seed (NumPy's SeedSequence)."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
