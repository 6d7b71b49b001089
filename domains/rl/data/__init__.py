"""Logged episodes: from Minari, D4RL files or an environment at hand, into flat tensors."""
