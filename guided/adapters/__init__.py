"""Networks of others behind our contracts: any PyTorch module, and the models of diffusers."""

from guided.adapters.diffusers import ClipSample, DiffusersDenoiser
from guided.adapters.hooks import HookedNet, self_attentions
from guided.adapters.timesteps import (
    DiffusersFlow,
    DiffusersSchedule,
    schedule_of,
    timesteps_grid,
)

__all__ = [
    "ClipSample",
    "DiffusersDenoiser",
    "DiffusersFlow",
    "DiffusersSchedule",
    "HookedNet",
    "schedule_of",
    "self_attentions",
    "timesteps_grid",
]
