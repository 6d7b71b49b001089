"""Offline reinforcement learning: diffusion policies, guided exactly by their critics."""
