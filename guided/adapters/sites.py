r"""One named module of a foreign network in one call, and what a control does there.

Attention is caught where it is computed: while a :class:`Site` is open, the call of
``scaled_dot_product_attention`` is answered by the control. So q, k and v are those after norms and
rotary positions, whatever the module does before. ``nn.MultiheadAttention`` is computed anew, for
it hides that call.
"""

import math
from collections.abc import Sequence
from inspect import signature
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from guided.nets.control import Here, StackedHere

Kind = Literal["attention", "block"]
KINDS = ("attention", "block")


class Site:
    """A named module in one call under a control.

    Args:
        name: of the module.
        kind: of the module.
        here: what the control does in it.
        shape: of the network's input, (B, ...).
    """

    def __init__(
        self, name: str, kind: Kind, here: Here | StackedHere, shape: Sequence[int]
    ) -> None:
        self.name, self.kind, self.here, self.shape = name, kind, here, tuple(shape)
        parts = here.parts if isinstance(here, StackedHere) else (here,)
        self.attends = any(part and _attends(part) for part in parts)
        self.skips = any(part and part.control.skip is not None for part in parts)
        self.calls = self.attended = 0

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Answer a call of ``scaled_dot_product_attention``, (B, H, T, D).

        Raises:
            ValueError: for attention that no control is defined on.
        """
        self.attended += 1
        if query.ndim != 4 or len(query) != self.shape[0]:
            raise self._refused(
                f"attends with queries of shape {tuple(query.shape)}, expected (B, H, T, D) with "
                f"the {self.shape[0]} rows of the batch; name another layer"
            )
        if key.shape != query.shape:
            raise self._refused(
                f"has {query.shape[1]} heads of {query.shape[2]} queries but {key.shape[1]} of "
                f"{key.shape[2]} keys; name a self-attention"
            )
        if attn_mask is not None or is_causal:
            raise self._refused("attends under a mask, which controls do not know; name another")
        if dropout_p:
            raise self._refused("drops out at random; call eval() of the network first")
        if scale is not None:
            query = query * (scale * math.sqrt(query.shape[-1]))
        return self.here.attend(query, key, value, self._grid(query.shape[2]))

    def leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        """Return what the module's output becomes; the signature is that of a forward hook.

        Raises:
            ValueError: where the control could not act.
        """
        self.calls += 1
        if self.attends:
            if isinstance(module, nn.MultiheadAttention):
                output = (self._multihead(module, args, kwargs), *output[1:])
            if self.attended != self.calls:
                raise self._refused(
                    f"calls scaled_dot_product_attention {self.attended} times in {self.calls} "
                    f"calls, expected once in each; name the attention itself, and in diffusers "
                    f"give it AttnProcessor2_0"
                )
        if not self.skips:
            return output
        if isinstance(output, tuple):
            return (self._kept(module, args, kwargs, output[0]), *output[1:])
        return self._kept(module, args, kwargs, output)

    def _kept(self, module: nn.Module, args: Any, kwargs: Any, after: Tensor) -> Tensor:
        before = args[0] if args else next(iter(kwargs.values()))
        if self.kind == "attention" and not getattr(module, "residual_connection", False):
            # The sum with the input is the caller's, so what attention adds is its whole output.
            before = after.new_zeros(()).expand_as(after)
        axis = _batch_axis(module)
        if before.shape != after.shape or after.shape[axis] != self.shape[0]:
            raise self._refused(
                f"maps {tuple(before.shape)} to {tuple(after.shape)} in a batch of {self.shape[0]};"
                f" skip a block that keeps the shape (B, ...)"
            )
        kept = self.here.kept(before.movedim(axis, 0), after.movedim(axis, 0))
        return kept.movedim(0, axis)

    def _multihead(self, module: nn.MultiheadAttention, args: Any, kwargs: Any) -> Tensor:
        given = signature(module.forward).bind(*args, **kwargs).arguments
        masked = given.get("key_padding_mask") is not None or given.get("attn_mask") is not None
        axis = _batch_axis(module)
        tokens = [given[name].movedim(axis, 0) for name in ("query", "key", "value")]
        weights = module.in_proj_weight.chunk(3)
        biases = [None] * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
        q, k, v = (
            functional.linear(x, w, b).unflatten(-1, (module.num_heads, -1)).transpose(1, 2)
            for x, w, b in zip(tokens, weights, biases, strict=True)
        )
        dropout = module.dropout if module.training else 0.0
        mixed = self.attend(q, k, v, q if masked else None, dropout).transpose(1, 2).flatten(2)
        return module.out_proj(mixed).movedim(0, axis)

    def _grid(self, tokens: int) -> tuple[int, ...]:
        """Return how the tokens lie: those of an image as its patches, others in one row."""
        if len(self.shape) < 4:
            return (tokens,)
        side = math.sqrt(math.prod(self.shape[2:]) / tokens)
        if len(self.shape) == 4 and side.is_integer() and not any(n % side for n in self.shape[2:]):
            return tuple(n // int(side) for n in self.shape[2:])
        # A grid that does not hold the tokens: what needs one refuses it in words.
        return self.shape[2:]

    def _refused(self, why: str) -> ValueError:
        return ValueError(f"the layer {self.name!r} cannot be controlled: it {why}")


class FusedAttention(TorchFunctionMode):
    """Hands the fused attention of the innermost open site to it; everything else passes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[Site] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """See :class:`torch.overrides.TorchFunctionMode`."""
        answer = func
        if self.open and func is functional.scaled_dot_product_attention:
            answer = self.open[-1].attend
        return answer(*args, **(kwargs or {}))


def require_kind(name: str, module: nn.Module, kind: str) -> None:
    """Refuse a module that a control cannot act on as this kind.

    Raises:
        ValueError: in words.
    """
    if kind not in KINDS:
        raise ValueError(
            f"a layer is of the kind {' or '.join(map(repr, KINDS))}, got {kind!r} for {name!r}"
        )
    if kind == "attention" and not is_self_attention(module, otherwise=True):
        raise ValueError(
            f"{name!r} is cross-attention, joint attention or attention with added keys, which no "
            f"control is defined on; name a self-attention"
        )


def is_self_attention(module: nn.Module, otherwise: bool = False) -> bool:
    """Return whether a module is plain self-attention of PyTorch or of diffusers.

    Args:
        module: any module.
        otherwise: the answer for a module of any other type.
    """
    if isinstance(module, nn.MultiheadAttention):
        added = module.bias_k is not None or module.add_zero_attn
        return module._qkv_same_embed_dim and not added
    if not (hasattr(module, "to_q") and hasattr(module, "to_v") and hasattr(module, "to_out")):
        return otherwise
    joint = getattr(module, "added_kv_proj_dim", None) is not None
    return not (getattr(module, "is_cross_attention", False) or joint)


def _attends(here: Here) -> bool:
    parts = (here.control.attention, here.control.maps)
    return any(part is not None and here.layer in part.layers for part in parts)


def _batch_axis(module: nn.Module) -> int:
    return int(isinstance(module, nn.MultiheadAttention) and not module.batch_first)
