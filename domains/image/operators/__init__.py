"""What happens to pictures before they are measured, one operator a file."""

from domains.image.operators.box import Box
from domains.image.operators.corrupt import Measurement, corrupt
from domains.image.operators.degradation import Degradation
from domains.image.operators.gaussian_blur import GaussianBlur
from domains.image.operators.inpainting import Inpainting, scattered
from domains.image.operators.jpeg import JPEG
from domains.image.operators.motion_blur import MotionBlur
from domains.image.operators.named import OPERATORS, operator_named, options_of
from domains.image.operators.phase_retrieval import PhaseRetrieval
from domains.image.operators.super_resolution import SuperResolution

__all__ = [
    "JPEG",
    "OPERATORS",
    "Box",
    "Degradation",
    "GaussianBlur",
    "Inpainting",
    "Measurement",
    "MotionBlur",
    "PhaseRetrieval",
    "SuperResolution",
    "corrupt",
    "operator_named",
    "options_of",
    "scattered",
]
