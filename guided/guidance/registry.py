"""Guidance by name, with options, for every domain: one registry, shared by the command lines.

A domain says what it has (:class:`Parts`); a user names a method and its options; :func:`guided`
puts them together, or says in one sentence what is missing. Names joined by ``+`` are one contrast.

    sampler = guided("cfg+autoguidance", Options(scale=(2.0, 1.5)), parts)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any

import tyro
from torch import Tensor

from guided.denoiser import Denoiser
from guided.guidance.denoise.combined import together
from guided.guidance.denoise.contrast import Contrast
from guided.guidance.scale import interval
from guided.rng import Rng
from guided.sampler import Sampler

Floats = tuple[float, ...]


@dataclass(frozen=True)
class Options:
    """What may be set of a guidance method; None is the method's own default."""

    scale: Floats = ()
    """w, one for every name; 1 is neutral, except for cfgpp, where 0 is the model without a
    condition, and pcg, which is neutral without corrections."""
    low: float | None = None
    """Guide only where sigma / alpha is above this."""
    high: float | None = None
    """Guide only where sigma / alpha is at most this."""
    layers: tuple[int, ...] | None = None
    """Blocks to perturb or to skip (pag, seg, stg, sag, tsg)."""
    keep: float | None = None
    """Share of a skipped block that stays (stg)."""
    blur: float | None = None
    """Sigma of a blur: of queries in tokens (seg; none is the mean query), of samples in places of
    their axes (sag)."""
    cut: float | None = None
    """Sigma of the Gaussian whose result is the slow band (frequency)."""
    noise: float | None = None
    """Strength of the noise on the embedding of time (tsg)."""
    eta: float | None = None
    """Share of the push along the prediction that stays (apg)."""
    radius: float | None = None
    """Longest push, as a root mean square (apg)."""
    beta: float | None = None
    """Weight of the pushes of earlier steps (momentum, apg with momentum); 0 is neutral."""
    phi: float | None = None
    """Share of the rescaling (rescaled-cfg); 0 is neutral."""
    zero: float | None = None
    """Share of the first noise levels without a move (cfg-zero-star)."""
    slow: float | None = None
    """Scale of the slow band (frequency); ``scale`` is that of the rest."""
    gate: float | None = None
    """Confidence from which the classifier's class is left alone (gfcg)."""
    threshold: float | None = None
    """Cosine above which a sample is no longer guided (adaptive)."""
    settle: float | None = None
    """Ratio sigma / alpha up to which agreement counts: above, both see noise alone (adaptive)."""
    decay: float | None = None
    """Weight of the past in the running mean of predictions (past)."""
    corrections: int | None = None
    """Langevin steps after every step (pcg)."""


@dataclass(frozen=True)
class Parts:
    """What a domain has; None is what it lacks.

    Args:
        denoiser: the strong branch.
        sampler: makes the plain sampler of a denoiser.
        null: maps a condition to the null condition.
        weak: a weaker network of the same task, e.g. the early snapshot of the same training.
        random: draws a condition that says nothing of the sample: (cond, rng) -> cond.
        classify: maps clean samples (B, ...) to logits (B, K), for reference classes.
        relabel: puts classes (B,) into a condition: (cond, classes) -> cond.
        label: reads the classes (B,) out of a condition.
        axes: those of x (B, ...) along which it is smooth, e.g. time, or rows and columns.
        centre: the mean of the data, about which apg projects.
        regions: masks (R, ...) over one sample, which add up to 1.
        attention: whether there is attention in the layers of the strong branch.
        domain: what a message calls the model.
    """

    denoiser: Denoiser
    sampler: Callable[[Denoiser], Sampler]
    null: Callable[[Any], Any] | None = None
    weak: Denoiser | None = None
    random: Callable[[Any, Rng], Any] | None = None
    classify: Callable[[Tensor], Tensor] | None = None
    relabel: Callable[[Any, Tensor], Any] | None = None
    label: Callable[[Any], Tensor] | None = None
    axes: tuple[int, ...] | None = None
    regions: Tensor | None = None
    centre: float | Tensor = 0.0
    attention: bool = True
    domain: str = "this model"


LACKS = {
    "null": "a null condition, which a model learns when its condition is dropped in training",
    "weak": "a weak network, such as the early snapshot that training keeps",
    "random": "random conditions",
    "classify": "a classifier",
    "label": "classes in its condition",
    "axes": "axes along which samples are smooth",
    "regions": "regions of its samples",
    "layers": "layers that can be perturbed",
    "attention": "attention in its layers",
}


@dataclass(frozen=True)
class Method:
    """A guidance method by name.

    Args:
        summary: one line.
        defaults: the options that it reads, with their values; ``scale`` is one number.
        contrast: makes the denoise-level part; None = the plain denoiser.
        step: wraps the sampler of it; None = nothing.
        needs: the parts that must be there; ``layers`` is a denoiser that takes a control, and
            ``attention`` one that has some.
    """

    summary: str
    defaults: Mapping[str, Any]
    contrast: Callable[[Parts, "Chosen"], Contrast] | None = None
    step: "Step | None" = None
    needs: tuple[str, ...] = ()


