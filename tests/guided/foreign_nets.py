"""Networks as others write them, for controls from outside."""

import torch
from torch import nn
from torch.nn import functional

from guided import Rng
from guided.nets import AttentionControl, Control, Skip
from guided.rng import initial_weights

T, W, H = 6, 8, 2
IDENTITY = Control(AttentionControl(frozenset({0})))
SKIP = Control(skip=Skip(frozenset({0})))


class Fused(nn.Module):
    """Attention as in timm: one projection, a norm of q and k, the fused kernel."""

    def __init__(self, **options):
        super().__init__()
        self.qkv, self.out, self.options = nn.Linear(W, 3 * W), nn.Linear(W, W), options

    def project(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, H, -1)).permute(2, 0, 3, 1, 4)
        return functional.normalize(q, dim=-1), functional.normalize(k, dim=-1), v

    def forward(self, x):
        mixed = functional.scaled_dot_product_attention(*self.project(x), **self.options)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Multihead(nn.MultiheadAttention):
    """PyTorch's own, called with one argument."""

    def __init__(self, batch_first=True):
        super().__init__(W, H, batch_first=batch_first)
        nn.init.normal_(self.in_proj_bias)
        nn.init.normal_(self.out_proj.bias)

    def project(self, x):
        x = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        return x.unflatten(-1, (3, H, -1)).permute(2, 0, 3, 1, 4)

    @property
    def out(self):
        return self.out_proj


class Block(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.norm, self.attn = nn.LayerNorm(W), attention
        self.mlp = nn.Sequential(nn.LayerNorm(W), nn.Linear(W, W), nn.GELU())

    def attended(self, x):
        if not isinstance(self.attn, Multihead):
            return self.attn(x)
        if self.attn.batch_first:
            return self.attn(x, x, x)[0]
        x = x.transpose(0, 1)
        return self.attn(x, x, x, need_weights=False)[0].transpose(0, 1)

    def forward(self, x, level):
        x = x + self.attended(self.norm(x)) + level[:, None]
        return x + self.mlp(x)


class Foreign(nn.Module):
    """Someone's transformer over x (B, T, W)."""

    def __init__(self, make, depth=2):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(1, W), nn.SiLU(), nn.Linear(W, W))
        self.blocks = nn.ModuleList(Block(make()) for _ in range(depth))
        self.unused = nn.Linear(W, W)

    def forward(self, x, time, cond=None):
        level = self.time(time[:, None])
        for block in self.blocks:
            x = block(x, level)
        return x


ATTENTIONS = {
    "fused": Fused,
    "scaled": lambda: Fused(scale=0.9),
    "multihead": Multihead,
    "tokens first": lambda: Multihead(batch_first=False),
}
LAYERS = {
    "blocks.0.attn": "attention",
    "blocks.1.attn": "attention",
    "blocks.0": "block",
    "blocks.1": "block",
}


def foreign(kind="fused"):
    with initial_weights(0):
        return Foreign(ATTENTIONS[kind]).double().eval()


def inputs(batch=3):
    return Rng(0).normal((batch, T, W), torch.float64), Rng(1).uniform((batch,), torch.float64)


def hooks(net):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())
