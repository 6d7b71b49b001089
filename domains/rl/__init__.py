"""Offline reinforcement learning: diffusion policies, guided exactly by their critics."""

from domains.rl.critics.critic import CriticConfig
from domains.rl.data.offline import OfflineData
from domains.rl.data.sources import load_data
from domains.rl.model import ModelConfig
from domains.rl.networks import Networks
from domains.rl.policy import DiffusionPolicy, Sampling
from domains.rl.train import PolicyTraining, Run

__all__ = [
    "CriticConfig",
    "DiffusionPolicy",
    "ModelConfig",
    "Networks",
    "OfflineData",
    "PolicyTraining",
    "Run",
    "Sampling",
    "load_data",
]
