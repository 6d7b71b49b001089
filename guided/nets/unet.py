r"""A U-Net over images and fields: residual convolutions, levels of half the size, skips.

The image is cut into patches first, whose pixels become channels. Level l has ``widths[l]``
channels, ``depth`` residual blocks on the way down and as many on the way up (the lowest has one
stack of them only),

.. math:: x \leftarrow x + \mathrm{Conv}(\mathrm{SiLU}((1 + a) \mathrm{GN}(
          \mathrm{Conv}(\mathrm{SiLU}(\mathrm{GN}(x)))) + b)),

with (a, b) the modulation of the noise level and the label. The last convolution of every block and
of the network starts at zero: the network starts as the constant 0.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from guided.nets.attention import LayerControl, attend
from guided.nets.control import Control, Stacked
from guided.nets.embed import FourierTime

Padding = Literal["zeros", "circular"]
GROUP = 8  # channels of a group norm's group


class UNet(nn.Module):
    """Maps x (B, C, H, W) to (B, C, H, W).

    Args:
        channels: C.
        widths: channels of the levels, multiples of 8.
        depth: residual blocks of a level.
        patch: side of a patch; H and W are multiples of patch * 2 ** (levels - 1).
        periodic: whether the edges of an image meet, as on a torus; else it is padded with zeros.
        labels: number of classes; index ``labels`` is one more, learned, for "no label". 0 = none.
        background: fixed channels (M, H, W) that the network sees beside x, e.g. a forcing; None =
            none.
        attention: heads of the self-attention at the lowest level, which divide its width;
            0 = none.

    Raises:
        ValueError: for widths that are no multiples of 8 or of the heads.

    Source: Ho et al. 2020 (DDPM), appendix B; Dhariwal & Nichol 2021, section 3 (the modulation).
    Differs: patches first; attention at the lowest level alone, once.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int] = (64, 96, 128),
        depth: int = 2,
        patch: int = 1,
        periodic: bool = False,
        labels: int = 0,
        background: Tensor | None = None,
        attention: int = 0,
    ) -> None:
        super().__init__()
        if not widths or any(width % GROUP for width in widths):
            raise ValueError(f"the widths must be multiples of {GROUP}, got {tuple(widths)}")
        if attention and widths[-1] % attention:
            raise ValueError(
                f"the heads must divide the lowest level's {widths[-1]} channels, got "
                f"attention={attention}"
            )
        self.channels, self.patch, self.labels = channels, patch, labels
        self.background: Tensor | None
        self.register_buffer("background", background)
        given = channels + (0 if background is None else len(background))
        wide = 4 * widths[0]
        self.time = nn.Sequential(FourierTime(), nn.Linear(64, wide), nn.SiLU())
        self.level = nn.Linear(wide, wide)
        self.label = nn.Embedding(labels + 1, wide) if labels else None
        mode: Padding = "circular" if periodic else "zeros"
        self.enter = _conv(given * patch**2, widths[0], mode)
        self.down = nn.ModuleList(Stage(w, w, depth, wide, mode) for w in widths)
        self.up = nn.ModuleList(Stage(2 * w, w, depth, wide, mode) for w in widths[:-1])
        self.shrink = nn.ModuleList(nn.Conv2d(4 * a, b, 1) for a, b in pairwise(widths))
        self.grow = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in pairwise(widths))
        self.norm = nn.GroupNorm(widths[0] // GROUP, widths[0])
        self.out = _silent(_conv(widths[0], channels * patch**2, mode))
        self.attention = SelfAttention(widths[-1], attention) if attention else None

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        cond: Tensor | None = None,
        control: Control | Stacked | None = None,
    ) -> Tensor:
        """Evaluate the network.

        Args:
            x: shape (B, C, H, W).
            time: shape (B,).
            cond: labels 0, ..., labels (the last is "no label"), shape (B,); None = no label.
            control: what to do to the attention, which is layer 0 and the only one, or to the
                level's embedding; None = nothing.

        Returns:
            Shape (B, C, H, W).

        Raises:
            ValueError: for x of another shape, labels given to a network without, or a control of
                layers that do not exist.
        """
        self._check(x, cond)
        if control:
            control.require_layers(self.layers, type(self).__name__)
        embedded = self.time(time.to(x.dtype))
        if control:
            embedded = control.embedded(embedded)
        level = functional.silu(self.level(embedded) + self._labels(x, cond))
        h = self._entered(x)
        skips = []
        for index, stage in enumerate(self.down):
            h = stage(h, level)
            if index < len(self.shrink):
                skips.append(h)
                h = self.shrink[index](functional.pixel_unshuffle(h, 2))
        if self.attention is not None:
            here = control.at(0) if control else None
            after = self.attention(h, here)
            h = here.kept(h, after) if here else after
        for index in reversed(range(len(self.grow))):
            h = functional.pixel_shuffle(self.grow[index](h), 2)
            h = self.up[index](torch.cat([h, skips[index]], dim=1), level)
        h = self.out(functional.silu(self.norm(h)))
        return functional.pixel_shuffle(h, self.patch) if self.patch > 1 else h

    @property
    def layers(self) -> int:
        """Return how many blocks a control can act on: the attention, if there is one."""
        return int(self.attention is not None)

    def _entered(self, x: Tensor) -> Tensor:
        if self.background is not None:
            x = torch.cat([x, self.background.to(x).expand(len(x), -1, -1, -1)], dim=1)
        if self.patch > 1:
            x = functional.pixel_unshuffle(x, self.patch)
        # Convolutions on a CPU are fastest with the channels last.
        return self.enter(x.contiguous(memory_format=torch.channels_last))

    def _labels(self, x: Tensor, cond: Tensor | None) -> Tensor | float:
        if self.label is None:
            return 0.0
        if cond is None:
            cond = torch.full((len(x),), self.labels, device=x.device)
        return self.label(cond)

    def _check(self, x: Tensor, cond: Tensor | None) -> None:
        side = self.patch * 2 ** len(self.shrink)
        if x.ndim != 4 or x.shape[1] != self.channels or x.shape[2] % side or x.shape[3] % side:
            raise ValueError(
                f"UNet expects x of shape (B, {self.channels}, H, W) with sides that {side} "
                f"divides, got {tuple(x.shape)}"
            )
        if cond is not None and not self.labels:
            raise ValueError("UNet has no labels but was given cond; set labels= or drop cond")


