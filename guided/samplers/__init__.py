"""Samplers, one a file; each declares its order and a test measures it."""

from guided.samplers.ddim import DDIM, DDPM
from guided.samplers.dpmpp import DPMpp2M
from guided.samplers.heun import Heun

__all__ = ["DDIM", "DDPM", "DPMpp2M", "Heun"]
