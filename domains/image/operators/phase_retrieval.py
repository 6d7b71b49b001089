"""Pictures of which only the magnitude of the Fourier transform is seen."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from domains.image.operators.degradation import Degradation


class PhaseRetrieval(Degradation):
    r"""Magnitudes of the Fourier transform of a padded picture, as a detector far away sees it.

    .. math:: y = | F P \tfrac{x_0 + 1}{2} |

    with P padding by black to H' x W' and F the orthonormal transform: (B, C, H, W) -> (B, C, H',
    W'). A picture, the same turned by 180 degrees, and the same moved within the padding have equal
    magnitudes; only a prior can choose.

    Args:
        shape: of one picture, (C, H, W).
        oversample: padded side by side, at least 1, which pads nothing; 2 leaves no other
            ambiguities than those above, for almost all pictures.

    Raises:
        ValueError: for an oversampling below 1.

    Source: Chung et al. 2023, Diffusion posterior sampling for general noisy inverse problems,
        appendix C (phase retrieval).
    Differs: pixels are moved from [-1, 1] to [0, 1], so that the padding is black and not grey.
    """

    linear = False

    def __init__(self, shape: Sequence[int], oversample: float = 2.0) -> None:
        super().__init__(shape)
        if not 1 <= oversample <= 64:
            raise ValueError(f"a picture is oversampled 1 to 64 times, got {oversample:g}")
        self.padded = tuple(round(oversample * side) for side in self.shape[1:])

    @property
    def out(self) -> tuple[int, int, int]:
        """(C, H', W')."""
        return self.shape[0], self.padded[0], self.padded[1]

    def apply(self, x0: Tensor) -> Tensor:
        """Return the magnitudes."""
        below, right = (p - s for p, s in zip(self.padded, self.shape[1:], strict=True))
        return torch.fft.fft2(pad((x0 + 1) / 2, (0, right, 0, below)), norm="ortho").abs()

    def picture(self, y: Tensor) -> Tensor:
        """Return the magnitudes with the lowest frequency in the middle, 0 black and 1 white."""
        return 2 * torch.fft.fftshift(y, dim=(-2, -1)).clamp(0, 1) - 1