class Stage(nn.ModuleList):
    """Blocks at one resolution.

    Args:
        given: channels in.
        width: channels out.
        depth: blocks.
        level: width of the modulation's input.
        mode: padding of the convolutions.
    """

    def __init__(self, given: int, width: int, depth: int, level: int, mode: Padding) -> None:
        sizes = [given] + [width] * (depth - 1)
        super().__init__(Block(size, width, level, mode) for size in sizes)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Return x after all blocks; level has shape (B, L)."""
        for block in self:
            x = block(x, level)
        return x


class Block(nn.Module):
    """Two convolutions, the second one modulated, around a skip.

    Args:
        given: channels in.
        width: channels out.
        level: width of the modulation's input.
        mode: padding of the convolutions.
    """

    def __init__(self, given: int, width: int, level: int, mode: Padding) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(given // GROUP, given)
        self.conv1 = _conv(given, width, mode)
        self.norm2 = nn.GroupNorm(width // GROUP, width)
        self.conv2 = _silent(_conv(width, width, mode))
        self.modulation = nn.Linear(level, 2 * width)
        self.skip = nn.Conv2d(given, width, 1) if given != width else nn.Identity()

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Return x after the block; level has shape (B, L)."""
        scale, shift = self.modulation(level)[..., None, None].chunk(2, dim=1)
        h = self.conv1(functional.silu(self.norm1(x)))
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return self.skip(x) + self.conv2(functional.silu(h))


class SelfAttention(nn.Module):
    """Self-attention between the pixels of an image, around a skip; it starts as the identity.

    Args:
        width: channels, a multiple of the heads.
        heads: attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(width // GROUP, width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.merge = _silent(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor, control: LayerControl | None) -> Tensor:
        """Return x (B, C, H, W) after the block."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).mT.unbind(1)
        mixed = attend(q, k, v, control, grid=x.shape[2:])
        return x + self.merge(mixed.mT.reshape(x.shape))


def _conv(given: int, width: int, mode: Padding) -> nn.Conv2d:
    return nn.Conv2d(given, width, 3, padding=1, padding_mode=mode)


def _silent(conv: nn.Conv2d) -> nn.Conv2d:
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    return conv
