"""The commands of ``guided-rl``, one dataclass a file."""
