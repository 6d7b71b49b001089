"""Tiny recordings of the form of ETH/UCY: people who walk almost straight."""

from pathlib import Path

import numpy as np

from domains.trajectory.readers.eth_ucy import RECORDINGS


def write_walkers(root: Path, people: int = 6) -> Path:
    """Write all recordings, whole and in parts, and return their folder."""
    random = np.random.default_rng(0)
    for folder, suffix in (("all_data", ""), ("train", "_train"), ("val", "_val")):
        (root / folder).mkdir(parents=True)
        for name in RECORDINGS:
            np.savetxt(
                root / folder / f"{name}{suffix}.txt",
                walk(random, people),
                fmt="%.3f",
                delimiter="\t",
            )
    return root


def walk(random: np.random.Generator, people: int) -> np.ndarray:
    """Return rows of frame, person, x, y."""
    rows = []
    for person in range(people):
        first, place = random.integers(0, 10), random.normal(0, 4, 2)
        velocity = random.normal(0, 0.4, 2)
        for step in range(first, first + 24):
            place = place + velocity + random.normal(0, 0.05, 2)
            rows.append((10 * step, person + 1, *place))
    return np.array(rows)
