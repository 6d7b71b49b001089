"""Scale against quality: every method at several scales, judged by who did not guide."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from domains.image.classifier import Classifier
from domains.image.generation import Generator
from guided.fidelity import coverage, frechet_distance, saturation
from guided.guidance.registry import Named, Options

SATURATED = 1.2  # beyond it data in [-1, 1] never are
WIDE = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
NARROW = (1.0, 1.5, 2.0, 2.5, 3.0)


@dataclass(frozen=True)
class Curve:
    """One method, at several scales.

    Args:
        named: the method with its options, without a scale.
        scales: w for each of its names; several numbers belong to several names.
    """

    named: Named
    scales: tuple[tuple[float, ...], ...]


def curve(name: str, scales: Sequence[float | tuple[float, ...]], **options: Any) -> Curve:
    """Return a curve of a method by name."""
    tuples = tuple(s if isinstance(s, tuple) else (s,) for s in scales)
    return Curve(Named(name, Options(**options)), tuples)


def both(scales: Sequence[float], other: float) -> list[tuple[float, ...]]:
    """Return scales of two names, the second of them fixed; all neutral at 1."""
    return [(w, other if w != 1 else 1.0) for w in scales]


CURVES: dict[str, Curve] = {
    "cfg": curve("cfg", WIDE),
    "interval": curve("interval", WIDE),
    "apg": curve("apg", WIDE),
    "momentum": curve("momentum", WIDE),
    "rescaled-cfg": curve("rescaled-cfg", WIDE),
    "cfg-zero-star": curve("cfg-zero-star", WIDE, zero=0.0),
    "tcfg": curve("tcfg", WIDE),
    "frequency": curve("frequency", WIDE),
    "scfg": curve("scfg", WIDE),
    "cfgpp": curve("cfgpp", (0.05, 0.1, 0.2, 0.4, 0.8)),
    "adaptive": curve("adaptive", WIDE),
    "pcg": curve("pcg", (1.0, 1.5, 2.0, 3.0)),
    "icg": curve("icg", NARROW),
    "tsg": curve("tsg", NARROW),
    "pag": curve("pag", NARROW),
    "seg": curve("seg", NARROW),
    "sag": curve("sag", NARROW),
    "stg": curve("stg", NARROW, layers=(1,), keep=0.5),
    "autoguidance": curve("autoguidance", NARROW),
    "past": curve("past", (1.0, 1.2, 1.5, 2.0)),
    "gfcg": curve("gfcg", NARROW),
    "gfcg-autoguidance": curve("gfcg-autoguidance", NARROW),
    "cfg+autoguidance": curve("cfg+autoguidance", both(NARROW, 1.5)),
    "cfg+gfcg": curve("cfg+gfcg", both(NARROW, 1.5)),
}
"""Methods of the sweep by the name that the table and the plots show."""


@dataclass(frozen=True)
class Judged:
    """What the pictures are compared with.

    Args:
        judge: a classifier that never guides; its features are the space of the distances.
        data: held-out pictures (M, C, H, W).
        labels: their classes.
    """

    judge: Classifier
    data: Tensor
    labels: Tensor

    @cached_property
    @torch.no_grad()
    def real(self) -> Tensor:
        """The features of the held-out pictures."""
        return self.judge.features(self.data)

    @torch.no_grad()
    def figures(self, x0: Tensor, labels: Tensor) -> dict[str, float]:
        """Return all figures of merit of pictures (N, C, H, W) that ought to be of these classes.

        What is beyond [-1, 1] is cut off first, as in a file; saturation is counted before.
        """
        features = self.judge.features(x0.clamp(-1, 1))
        right = self.judge.logits(features).argmax(1) == labels
        cover = coverage(features, self.real)
        return {
            "distance": frechet_distance(features, self.real),
            "accuracy": right.double().mean().item(),
            **cover._asdict(),
            "saturation": saturation(x0, SATURATED),
        }


def require_parts(generator: Generator, curves: Mapping[str, Curve]) -> None:
    """Build every sampler of the curves, and draw nothing.

    Raises:
        ValueError: for a method that does not fit the generator.
    """
    parts = generator.parts()
    for one in curves.values():
        for scales in one.scales:
            one.named.scaled(*scales).sampler(parts)


def points(
    generator: Generator,
    judged: Judged,
    curves: Mapping[str, Curve],
    seeds: Sequence[int],
) -> Iterator[dict[str, Any]]:
    """Yield one row for every method, scale and seed: the figures, evaluations and seconds.

    All methods draw pictures of the classes of the held-out data, from the same noise.
    """
    for label, one in curves.items():
        for scales in one.scales:
            for seed in seeds:
                (parts, rows), began = generator.counted(), time.perf_counter()
                named = one.named.scaled(*scales)
                x0 = generator.sample(named, judged.labels, seed=seed, parts=parts)
                seconds = time.perf_counter() - began
                yield {
                    "method": label,
                    "scale": list(scales),
                    "seed": seed,
                    **judged.figures(x0, judged.labels),
                    "evaluations": rows() / len(x0),
                    "seconds": round(seconds, 2),
                }


def means(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for every method and scale: means over seeds, and the distance's deviation."""
    groups: dict[tuple[str, tuple[float, ...]], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["method"], tuple(row["scale"])), []).append(row)
    found = []
    for (method, scale), members in groups.items():
        keys = [k for k in members[0] if k not in ("method", "scale", "seed")]
        mean = {k: sum(m[k] for m in members) / len(members) for k in keys}
        distances = torch.tensor([m["distance"] for m in members], dtype=torch.float64)
        spread = distances.std().item() if len(members) > 1 else 0.0
        found.append({"method": method, "scale": list(scale), **mean, "distance_std": spread})
    return found
