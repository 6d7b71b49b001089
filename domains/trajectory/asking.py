"""A request as a guide: constraints on scenes become energies, and those a sampler."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from domains.trajectory.batch import Case, Window
from domains.trajectory.contrast import parts
from domains.trajectory.costs.language import Constraint, compile, parse
from domains.trajectory.costs.report import Residual, drawn_goals, residuals
from domains.trajectory.costs.setting import Setting
from domains.trajectory.forecast import Forecast
from domains.trajectory.guiding import Guidance
from domains.trajectory.model import Predictor
from domains.trajectory.predict import Guide
from domains.trajectory.prepared import Prepared
from domains.trajectory.scene import Scene
from guided.denoiser import Denoiser
from guided.energy import Energy
from guided.guidance.registry import Named
from guided.sampler import Sampler

Ask = Callable[[Setting], Energy]


def setting_of(prepared: Prepared, scene: Scene, one: Case) -> Setting:
    """Return what costs know of a prepared scene."""
    window = prepared.predictor.config.window
    return Setting.of(scene, one.agents, window.dt, window.future, one.origin)


def guide(
    ask: Ask, how: Guidance, named: Named | None = None, weak: Predictor | None = None
) -> Guide:
    """Return a guide that asks the same of every scene.

    Args:
        ask: makes the energy of a scene's futures from its setting.
        how: method, strength and bounds.
        named: guidance of the predictor by contrast, inside that by the energy; None = none.
        weak: of it, for autoguidance: see :func:`domains.trajectory.contrast.parts`.
    """

    def of(prepared: Prepared, times: Sequence[float]) -> Sampler:
        pairs = zip(prepared.scenes, prepared.cases, strict=True)
        energies = [ask(setting_of(prepared, *pair)) for pair in pairs]

        def sampler(denoiser: Denoiser) -> Sampler:
            return how.sampler(prepared, times, energies, denoiser)

        return (named or Named()).sampler(parts(prepared, sampler, weak))

    return of


def asking(constraints: str | Sequence[Constraint]) -> Ask:
    """Return what makes the energy of constraints, or of lines of their language, in any setting.

    Raises:
        ValueError: for a line that cannot be understood.
    """
    found = parse(constraints) if isinstance(constraints, str) else constraints
    return lambda setting: compile(found, setting)


def require_fit(scene: Scene, constraints: Sequence[Constraint], window: Window) -> None:
    """Refuse what cannot be asked of a scene, before anything is sampled.

    Raises:
        ValueError: in words.
    """
    agents = np.flatnonzero(scene.present)
    origin = scene.positions[agents, scene.now].mean(0) if len(agents) else np.zeros(2)
    compile(constraints, Setting.of(scene, agents, window.dt, window.future, origin))


def judged(forecast: Forecast, constraints: Sequence[Constraint]) -> list[Residual]:
    """Return how far a forecast is from what was asked, constraint by constraint."""
    setting = _setting(forecast)
    worlds: NDArray[np.float64] = forecast.worlds - setting.origin
    return residuals(compile(constraints, setting), torch.from_numpy(worlds))


def with_goals(forecast: Forecast, constraints: Sequence[Constraint]) -> Forecast:
    """Return a forecast with what was asked for, to be drawn."""
    return replace(forecast, goals=drawn_goals(constraints, _setting(forecast)))


def _setting(forecast: Forecast) -> Setting:
    scene = forecast.scene
    origin = scene.positions[forecast.agents, scene.now].mean(0)
    return Setting.of(scene, forecast.agents, forecast.dt, forecast.worlds.shape[2], origin)
