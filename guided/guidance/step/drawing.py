"""What methods need that draw candidates from the kernel of a sampler, and take no step of it."""

from guided.sampler import Sampler


def require_kernel(method: str, sampler: Sampler) -> None:
    """Refuse a sampler whose step is more than a draw from its kernel, which would be left out.

    Raises:
        ValueError: in words, as names on a command line may lead here.
    """
    if not sampler.steps_by_kernel:
        raise ValueError(
            f"{method} draws from the kernel of a sampler and would leave out what "
            f"{type(sampler).__name__} does in a step; give it a plain one, such as "
            f"DDIM(denoiser, eta=1), or choose whole runs with BestOfN"
        )
