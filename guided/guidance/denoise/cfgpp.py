"""CFG++: the guided clean estimate, noised again with the unconditional noise."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from guided.denoiser import Denoiser, DenoiserWrapper, Prediction
from guided.guidance.branches import Call, evaluate
from guided.guidance.branches import null as null_branch
from guided.guidance.scale import Scale, checked, of_requests, per_row, weight
from guided.schedule import Level


class CFGpp(DenoiserWrapper):
    r"""Interpolates the clean estimate, and keeps the noise of the null condition.

    .. math:: \hat x_0 = x_0(\varnothing) + \lambda (x_0(c) - x_0(\varnothing)), \qquad
              \hat\varepsilon = \varepsilon(\varnothing).

    The pair is not consistent. A step of DDIM from t to s, whose mean has the noise estimate with
    the factor d (:math:`\sigma_s` where eta is 0), is that of CFG with

    .. math:: w = \frac{\lambda\, \alpha_s \sigma_t}{\alpha_s \sigma_t - d\, \alpha_t}:

    lambda in the step to data, and without bound in short steps. So lambda has to fall as 1/N where
    the number of steps N grows; it is a scale per step. 0 is the unconditional model, and costs one
    branch; 1 is not the conditional model, unless the run is one step.

    Costs what CFG does. With DDIM at any eta it is the published method. Heun adds the bend of the
    unconditional flow to the same step.

    Args:
        denoiser: a conditional denoiser.
        scale: lambda in [0, 1], a number, one per request (R,), or a function of the level. There
            is no neutral value.
        null: maps a condition to the null condition of the same batch size.

    Raises:
        ValueError: for a scale outside [0, 1]; of a function in the call.

    Source: Chung et al. 2024, CFG++: Manifold-constrained classifier free guidance for diffusion
        models (arXiv 2406.08070), algorithm 2.
    Differs: DPMpp2M extrapolates the guided clean estimate; the authors' multistep solver adds the
        extrapolation of the unconditional one.
    """

    def __init__(self, denoiser: Denoiser, scale: Scale, null: Callable[[Any], Any]) -> None:
        super().__init__(denoiser)
        self.scale, self.null = checked(scale, type(self).__name__), null
        if not callable(scale):
            _require_share(scale)

    @property
    def layers(self) -> int:
        """Return those of the denoiser inside."""
        return self.denoiser.layers

    @property
    def of_requests(self) -> bool:
        """Return whether the scale is per request."""
        return of_requests(self.scale)

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Return the guided x0 and the unconditional eps."""
        return self.controlled(x, level, cond, None)

    def controlled(self, x: Tensor, level: Level, cond: Any, control: Any) -> Prediction:
        """Return the guided prediction, both branches under a control."""
        strong = Call(self.denoiser, x, level, cond, control)
        weak, share = null_branch(self.null)(strong), weight(self.scale, level)
        if not isinstance(share, Tensor):
            _require_share(share)
        if not isinstance(share, Tensor) and share == 0:
            return evaluate([weak])[0]
        conditional, unconditional = evaluate([strong, weak])
        x0 = unconditional.x0.lerp(conditional.x0, per_row(share, x))
        return Prediction(x0, unconditional.eps)


def _require_share(scale: float | Tensor) -> None:
    low, high = (scale, scale) if not isinstance(scale, Tensor) else (scale.min(), scale.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"CFGpp interpolates, with a scale in [0, 1], got {scale}; a scale w of CFG is about "
            f"w (1 - r_s / r_t), where noise-to-signal falls from r_t to r_s in a step"
        )
