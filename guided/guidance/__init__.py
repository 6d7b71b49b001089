"""Guidance methods, one a file, sorted by the function they wrap: denoise, step or sample."""

from guided.guidance.between import Between
from guided.guidance.denoise.cfg import CFG
from guided.guidance.denoise.classifier import ClassifierGuidance, NoisyEnergy
from guided.guidance.denoise.contrast import Contrast
from guided.guidance.denoise.replace import Replace
from guided.guidance.sample.best_of_n import BestOfN
from guided.guidance.step.scg import SCG

__all__ = [
    "CFG",
    "SCG",
    "BestOfN",
    "Between",
    "ClassifierGuidance",
    "Contrast",
    "NoisyEnergy",
    "Replace",
]
