"""Plain networks without diffusion logic: ``net(x (B, ...), time (B,), cond) -> (B, ...)``."""

from guided.nets.attention import AttentionControl, attend
from guided.nets.control import Control, Maps, Skip, Stacked
from guided.nets.embed import FourierTime, RandomFourier
from guided.nets.mlp import MLP
from guided.nets.patches import PatchTransformer
from guided.nets.residual import ResidualMLP, ScalarMLP
from guided.nets.transformer import Transformer
from guided.nets.unet import UNet

__all__ = [
    "MLP",
    "AttentionControl",
    "Control",
    "FourierTime",
    "Maps",
    "PatchTransformer",
    "RandomFourier",
    "ResidualMLP",
    "ScalarMLP",
    "Skip",
    "Stacked",
    "Transformer",
    "UNet",
    "attend",
]
