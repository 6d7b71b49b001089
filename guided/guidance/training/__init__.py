"""Guidance that is learned: what changes the training, so that a run costs less or needs no label.

The other folders are named after the function that a method wraps in a run; what is here wraps a
loss, a batch or the data of one.
"""

from guided.guidance.training.adapter import Adapter, Distilled
from guided.guidance.training.distil import Record, distil_loss, record, recorded
from guided.guidance.training.dropout import dropped, with_dropout
from guided.guidance.training.forcing import forcing_loss
from guided.guidance.training.labels import SelfLabels, cluster
from guided.guidance.training.model_guidance import mg_loss
from guided.guidance.training.refine import NoiseRefine, NoiseRefiner, refine_loss
from guided.guidance.training.silent import silenced

__all__ = [
    "Adapter",
    "Distilled",
    "NoiseRefine",
    "NoiseRefiner",
    "Record",
    "SelfLabels",
    "cluster",
    "distil_loss",
    "dropped",
    "forcing_loss",
    "mg_loss",
    "record",
    "recorded",
    "refine_loss",
    "silenced",
    "with_dropout",
]
