"""The commands of ``guided-trajectory``, one a file."""
