"""A residual perceptron whose conditioning is computed apart from its body: actions, states."""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from guided.nets.control import Control, Stacked
from guided.nets.embed import FourierTime


class Conditioned(nn.Module):
    """What both networks share: an embedding of time and condition, apart from the body.

    Args:
        dim: numbers in one sample; samples of higher rank are flattened.
        cond_dim: width of the condition; 0 = none.
        width: of the hidden layers.
        embedded: width of the embedding.
        time_features: width of the Fourier features of time.
    """

    def __init__(
        self, dim: int, cond_dim: int, width: int, embedded: int, time_features: int
    ) -> None:
        super().__init__()
        self.dim, self.cond_dim = dim, cond_dim
        self.time = _embedding(FourierTime(time_features), time_features, width, embedded)
        self.cond = _embedding(nn.Identity(), cond_dim, width, embedded) if cond_dim else None
        self.inlet = nn.Linear(dim, width)

    def embed_time(self, time: Tensor) -> Tensor:
        """Return the embedding (B, embedded) of times (B,)."""
        return self.time(time)

    def embed_cond(self, cond: Tensor) -> Tensor:
        """Return the embedding (B, embedded) of conditions (B, cond_dim).

        Raises:
            ValueError: for conditions of another width, or a network without one.
        """
        if self.cond is None or cond.shape[-1] != self.cond_dim:
            raise ValueError(
                f"{type(self).__name__} has cond_dim={self.cond_dim}, but was given a condition of "
                f"shape {tuple(cond.shape)}"
            )
        return self.cond(cond)


class ResidualMLP(Conditioned):
    r"""Residual blocks of SiLU units on x; time and condition enter every block as one sum.

    .. math:: h \leftarrow h + W'_k\, \mathrm{silu}(W_k\, \mathrm{silu}(h) + a_k(t) + b_k(c))

    The embedding :math:`a(t) + b(c)` does not depend on x, so that a sampling run computes a once
    for its time grid and b once for its conditions (see :mod:`guided.hoist`).

    Args:
        dim: numbers in one sample; samples of higher rank are flattened.
        cond_dim: width of the condition; 0 = none.
        width: of the hidden layers.
        depth: residual blocks, which a control may skip.
        time_features: width of the Fourier features of time.
        null: learn an embedding of "no condition", that of a row which is NaN throughout: the null
            condition of CFG, which training has to show (:mod:`guided.guidance.training.dropout`).

    Raises:
        ValueError: for a null condition of a network without conditions.

    Source: the blocks of Hansen-Estruch et al. 2023, IDQL, appendix A, without normalisation.
    """

    def __init__(
        self,
        dim: int,
        cond_dim: int = 0,
        width: int = 256,
        depth: int = 3,
        time_features: int = 32,
        null: bool = False,
    ) -> None:
        super().__init__(dim, cond_dim, width, depth * width, time_features)
        if null and not cond_dim:
            raise ValueError("a null condition needs a network with conditions, got cond_dim=0")
        self.depth = depth
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.second = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.outlet = nn.Linear(width, dim)
        self.nothing = nn.Parameter(torch.zeros(depth * width)) if null else None

    @property
    def layers(self) -> int:
        """Return how many blocks a control can act on."""
        return self.depth

    @property
    def null(self) -> bool:
        """Return whether it knows "no condition"."""
        return self.nothing is not None

    def embed_cond(self, cond: Tensor) -> Tensor:
        """Return the embedding (B, depth width) of conditions (B, cond_dim); NaN rows are none.

        Raises:
            ValueError: for conditions of another width, or a network without one.
        """
        if self.nothing is None:
            return super().embed_cond(cond)
        none = cond.isnan().all(-1, keepdim=True)
        # Not NaN into the layers: what they make of it has no say, but would have a gradient.
        known = super().embed_cond(cond.masked_fill(none, 0.0))
        return torch.where(none, self.nothing, known)

    def body(
        self, x: Tensor, embedding: Tensor, control: Control | Stacked | None = None
    ) -> Tensor:
        """Evaluate on x (..., dim), given an embedding that broadcasts to (..., depth width).

        Args:
            x: samples; (B, dim) under a control of certain rows.
            embedding: of time and condition.
            control: which blocks to skip; what it does to the embedding of time is done before.

        Raises:
            ValueError: for blocks that do not exist, or a control of attention.
        """
        if control:
            control.require_layers(self.layers, type(self).__name__)
            control.require_no_attention(type(self).__name__)
        h = self.inlet(x)
        parts = zip(self.first, self.second, embedding.chunk(self.depth, -1), strict=True)
        for index, (first, second, part) in enumerate(parts):
            after = h + second(silu(first(silu(h)) + part))
            here = control.at(index) if control else None
            h = here.kept(h, after) if here else after
        return self.outlet(h)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        cond: Tensor | None = None,
        control: Control | Stacked | None = None,
    ) -> Tensor:
        """Evaluate the network on x (B, ...), time (B,) and cond (B, cond_dim).

        Args:
            x: noisy samples.
            time: of them.
            cond: their conditions.
            control: which blocks to skip, and what to do to the embedding of time; None = nothing.

        Raises:
            ValueError: for another number of inputs, a condition that is missing or unexpected,
                blocks that do not exist, or a control of attention.
        """
        flat = flat_samples(x, self.dim)
        embedded = embedding(self, time.to(x.dtype), cond, control)
        return self.body(flat, embedded, control).reshape(x.shape)