Chosen = Mapping[str, Any]
"""Options of one method after its defaults."""

Step = Callable[[Sampler, Parts, Chosen], Sampler]
"""Wraps the sampler of a domain, given what the domain has."""


def guided(
    name: str, options: Options, parts: Parts, methods: Mapping[str, Method] | None = None
) -> Sampler:
    """Return the sampler of a named method.

    Args:
        name: a name of the registry, or several joined by ``+``; ``none`` is the plain sampler.
        options: what to set.
        parts: what the domain has.
        methods: the registry; None is :data:`guided.guidance.names.METHODS`.

    Raises:
        ValueError: for an unknown name, an option that none of the methods reads, another number
            of scales than names, a part that the domain lacks, or a method that does not fit beside
            the others or in the domain's sampler.
    """
    if name == "none":
        _unused(options, {}, name)
        return parts.sampler(parts.denoiser)
    registry = known() if methods is None else methods
    names = name.split("+")
    chosen = _chosen(names, options, registry)
    for one in names:
        _require_parts(one, registry[one], parts)
    pairs = [(registry[n], c) for n, c in zip(names, chosen, strict=True)]
    contrasts = [m.contrast(parts, c) for m, c in pairs if m.contrast]
    sampler = parts.sampler(_joined(name, contrasts, parts.denoiser))
    for one, (method, own) in zip(names, pairs, strict=True):
        if method.step:
            sampler = _stepped(one, method.step, sampler, parts, own)
    return sampler


def _joined(name: str, contrasts: Sequence[Contrast], plain: Denoiser) -> Denoiser:
    """Return contrasts side by side, in one sentence where they do not go together."""
    if len(contrasts) < 2:
        return contrasts[0] if contrasts else plain
    try:
        return together(*contrasts)
    except TypeError as error:
        raise ValueError(f"the guidance {name} does not go together: {error}") from error


def known() -> Mapping[str, Method]:
    """Return the registry."""
    from guided.guidance.names import METHODS  # the table needs the types above

    return METHODS


def _stepped(name: str, step: Step, sampler: Sampler, parts: Parts, chosen: Chosen) -> Sampler:
    """Return the sampler with what a method does to its steps.

    Raises:
        ValueError: for a method that needs a contrast right inside, where another one, or a method
            of the domain, lies between.
    """
    try:
        return step(sampler, parts, chosen)
    except TypeError as error:
        raise ValueError(
            f"{name} does not go with what {parts.domain} is sampled by ({error}); take a method "
            f"that leaves the steps alone, such as cfg, or switch the other one off"
        ) from None


def _chosen(
    names: Sequence[str], options: Options, registry: Mapping[str, Method]
) -> list[dict[str, Any]]:
    for name in names:
        if name not in registry:
            raise ValueError(
                f"unknown guidance {name!r}; expected none, {', '.join(registry)}, or several "
                f"joined by +"
            )
    if options.scale and len(options.scale) != len(names):
        raise ValueError(
            f"--guidance.scale needs one number for each of {'+'.join(names)}, got "
            f"{len(options.scale)}"
        )
    read = {key for name in names for key in registry[name].defaults}
    _unused(options, read | {"scale"}, "+".join(names))
    given = {f.name: v for f in fields(options) if (v := getattr(options, f.name)) is not None}
    scales = given.pop("scale") or (None,) * len(names)
    chosen = []
    for name, scale in zip(names, scales, strict=True):
        own = {**registry[name].defaults, **given}
        if scale is not None:
            own["scale"] = scale
        limits = {k: v for k in ("low", "high") if (v := own.get(k)) is not None}
        if limits:
            own |= {key: interval(own[key], **limits) for key in ("scale", "slow") if key in own}
        chosen.append(own)
    return chosen


def _unused(options: Options, read: Any, name: str) -> None:
    for entry in fields(options):
        value = getattr(options, entry.name)
        if value not in (None, ()) and entry.name not in read:
            reads = f"reads {', '.join(sorted(read))}" if read else "reads none"
            raise ValueError(f"the guidance {name} has no option {entry.name!r}; it {reads}")


def _require_parts(name: str, method: Method, parts: Parts) -> None:
    for need in method.needs:
        if not _has(parts, need):
            raise ValueError(f"{name} needs {LACKS[need]}; {parts.domain} has none")


def _has(parts: Parts, need: str) -> bool:
    if need == "layers":
        return parts.denoiser.layers > 0
    if need == "attention":
        return parts.attention
    return getattr(parts, need) is not None


@dataclass(frozen=True)
class Named:
    """Guidance as a command line asks for it."""

    guidance: str = "none"
    """Guidance of the contrast family by name, or several joined by +, in whose order they
    wrap a step: cfg, interval, apg, cfgpp, autoguidance, pag, ... (an unknown name lists all)."""
    options: Annotated[Options, tyro.conf.arg(name="guidance")] = field(default_factory=Options)
    """Its options."""

    def sampler(self, parts: Parts) -> Sampler:
        """Return the sampler, as :func:`guided` does."""
        return guided(self.guidance, self.options, parts)

    def scaled(self, *scale: float) -> "Named":
        """Return the same guidance at another scale."""
        return replace(self, options=replace(self.options, scale=scale))
