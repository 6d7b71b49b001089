"""Guidance that is learned: what changes the training, so that a run costs less or needs no label.

The other folders are named after the function that a method wraps in a run; what is here wraps a
loss, a batch or the data of one.
"""

from guided.guidance.training.dropout import dropped, with_dropout
from guided.guidance.training.forcing import forcing_loss
from guided.guidance.training.labels import SelfLabels, cluster
from guided.guidance.training.model_guidance import mg_loss

__all__ = ["SelfLabels", "cluster", "dropped", "forcing_loss", "mg_loss", "with_dropout"]
