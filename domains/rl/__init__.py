"""Offline reinforcement learning: diffusion policies, guided exactly by their critics."""

from domains.rl.data.offline import OfflineData
from domains.rl.data.sources import load_data
from domains.rl.networks import Networks
from domains.rl.policy import DiffusionPolicy, Sampling
from domains.rl.train import PolicyTraining, Run

__all__ = [
    "DiffusionPolicy",
    "Networks",
    "OfflineData",
    "PolicyTraining",
    "Run",
    "Sampling",
    "load_data",
]
