"""A small convolutional classifier of clean pictures, which guides samples or judges them.

Two are shipped for the digits: ``guide`` may guide and select; ``judge`` never does, and its
features are the space of the Fréchet distance. They are trained on disjoint halves of the training
digits from different seeds, so that what pleases one does not please the other by descent.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from tyro.conf import Suppress

from domains.image.model import WEIGHTS
from guided.checkpoint import CheckpointError, Weights, load, save

JUDGE, GUIDE = WEIGHTS / "judge", WEIGHTS / "guide"


@dataclass(frozen=True)
class ClassifierConfig:
    """The architecture; saved with the weights. What the data tell is no option."""

    width: int = 32
    """Channels of the first convolutions; the others have twice as many."""
    features: int = 64
    """Numbers that describe a picture, just before the classes."""
    shape: Suppress[tuple[int, int, int]] = (1, 8, 8)
    """Channels, height and width of a picture."""
    names: Suppress[tuple[str, ...]] = ()
    """Names of the classes."""

    def __post_init__(self) -> None:
        if self.width < 1 or self.features < 1 or min(self.shape[1:]) < 4:
            raise ValueError(
                f"a classifier needs positive sizes and pictures of at least 4 x 4, got "
                f"width={self.width}, features={self.features} and a shape of {self.shape}"
            )


class Classifier(nn.Module):
    """Four convolutions and two linear layers; maps x (N, C, H, W) to logits (N, classes).

    Args:
        config: the architecture.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        width, wide = config.width, 2 * config.width
        self.trunk = nn.Sequential(
            nn.Conv2d(config.shape[0], width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, wide, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(wide, wide, 3, padding=1),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * wide, config.features),
        )
        self.head = nn.Linear(config.features, len(config.names))

    def features(self, x: Tensor) -> Tensor:
        """Return what the classifier sees in clean pictures x (N, C, H, W): (N, features).

        Raises:
            ValueError: for pictures of another shape.
        """
        if x.shape[1:] != self.config.shape:
            channels, height, width = self.config.shape
            raise ValueError(
                f"the classifier sees pictures of shape (N, {channels}, {height}, {width}), got "
                f"{tuple(x.shape)}; resize them"
            )
        return self.trunk(x)

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits (N, classes) of pictures of such features (N, features)."""
        return self.head(functional.silu(features))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, classes) of clean pictures x (N, C, H, W)."""
        return self.logits(self.features(x))


@torch.no_grad()
def accuracy(classifier: Classifier, x: Tensor, labels: Tensor) -> float:
    """Return the share of pictures x (N, C, H, W) that are taken for their labels (N,)."""
    right = [classifier(part).argmax(1) for part in x.split(1024)]
    return (torch.cat(right) == labels).double().mean().item()


def save_classifier(folder: Path, config: ClassifierConfig, weights: Weights, **about: Any) -> None:
    """Write weights in half precision with the architecture and any facts worth keeping."""
    save(folder, {"classifier": asdict(config), **about}, dtype=torch.float16, model=weights)


def load_classifier(folder: Path = JUDGE) -> Classifier:
    """Return the classifier, ready to classify.

    Raises:
        CheckpointError: for a missing, truncated or foreign checkpoint.
    """
    stored, tensors = load(folder)
    try:
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in stored["classifier"].items()
        }
        classifier = Classifier(ClassifierConfig(**fields))
    except (KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{folder} holds no classifier; use another folder") from None
    try:
        classifier.load_state_dict({k: v.float() for k, v in tensors["model"].items()})
    except (KeyError, RuntimeError):
        raise CheckpointError(
            f"the weights of {folder} do not fit its config.json; restore it"
        ) from None
    return classifier.eval().requires_grad_(False)
