"""CFG-Zero*: the unconditional velocity fitted to the conditional one, and a still start."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from guided.denoiser import Denoiser, Prediction
from guided.guidance.branches import Call
from guided.guidance.branches import null as null_branch
from guided.guidance.denoise.contrast import Contrast, Pair, Term
from guided.guidance.scale import Scale


class CFGZeroStar(Contrast):
    r"""Classifier-free guidance of a flow, away from the best multiple of the unconditional one.

    .. math::
        \hat u = s u_\varnothing + w (u_c - s u_\varnothing), \qquad
        s = \frac{\langle u_c, u_\varnothing \rangle}{|u_\varnothing|^2}, \qquad
        u = \varepsilon - x_0.

    In the first levels, t > 1 - ``zero``, the velocity is 0 instead, which costs no network call:
    there a guided velocity is worse than none. A prediction of x0 = eps = x / (alpha + sigma) says
    so to any sampler. On straight paths x then stays as it is; on other schedules
    x / (alpha + sigma) does.

    Args:
        denoiser: a conditional denoiser.
        scale: w, a number, one per request (R,), or a function of the level; 1 is neutral, the
            levels without velocity included.
        null: maps a condition to the null condition of the same batch size.
        zero: the share of the time axis without velocity; 0 has none. The paper's is one step of
            about 25.

    Raises:
        ValueError: for a share outside [0, 1).

    Source: Fan et al. 2025, CFG-Zero*: improved classifier-free guidance for flow matching models
        (arXiv 2503.18886).
    Differs: the start is judged by the time of an evaluation, not by the index of a step.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: Scale,
        null: Callable[[Any], Any],
        zero: float = 0.04,
    ) -> None:
        if not 0 <= zero < 1:
            raise ValueError(
                f"the share of levels without velocity is in [0, 1), 0 for none, got {zero}"
            )
        super().__init__(denoiser, [Term(null_branch(null), scale, (_fit,), "flow")])
        self.zero = zero

    def predictions(self, call: Call) -> tuple[Prediction, list[Pair]]:
        """Evaluate both branches, or none where the velocity is 0."""
        _, alpha, sigma = call.level
        if call.level.t > 1 - self.zero and self.active(call.level):
            still = call.x / (alpha + sigma)
            return Prediction(still, still), []
        return super().predictions(call)


def _fit(delta: Tensor, strong: Tensor, weak: Tensor) -> Tensor:
    """Replace u_w by s u_w in u_s - u_w, by what it adds, so that a changed difference stays so."""
    over = tuple(range(1, delta.ndim))
    u, v = strong.double(), weak.double()
    square = v.square().sum(over, keepdim=True)
    s = (u * v).sum(over, keepdim=True) / square.where(square > 0, 1.0)
    return (delta + (1 - s) * v).to(delta)
