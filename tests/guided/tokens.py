"""Sequences that are jointly Gaussian, AR(1), and their exact denoiser with a level per token."""

import torch

from guided import Denoiser, Prediction, RectifiedFlow

F64 = torch.float64
DECAY = 0.8


def ar1(count, decay=DECAY):
    """The covariance of a stationary AR(1) of variance 1."""
    place = torch.arange(count, dtype=F64)
    return decay ** (place[:, None] - place).abs()


class Tokens(Denoiser):
    """E[x0 | x] for x0 (B, T, C), each channel N(0, cov) over T, at levels per token."""

    def __init__(self, cov, schedule=None):
        super().__init__()
        self.cov, self.schedule = cov, schedule or RectifiedFlow()

    def forward(self, x, level, cond=None):
        alpha, sigma = (
            torch.as_tensor(part, dtype=F64).expand(*x.shape[:2], 1)[..., 0] for part in level[1:]
        )
        cov = self.cov + torch.zeros(len(x), 1, 1, dtype=F64)
        noised = alpha[:, :, None] * cov * alpha[:, None] + torch.diag_embed(sigma**2)
        whitened = torch.linalg.solve(noised, x.to(F64))
        x0 = cov @ (alpha[..., None] * whitened)
        return Prediction(x0.to(x.dtype), (sigma[..., None] * whitened).to(x.dtype))
