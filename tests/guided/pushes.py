"""Exact conditional and unconditional predictions whose difference points anywhere."""

import torch

from guided import Prediction, RectifiedFlow, VPLinear
from guided.exact import Mixture
from guided.rng import Rng

F64 = torch.float64
SHAPE = (4, 3)
MIXTURE = Mixture(
    torch.tensor([0.5, 0.2, 0.3], dtype=F64), Rng(1).normal((3, *SHAPE), F64), torch.tensor(0.3)
)
VP = MIXTURE.denoiser(VPLinear(), classes=torch.tensor([0, 1, 1]))
FLOW = MIXTURE.denoiser(RectifiedFlow(), classes=torch.tensor([0, 1, 1]))
LEVEL, COND = VPLinear().level(0.4), torch.tensor([0, 1, 1, 0, 1])
X = Rng(2).normal((5, *SHAPE), F64)


def null(cond):
    return torch.full_like(cond, -1)


def both(denoiser=VP, level=LEVEL) -> tuple[Prediction, Prediction]:
    """The conditional and the unconditional prediction."""
    return denoiser(X, level, COND), denoiser(X, level, null(COND))


def products(a, b):
    """One inner product a sample."""
    return torch.einsum("btc,btc->b", a, b)


def per(numbers, like=X):
    return numbers.reshape(-1, *[1] * (like.ndim - 1))


def close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def consistent(prediction, level=LEVEL):
    """x0 and eps still make x."""
    close(level.alpha * prediction.x0 + level.sigma * prediction.eps, X)
