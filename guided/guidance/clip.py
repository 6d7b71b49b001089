"""The longest move that a gradient may make: a bound on every entry by itself."""

from torch import Tensor


def clipped(move: Tensor, clip: float) -> Tensor:
    """Return the move with every entry in [-clip, clip]; an infinite clip is neutral."""
    return move.clamp(-clip, clip)


def require_clip(clip: float, method: str) -> None:
    """Refuse a bound that lets nothing move.

    Raises:
        ValueError: for a clip that is not positive.
    """
    if not clip > 0:
        raise ValueError(
            f"{method} needs a positive clip, got {clip}; give math.inf for no bound, or scale=0 "
            f"to switch it off"
        )
