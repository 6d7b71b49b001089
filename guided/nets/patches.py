r"""A transformer over images: every patch is a token.

An image (C, H, W) is cut into :math:`R \times K` patches of side p, R rows and K columns of them.
Token :math:`r K + k` is the patch in row r and column k, its :math:`C p^2` numbers flattened.
"""

from einops import rearrange
from torch import Tensor, nn

from guided.nets.control import Control, Stacked
from guided.nets.transformer import Transformer


class PatchTransformer(nn.Module):
    """Maps x (B, C, H, W) to (B, C, H, W) by a :class:`Transformer` over patches.

    The transformer's place in a cycle is the column of a patch, the index of the cycle its row.

    Args:
        channels: C.
        size: H and W, in pixels.
        patch: side p of a patch, which divides both.
        width: of a token.
        depth: number of blocks.
        heads: attention heads.
        labels: number of classes; index ``labels`` is one more, learned, for "no label". 0 = none.

    Attributes:
        grid: rows R and columns K of tokens.
        layers: how many blocks a control can act on.

    Raises:
        ValueError: for a patch that does not divide the size, or a width as the transformer says.

    Source: Peebles & Xie 2023 (DiT), https://arxiv.org/abs/2212.09748, section 3.2.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        patch: int = 2,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        labels: int = 0,
    ) -> None:
        super().__init__()
        if patch < 1 or min(size) < 1 or any(side % patch for side in size):
            raise ValueError(
                f"a patch must divide both sides of an image, got patch={patch} and a size of "
                f"{size[0]} x {size[1]}; choose another patch"
            )
        self.channels, self.size, self.patch, self.labels = channels, tuple(size), patch, labels
        self.layers = depth
        self.grid = (size[0] // patch, size[1] // patch)
        self.tokens = Transformer(
            channels * patch**2,
            width=width,
            depth=depth,
            heads=heads,
            labels=labels,
            period=self.grid[1],
            periods=self.grid[0],
        )

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
            control: what to do to some blocks, or to the level's embedding; None = nothing.

        Returns:
            Shape (B, C, H, W).

        Raises:
            ValueError: for x of another shape, or what the transformer refuses.
        """
        if x.shape[1:] != (self.channels, *self.size):
            raise ValueError(
                f"PatchTransformer expects x of shape (B, {self.channels}, {self.size[0]}, "
                f"{self.size[1]}), got {tuple(x.shape)}"
            )
        p, (rows, columns) = self.patch, self.grid
        tokens = rearrange(x, "b c (r p) (k q) -> b (r k) (c p q)", p=p, q=p)
        out = self.tokens(tokens, time, cond, control=control, grid=self.grid)
        return rearrange(out, "b (r k) (c p q) -> b c (r p) (k q)", r=rows, k=columns, p=p, q=p)