class ScalarMLP(Conditioned):
    r"""One number per sample, f(x, t, c), and its gradient in x without autograd.

    A perceptron of SiLU units; time and condition enter the first layer as a sum.

    Args:
        dim: numbers in one sample; samples of higher rank are flattened.
        cond_dim: width of the condition; 0 = none.
        width: of the hidden layers.
        depth: hidden layers.
        time_features: width of the Fourier features of time.
    """

    def __init__(
        self,
        dim: int,
        cond_dim: int = 0,
        width: int = 256,
        depth: int = 3,
        time_features: int = 32,
    ) -> None:
        super().__init__(dim, cond_dim, width, width, time_features)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.outlet = nn.Linear(width, 1)

    def body(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return f, (...,), for x (..., dim) and an embedding that broadcasts to (..., width)."""
        h = silu(self.inlet(x) + embedding)
        for layer in self.layers:
            h = silu(layer(h))
        return self.outlet(h)[..., 0]

    def body_slope(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return the gradient of :meth:`body` in x (B, dim): two products a layer, no graph."""
        z = self.inlet(x) + embedding
        zs = [z]
        for layer in self.layers:
            zs.append(z := layer(silu(z)))
        g = _through_silu(self.outlet.weight.expand(len(x), -1), zs.pop())
        weights = [layer.get_parameter("weight") for layer in self.layers]
        for weight in reversed(weights):
            g = _through_silu(g @ weight, zs.pop())
        return g @ self.inlet.weight

    def forward(self, x: Tensor, time: Tensor, cond: Tensor | None = None) -> Tensor:
        """Return f, (B,), for x (B, ...), time (B,) and cond (B, cond_dim).

        Raises:
            ValueError: for another number of inputs, or a condition that is missing or unexpected.
        """
        return self.body(flat_samples(x, self.dim), embedding(self, time.to(x.dtype), cond))

    def slope(self, x: Tensor, time: Tensor, cond: Tensor | None = None) -> Tensor:
        """Return the gradient of f in x, of the shape of x; arguments as in :meth:`forward`."""
        flat = flat_samples(x, self.dim)
        return self.body_slope(flat, embedding(self, time.to(x.dtype), cond)).reshape(x.shape)


def embedding(
    net: Conditioned,
    time: Tensor,
    cond: Tensor | None,
    control: Control | Stacked | None = None,
) -> Tensor:
    """Return the sum of the embeddings of time (B,), under a control, and cond (B, cond_dim).

    Raises:
        ValueError: for a condition that is missing or unexpected.
    """
    if (cond is None) != (net.cond_dim == 0):
        got = "none" if cond is None else f"one of shape {tuple(cond.shape)}"
        name = type(net).__name__
        raise ValueError(f"{name} has cond_dim={net.cond_dim}, but was given as condition: {got}")
    own = net.embed_time(time)
    own = control.embedded(own) if control else own
    return own if cond is None else own + net.embed_cond(cond.to(own.dtype))


def flat_samples(x: Tensor, dim: int) -> Tensor:
    """Return x (B, ...) as (B, dim).

    Raises:
        ValueError: for another number of entries a sample.
    """
    flat = x.flatten(1)
    if flat.shape[1] != dim:
        raise ValueError(f"the network expects {dim} numbers a sample, got x of {tuple(x.shape)}")
    return flat


def _embedding(features: nn.Module, dim_in: int, width: int, dim_out: int) -> nn.Sequential:
    return nn.Sequential(features, nn.Linear(dim_in, width), nn.SiLU(), nn.Linear(width, dim_out))


def _through_silu(g: Tensor, z: Tensor) -> Tensor:
    """Return g silu'(z), as one operation."""
    return torch.ops.aten.silu_backward(g, z)
