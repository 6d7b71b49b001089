"""The denoiser that a perfectly trained network would be."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from guided.denoiser import Denoiser, Prediction
from guided.schedule import Level, Schedule

if TYPE_CHECKING:
    from guided.exact.mixture import Mixture


class ExactDenoiser(Denoiser):
    """E[x0 | x_t] of a mixture behind the denoiser contract, at every level and sigma = 0.

    It computes in the law's dtype and answers in that of x.

    Args:
        mixture: the law of x0.
        schedule: the noise schedule.
        classes: the label of every component, shape (K,), for a class-conditional denoiser: its
            cond is a tensor of labels (B,), and row i then has the law of the components with label
            i. None is unconditional.
        null: the label that stands for the whole mixture, as cond = None does.

    Raises:
        ValueError: for classes of another shape, or that contain the null label.
    """

    def __init__(
        self,
        mixture: "Mixture",
        schedule: Schedule,
        classes: Tensor | None = None,
        null: int = -1,
    ) -> None:
        super().__init__()
        if classes is not None:
            check_classes(classes, mixture)
            if bool((classes == null).any()):
                raise ValueError(f"the null label {null} is the label of a class; choose another")
        self.mixture = mixture
        self.schedule = schedule
        self.classes = classes
        self.null = null

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Return the exact prediction; cond is None or a tensor of labels (B,).

        Raises:
            ValueError: for labels that no component has, or labels without classes.
        """
        mixture = self.mixture
        if cond is not None:
            if self.classes is None:
                raise ValueError("this exact denoiser has no classes, got a cond; pass classes")
            members = (self.classes == cond[:, None]) | (cond[:, None] == self.null)
            mixture, _ = mixture.select(members)
        x0, eps = mixture.predict(x, level)
        return Prediction(x0.to(x.dtype), eps.to(x.dtype))


def check_classes(classes: Tensor, mixture: "Mixture") -> None:
    """Refuse labels that are not one per component.

    Raises:
        ValueError: in words.
    """
    if classes.shape != mixture.weights.shape:
        raise ValueError(
            f"classes needs one label per component, shape {tuple(mixture.weights.shape)}, got "
            f"{tuple(classes.shape)}"
        )
