r"""What networks of some quality would predict of the trees, in closed form and fast.

A network that is not perfect smooths what it learned. Its score is here the exact one of the law
with :math:`a^2 I` added to every covariance; a = 0 is perfect.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from guided.bench.tree_law import Tree
from guided.denoiser import Denoiser, Prediction
from guided.exact import Mixture
from guided.schedule import VE, Level
from guided.wrappers import Counted

NULL = 2  # the label of both trees; 0 and 1 are the trees
SCHEDULE = VE(sigma_max=5.0)


class Planar:
    r"""A mixture in the plane, evaluated by two matrix products and one exponential a component.

    With :math:`P_k = C_k^{-1}` and :math:`\mu_k = \alpha m_k` at a level,

    .. math:: \log w_k N(x; \mu_k, C_k) = \phi(x) \cdot a_k, \quad
              \nabla \log p_t(x) = \sum_k r_k P_k \mu_k - \big(\sum_k r_k P_k\big)\, x

    with :math:`\phi = (x_1^2, x_1 x_2, x_2^2, x_1, x_2, 1)` and the responsibilities r. That is
    about 20 times as fast as :class:`guided.exact.Mixture`, which is for any dimension.

    Args:
        law: over points (2,).
        blur: a, a standard deviation that is added to it.
    """

    def __init__(self, law: Mixture, blur: float) -> None:
        self.log_weights, self.means = law.log_weights, law.means
        self.variances, self.basis = torch.linalg.eigh(law.covariances.matrices())
        self.variances = self.variances + blur**2

    def score(self, x: Tensor, level: Level) -> Tensor:
        """Return the score of the law at a level with sigma > 0, at x (B, 2), in that shape."""
        variances = level.alpha**2 * self.variances + level.sigma**2
        precision = (self.basis / variances[:, None, :]) @ self.basis.mT
        centre = level.alpha * self.means
        pull = (precision @ centre[..., None])[..., 0]
        constant = self.log_weights - 0.5 * (pull * centre + variances.log()).sum(-1)
        p11, p12, p22 = precision[:, 0, 0], precision[:, 0, 1], precision[:, 1, 1]
        table = torch.stack([-0.5 * p11, -p12, -0.5 * p22, *pull.T, constant])
        a, b = x.unbind(-1)
        features = torch.stack([a * a, a * b, b * b, a, b, torch.ones_like(a)], -1)
        responsibilities = (features @ table).softmax(-1)
        means = responsibilities @ torch.stack([p11, p12, p22, *pull.T], -1)
        q11, q12, q22, u, v = means.unbind(-1)
        return torch.stack([u - q11 * a - q12 * b, v - q12 * a - q22 * b], -1)


class Smoothed(Denoiser):
    """A denoiser of the trees whose cond (B,) is 0, 1 or ``NULL``.

    Args:
        two: the trees.
        blur: how much it smooths each tree.
        null_blur: how much it smooths both together.
    """

    def __init__(self, two: Sequence[Tree], blur: float, null_blur: float) -> None:
        super().__init__()
        self.schedule = SCHEDULE
        laws = [tree.law for tree in two]
        both = Mixture(
            torch.cat([law.weights for law in laws]),
            torch.cat([law.means for law in laws]),
            torch.cat([law.covariances.matrices() for law in laws]),
        )
        self.laws = [*(Planar(law, blur) for law in laws), Planar(both, null_blur)]

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Return the prediction; every label has its own law."""
        score = torch.empty_like(x)
        for label in cond.unique().tolist():
            rows = cond == label
            score[rows] = self.laws[label].score(x[rows], level)
        x0 = torch.add(x, score, alpha=level.sigma**2) / level.alpha
        return Prediction(x0, -level.sigma * score)


class Models(NamedTuple):
    """Denoisers of the same trees.

    Args:
        main: smooths by a, and by 2 a without a label, as a network is worse at the larger task.
        even: smooths by a with and without a label.
        weak: smooths by 2 a.
        exact: does not smooth.
    """

    main: Counted
    even: Counted
    weak: Counted
    exact: Counted

    @classmethod
    def of(cls, two: Sequence[Tree], blur: float) -> "Models":
        """Return all of them for a = blur."""
        a = blur
        blurs = ((a, 2 * a), (a, a), (2 * a, 2 * a), (0.0, 0.0))
        return cls(*(Counted(Smoothed(two, *both)) for both in blurs))

    @property
    def rows(self) -> int:
        """How many predictions of one sample were made since they were made."""
        return sum(model.rows for model in self)


def unlabelled(cond: Tensor) -> Tensor:
    """Return the null condition of as many rows."""
    return torch.full_like(cond, NULL)
