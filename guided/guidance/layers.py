"""Which blocks of a network a method acts on."""

from collections.abc import Iterable

from guided.denoiser import Denoiser


def chosen_layers(
    denoiser: Denoiser, layers: Iterable[int] | int | None, method: str
) -> frozenset[int]:
    """Return the blocks that a method acts on; None = the middle one, number depth // 2.

    Args:
        denoiser: whose network it is.
        layers: indices of blocks, or one of them.
        method: its name, for messages.

    Raises:
        TypeError: for a denoiser that takes no control.
        ValueError: for no block, or blocks that do not exist.
    """
    count = denoiser.layers
    if not count:
        raise TypeError(
            f"{method} acts inside the network, but {type(denoiser).__name__} has no blocks that a "
            f"control acts on; use a network of guided.nets that has, or guided.adapters.hooks for "
            f"any other"
        )
    if layers is None:
        return frozenset({count // 2})
    chosen = frozenset({layers} if isinstance(layers, int) else layers)
    if not chosen or not chosen <= set(range(count)):
        raise ValueError(
            f"{method} acts on one or more of the blocks 0 to {count - 1} of the network, got "
            f"{sorted(chosen)}"
        )
    return chosen
