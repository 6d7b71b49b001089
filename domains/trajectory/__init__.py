"""Trajectories of everybody in a scene: joint prediction, and generation under constraints.

    predictor = load_model()
    scenes = open_scenes("crossing", count=2)
    for i, forecast in predict(predictor, scenes, Sampling(samples=64), worlds=6): ...

A guide makes forecasts obey: ``guide(asking("agent 3: goal (12, 4.5) at 3.2 s"), Guidance())``.
"""

from domains.trajectory.asking import asking, guide, judged
from domains.trajectory.costs.language import parse
from domains.trajectory.forecast import Forecast
from domains.trajectory.guiding import Guidance
from domains.trajectory.model import ModelConfig, Predictor, load_model
from domains.trajectory.predict import Sampling, predict
from domains.trajectory.road import Lane, RoadMap
from domains.trajectory.scene import Scene
from domains.trajectory.scene_file import read_forecast, read_scene, write_forecast, write_scene
from domains.trajectory.sources import open_scenes

__all__ = [
    "Forecast",
    "Guidance",
    "Lane",
    "ModelConfig",
    "Predictor",
    "RoadMap",
    "Sampling",
    "Scene",
    "asking",
    "guide",
    "judged",
    "load_model",
    "open_scenes",
    "parse",
    "predict",
    "read_forecast",
    "read_scene",
    "write_forecast",
    "write_scene",
]
