"""The commands of ``guided-music``; each is a dataclass whose fields are its options."""
