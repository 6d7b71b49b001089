r"""A transformer over tokens: adaLN-zero, rotary positions, QK-norm, SwiGLU.

B samples, T tokens, C channels, W width, H heads, D = W / H. Block :math:`\ell` computes

.. math::
    x &\leftarrow x + g_1\, \mathrm{Attention}((1 + a_1)\, \mathrm{LN}(x) + b_1) \\
    x &\leftarrow x + g_2\, \mathrm{SwiGLU}((1 + a_2)\, \mathrm{LN}(x) + b_2)

with :math:`(a_1, b_1, g_1, a_2, b_2, g_2)` = the modulation of the noise level and label. All gates
and the last projection start at zero: the network starts as the constant 0. Every token may have a
noise level of its own, and is then modulated by that one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from guided.nets.attention import LayerControl, attend, rotate, rotations
from guided.nets.control import Control, Stacked
from guided.nets.embed import FourierTime


class Transformer(nn.Module):
    """Maps x (B, T, C) to (B, T, C), for any number of tokens T.

    Args:
        channels: C, numbers in one token.
        width: W, a multiple of 2 * heads.
        depth: number of blocks.
        heads: H, attention heads.
        labels: number of classes; index ``labels`` is one more, learned, for "no label". 0 = none.
        period: length of a cycle, in tokens, whose phase gets a learned embedding (16 = place in
            the bar); 0 = none.
        periods: how many cycles are told apart (the index of the bar, modulo ``periods``);
            0 = none.

    Raises:
        ValueError: for no heads, a width that they do not divide into pairs, or periods without
            period.

    Source: Peebles & Xie 2023 (DiT), https://arxiv.org/abs/2212.09748; Chen et al. 2023 (PixArt),
        https://arxiv.org/abs/2310.00426 section 2.3 (shared modulation); Dehghani et al. 2023
        (QK-norm), https://arxiv.org/abs/2302.05442; Shazeer 2020 (SwiGLU).
    """

    def __init__(
        self,
        channels: int,
        width: int = 192,
        depth: int = 6,
        heads: int = 6,
        labels: int = 0,
        period: int = 0,
        periods: int = 0,
    ) -> None:
        super().__init__()
        if heads < 1:
            raise ValueError(f"a transformer needs at least 1 head, got heads={heads}")
        if width % (2 * heads):
            raise ValueError(
                f"the width must be a multiple of 2 * heads, got width={width} and heads={heads}"
            )
        if periods and not period:
            raise ValueError(
                f"periods={periods} counts cycles of length period, which is 0; set it"
            )
        self.channels, self.labels, self.period, self.periods = channels, labels, period, periods
        self.head_dim = width // heads
        self.time = nn.Sequential(FourierTime(), nn.Linear(64, width), nn.SiLU())
        self.level = nn.Linear(width, width)
        self.label = nn.Embedding(labels + 1, width) if labels else None
        self.phase = nn.Embedding(period, width) if period else None
        self.cycle = nn.Embedding(periods, width) if periods else None
        self.enter = nn.Linear(channels, width)
        # One modulation for all blocks, plus a table (6, W) each: DiT's own (W, 6 W) matrix in
        # every block would be a third of all weights, for one row of input per sample.
        self.modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.last = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, channels)
        self._initialise()

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        cond: Tensor | None = None,
        control: Control | Stacked | None = None,
        grid: Sequence[int] | None = None,
    ) -> Tensor:
        """Evaluate the network.

        Args:
            x: shape (B, T, C).
            time: shape (B,), or (B, T) for a time of every token.
            cond: labels 0, ..., labels (the last is "no label"), shape (B,); None = no label.
            control: what to do to some blocks, or to the level's embedding; None = nothing.
            grid: how the tokens lie, for a control that blurs; None = in one row.

        Returns:
            Shape (B, T, C).

        Raises:
            ValueError: for x or time of another shape, labels given to a network without, or a
                control of blocks that do not exist.
        """
        self._check(x, time, cond)
        if control:
            control.require_layers(self.layers, type(self).__name__)
        full = torch.promote_types(x.dtype, torch.float32)
        rotation = rotations(x.shape[1], self.head_dim).to(x.device, full.to_complex())
        embedded = self.time(time.to(x.dtype).flatten()).unflatten(0, time.shape)
        if control:
            embedded = control.embedded(embedded)
        # (B, 1, W): one level for all tokens, or (B, T, W).
        levels = self.level(embedded).reshape(len(x), -1, embedded.shape[-1])
        level = functional.silu(levels + self._labels(x, cond))
        shared = self.modulation(level).unflatten(-1, (6, -1)).transpose(1, 2)
        h = self.enter(x) + self._places(x)
        for layer, block in enumerate(self.blocks):
            here = control.at(layer) if control else None
            after = block(h, shared, rotation, here, grid)
            h = here.kept(h, after) if here else after
        scale, shift = self.last(level).chunk(2, dim=-1)
        return self.out(_modulated(h, scale, shift))

    @property
    def layers(self) -> int:
        """Return how many blocks a control can act on."""
        return len(self.blocks)

    def _check(self, x: Tensor, time: Tensor, cond: Tensor | None) -> None:
        if x.ndim != 3 or x.shape[-1] != self.channels:
            raise ValueError(
                f"Transformer expects x of shape (B, T, {self.channels}), got {tuple(x.shape)}"
            )
        if time.shape not in (x.shape[:1], x.shape[:2]):
            raise ValueError(
                f"Transformer expects a time per sample (B,) or per token (B, T) for x "
                f"{tuple(x.shape)}, got {tuple(time.shape)}"
            )
        if cond is not None and not self.labels:
            raise ValueError(
                "Transformer has no labels but was given cond; set labels= or drop cond"
            )

    def _labels(self, x: Tensor, cond: Tensor | None) -> Tensor | float:
        if self.label is None:
            return 0.0
        if cond is None:
            cond = torch.full((len(x),), self.labels, device=x.device)
        return self.label(cond)[:, None]

    def _places(self, x: Tensor) -> Tensor | float:
        if self.phase is None:
            return 0.0
        place = torch.arange(x.shape[1], device=x.device)
        embedded = self.phase(place % self.period)
        if self.cycle is not None:
            embedded = embedded + self.cycle(place // self.period % self.periods)
        return embedded

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        for zero in (self.modulation, self.last, self.out):
            nn.init.zeros_(zero.weight)


class Block(nn.Module):
    """Attention and SwiGLU, each normalised, modulated and gated.

    Args:
        width: W.
        heads: H.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.table = nn.Parameter(torch.zeros(6, 1, width))
        self.qkv = nn.Linear(width, 3 * width)
        self.gain = nn.Parameter(torch.ones(width // heads))
        self.merge = nn.Linear(width, width)
        # Two thirds of 4 W: as many weights as a plain layer of 4 W, and as fast.
        hidden = 64 * max(1, round(width / 24))
        self.up = nn.Linear(width, 2 * hidden)
        self.down = nn.Linear(hidden, width)

    def forward(
        self,
        x: Tensor,
        shared: Tensor,
        rotation: Tensor,
        control: LayerControl | None,
        grid: Sequence[int] | None,
    ) -> Tensor:
        """Return x after the block.

        ``shared`` is the modulation (B, 6, 1, W), or (B, 6, T, W), of all blocks.
        """
        scale1, shift1, gate1, scale2, shift2, gate2 = (shared + self.table).unbind(1)
        qkv = self.qkv(_modulated(x, scale1, shift1))
        x = torch.addcmul(x, gate1, self._attention(qkv, rotation, control, grid))
        gate, value = self.up(_modulated(x, scale2, shift2)).chunk(2, dim=-1)
        return torch.addcmul(x, gate2, self.down(functional.silu(gate) * value))

    def _attention(
        self,
        qkv: Tensor,
        rotation: Tensor,
        control: LayerControl | None,
        grid: Sequence[int] | None,
    ) -> Tensor:
        qkv = qkv.unflatten(-1, (3, self.heads, -1))
        qk, v = qkv[:, :, :2], qkv[:, :, 2]
        # Norm and rotation at full precision, also under autocast.
        qk = functional.layer_norm(
            qk.to(rotation.dtype.to_real()), qk.shape[-1:], self.gain.to(rotation.dtype.to_real())
        )
        q, k = rotate(qk, rotation[:, None, None]).to(v.dtype).unbind(2)
        mixed = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), control, grid)
        return self.merge(mixed.transpose(1, 2).flatten(2))


def _modulated(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(shift, functional.layer_norm(x, x.shape[-1:]), 1 + scale)
