"""Joint forecasts: worlds sampled together, and a few of them chosen."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from domains.trajectory import selection
from domains.trajectory.forecast import Forecast
from domains.trajectory.model import Predictor
from domains.trajectory.prepared import Prepared, prepare, split
from domains.trajectory.scene import Scene
from guided.rng import Rng
from guided.sampler import Sampler
from guided.samplers import DDIM
from guided.schedule import uniform

ROWS = 4096  # agents times samples in one network call, about
Guide = Callable[[Prepared, Sequence[float]], Sampler]  # of the scenes, for a time grid


@dataclass(frozen=True)
class Sampling:
    """How worlds are drawn."""

    samples: int = 64
    """Joint samples of a scene."""
    steps: int = 4
    """Network calls."""
    start: float = 1.0
    """Level T at which a run starts: below 1 only with the fitted prior (OGD)."""
    seed: int = 0
    """Of the noise; a sample depends on it, the scene's name and its own number alone."""

    def __post_init__(self) -> None:
        if self.samples < 1 or self.steps < 1 or not 0 < self.start <= 1 or self.seed < 0:
            raise ValueError(
                f"sampling needs 1 or more samples and steps, a start in (0, 1] and a seed of 0 or "
                f"more, got {self.samples}, {self.steps}, {self.start} and {self.seed}"
            )


def unguided(prepared: Prepared, times: Sequence[float]) -> Sampler:
    """Return the deterministic sampler of the scenes."""
    return DDIM(prepared.denoiser)


def sampled(prepared: Prepared, how: Sampling, guide: Guide = unguided) -> Tensor:
    """Return joint futures (B S, A, F, 2), metres from each scene's origin.

    Args:
        prepared: the scenes.
        how: samples, steps, start and seed.
        guide: builds the sampler; :func:`unguided` by default.

    Raises:
        ValueError: for a start below 1 with the vanilla prior, which ends in pure noise.
    """
    require_start(prepared.predictor, how)
    times = uniform(how.steps, start=how.start)
    sampler = guide(prepared, times)
    noise, scene = prepared.noise(how.samples, how.seed), prepared.numbers(how.samples)
    u = sampler.sample(noise, times, scene, rng=Rng(how.seed))
    return prepared.decode(u)


def require_finite(positions: Tensor) -> Tensor:
    """Return futures that are numbers.

    Raises:
        ValueError: where a guidance has diverged.
    """
    if not bool(positions.isfinite().all()):
        raise ValueError("the guidance diverged: positions are no numbers; lower its strength")
    return positions


def require_start(predictor: Predictor, how: Sampling) -> None:
    """Refuse a late start where the prior is that of pure noise.

    Raises:
        ValueError: in words.
    """
    if predictor.config.prior == "vanilla" and how.start < 1:
        raise ValueError(
            f"a run with the vanilla prior starts in pure noise, at 1, got {how.start}; a late "
            f"start needs a model trained with --model.prior ogd"
        )


def batches(scenes: Sequence[Scene], rows: int) -> Iterator[list[int]]:
    """Yield indices of scenes with about as many agents, at most ``rows`` agents at a time."""
    sizes = [int(scene.present.sum()) for scene in scenes]
    chunk: list[int] = []
    for i in sorted(range(len(scenes)), key=lambda i: (sizes[i], i)):
        if chunk and (len(chunk) + 1) * sizes[i] > rows:
            yield chunk
            chunk = []
        chunk.append(i)
    if chunk:
        yield chunk


def predict(
    predictor: Predictor,
    scenes: Sequence[Scene],
    how: Sampling | None = None,
    worlds: int | None = None,
    guide: Guide = unguided,
) -> Iterator[tuple[int, Forecast]]:
    """Yield the index of each scene and its forecast, scenes of like size first.

    Args:
        predictor: trained.
        scenes: what to predict; only their histories are read.
        how: samples, steps, start and seed.
        worlds: how many to choose of the samples, each with the share it stands for; None keeps
            them all.
        guide: builds the sampler.

    Raises:
        ValueError: for a scene that does not fit the predictor's window.
    """
    how = how or Sampling()
    for index in batches(scenes, max(1, ROWS // how.samples)):
        prepared = prepare(predictor, [scenes[i] for i in index])
        positions = require_finite(sampled(prepared, how, guide))
        for i, one, found in zip(index, prepared.cases, split(prepared, positions), strict=True):
            chosen, shares = selection.worlds(found, worlds or len(found))
            yield i, Forecast(scenes[i], one.agents, chosen, predictor.config.window.dt, shares)
