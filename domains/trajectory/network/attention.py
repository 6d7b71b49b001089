r"""Attention whose keys and values know the relation between the two ends.

With receivers a, senders n, and the embedding r of their relation,

.. math:: w_{an} = \mathrm{softmax}_n\, q_a \cdot (k_n + k^r_{an}) / \sqrt c, \qquad
          o_a = \sum_n w_{an} (v_n + v^r_{an}).

The relation's keys and values do not depend on what the receivers and senders say, so they are
computed once a scene (:meth:`RelationAttention.relate`) and serve all samples and all steps. They
never are added to those of the senders: both products are taken apart, so that one copy serves S
samples.

Dense with masks: no scatter, no compiled extension. A receiver without a sender gets the bias of
the output alone.

Source: Zhou et al. 2023, Query-centric trajectory prediction, equation 3.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from guided.nets.attention import AttentionControl


class Related(NamedTuple):
    """Keys and values of relations, ready for products, and who counts.

    Args:
        keys: (B, A, heads, N, c).
        values: (B, A, heads, N, c).
        mask: (B, A, 1, N, 1), 0 where the sender counts and -inf where not.
        some: (B, A, 1, 1, 1), 1 where a receiver has a sender, else 0.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor
    some: Tensor


class RelationAttention(nn.Module):
    """Receivers (B, S, A, width) look at senders through their relations.

    Args:
        width: of everything, a multiple of heads.
        heads: of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.content = nn.Linear(width, 2 * width, bias=False)
        self.relation = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def relate(self, embedding: Tensor, counts: Tensor) -> Related:
        """Return what depends on the relations alone.

        Args:
            embedding: (B, A, N, width) of relations.
            counts: (B, A, N), whether a receiver sees a sender.
        """
        k, v = self._split(self.relation(embedding))  # (B, A, N, heads, c)
        mask = torch.zeros_like(counts, dtype=k.dtype).masked_fill(~counts, -torch.inf)
        some = counts.any(-1)[:, :, None, None, None]
        mask = mask[:, :, None, :, None].where(some, 0.0)  # a softmax over nothing would be NaN
        return Related(_of_heads(k), _of_heads(v), mask, some.to(k))

    def fixed(self, related: Related, senders: Tensor) -> Related:
        """Fold senders (B, N, width) or (B, A, N, width) that all samples share into the relations.

        The result is used with ``senders=None``.
        """
        k, v = self._split(self.content(senders))
        if senders.ndim == 3:
            k, v = k[:, None], v[:, None]
        keys, values = related.keys + _of_heads(k), related.values + _of_heads(v)
        return related._replace(keys=keys, values=values)

    def forward(
        self,
        x: Tensor,
        related: Related,
        senders: Tensor | None = None,
        control: AttentionControl | None = None,
    ) -> Tensor:
        """Return what receivers x (B, S, A, width) see, of their shape.

        Args:
            x: receivers.
            related: of :meth:`relate` or :meth:`fixed`.
            senders: (B, S, N, width), one set for each sample, or None if folded in.
            control: what to do to the attention map; None = nothing.

        Raises:
            ValueError: for a blur of a finite width, as senders lie on no grid.
        """
        own = self.norm(x)
        q = self.query(own).unflatten(-1, (self.heads, -1))  # (B, S, A, heads, c)
        q = q * q.shape[-1] ** -0.5
        if control and control.mode == "blur":
            q = _mean_query(q, related, control)
        # Samples share a relation, and come last: a softmax over a short last axis is slow.
        logits = related.keys @ q.permute(0, 2, 3, 4, 1) + related.mask  # (B, A, heads, N, S)
        if senders is None:
            weights = _weights(logits, related, control)
            seen = weights.mT @ related.values  # (B, A, heads, S, c)
            return self.out(seen.permute(0, 3, 1, 2, 4).flatten(-2))
        k, v = self._split(self.content(own if senders is x else self.norm(senders)))
        each = q.transpose(2, 3) @ k.permute(0, 1, 3, 4, 2)  # (B, S, heads, A, N)
        weights = _weights(logits + each.permute(0, 3, 2, 4, 1), related, control)
        seen = (weights.mT @ related.values).permute(0, 3, 1, 2, 4)  # (B, S, A, heads, c)
        each = weights.permute(0, 4, 2, 1, 3) @ v.transpose(2, 3)  # (B, S, heads, A, c)
        return self.out((seen + each.transpose(2, 3)).flatten(-2))

    def _split(self, both: Tensor) -> tuple[Tensor, Tensor]:
        return both.unflatten(-1, (2, self.heads, -1)).unbind(-3)


class Feed(nn.Module):
    """Two layers after a norm, twice as wide in the middle."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the change of x (..., width)."""
        return self.layers(x)


def _weights(logits: Tensor, related: Related, control: AttentionControl | None) -> Tensor:
    """Return the map (B, A, heads, N, S), or what a control makes of it.

    Nobody is among those whom it sees, so that of the identity nothing is left: each is alone.
    """
    if control is None:
        return logits.softmax(-2) * related.some
    if control.mode in ("identity", "drop"):
        return torch.zeros_like(logits)
    if control.mode in ("uniform", "scale"):
        amount = control.amount if control.mode == "scale" else 0.0
        logits = torch.where(related.mask == 0, amount * logits, -torch.inf)
    weights = logits.softmax(-2) * related.some
    return (1 - control.amount) * weights if control.mode == "soft" else weights


def _mean_query(q: Tensor, related: Related, control: AttentionControl) -> Tensor:
    """Return the mean of the queries (B, S, A, heads, c) of those who see anybody, for all."""
    if control.amount != math.inf:
        raise ValueError(
            f"agents lie on no grid, so that queries have no blur of width {control.amount}; give "
            f"blur=inf, the mean query"
        )
    share = related.some[:, None, :, 0]
    mean = (q * share).sum(2, keepdim=True) / share.sum(2, keepdim=True).clamp(min=1)
    return mean.expand_as(q)


def _of_heads(part: Tensor) -> Tensor:
    """Return (B, A, N, heads, c) as (B, A, heads, N, c), in one piece."""
    return part.transpose(2, 3).contiguous()
