"""Several perceptrons of one shape as one: a layer of all of them is one batched product."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class StackedLinear(nn.Module):
    """n linear layers side by side: (n, B, dim_in) or (B, dim_in) -> (n, B, dim_out).

    Args:
        n: how many.
        dim_in: numbers in.
        dim_out: numbers out.
    """

    def __init__(self, n: int, dim_in: int, dim_out: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(dim_in)  # what nn.Linear starts from
        self.weight = nn.Parameter(torch.empty(n, dim_in, dim_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n, 1, dim_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate all layers, each on its own rows or all on the same."""
        if x.ndim == 2:
            x = x.expand(len(self.weight), -1, -1)
        return torch.baddbmm(self.bias, x, self.weight)


class StackedMLP(nn.Module):
    """n perceptrons of ReLU units on a context and a query, such as a state and an action.

    The first layer takes context and query apart, so that K queries of one context share the
    context's part.

    Args:
        n: how many networks.
        context: numbers in a context.
        query: numbers in a query; 0 = none.
        hidden: widths of the hidden layers, at least one.
    """

    def __init__(
        self, n: int, context: int, query: int = 0, hidden: Sequence[int] = (256, 256)
    ) -> None:
        super().__init__()
        self.n = n
        first = StackedLinear(n, context + query, hidden[0])
        self.context = nn.Parameter(first.weight.data[:, :context].clone())
        self.query = nn.Parameter(first.weight.data[:, context:].clone()) if query else None
        self.bias = first.bias
        widths = [*hidden, 1]
        self.layers = nn.ModuleList(StackedLinear(n, a, b) for a, b in pairwise(widths))

    def forward(self, context: Tensor, query: Tensor | None = None) -> Tensor:
        """Evaluate all networks.

        Args:
            context: shape (B, context).
            query: shape (B, query), or (B, K, query) for K of each context.

        Returns:
            Shape (n, B), or (n, B, K).
        """
        h = torch.baddbmm(self.bias, context.expand(self.n, -1, -1), self.context)
        shape: tuple[int, ...] = h.shape[:2]
        if query is not None and query.ndim == 2:
            assert self.query is not None
            h = torch.baddbmm(h, query.expand(self.n, -1, -1), self.query)
        elif query is not None:
            assert self.query is not None
            shape = (self.n, *query.shape[:-1])
            own = torch.bmm(query.flatten(0, -2).expand(self.n, -1, -1), self.query)
            # In place, here and below: fresh memory costs as much as the arithmetic.
            own.unflatten(1, query.shape[:2]).add_(h[:, :, None])
            h = own
        for layer in self.layers:
            h = layer(h.relu_())
        return h.reshape(shape)
