"""Scenes ready to be sampled: all that does not depend on the noise, computed once.

Axis 0 of x is B S: the S samples of each of B scenes, side by side. The context of a scene is one
copy for all its samples, bound to the denoiser, so that guidance methods need not know of it. The
condition of a row is the number of its scene, by which rows that were stacked or taken are told.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.trajectory.batch import Case, Inputs, case, collate, padded
from domains.trajectory.decoding import Decoder
from domains.trajectory.layout import Layout
from domains.trajectory.model import Predictor
from domains.trajectory.network.encoder import Encoding
from domains.trajectory.network.joint import Context
from domains.trajectory.network.modes import Modes
from domains.trajectory.scene import Scene
from guided.denoiser import NetDenoiser
from guided.nets.control import Control, Stacked
from guided.rng import Rng, stream_seed
from guided.schedule import Level


class BoundDenoiser(NetDenoiser):
    """A joint denoiser that has its scenes with it: ``cond`` is the number of each row's scene.

    ``cond=None`` is for rows whose scenes have the same number of samples, side by side. Other rows
    are laid out again, which copies x and the result, (R, A, k), once. Branches under different
    controls are a call of the network each: 2 calls of R rows instead of one of 2 R.

    Args:
        denoiser: shared, not copied.
        context: of the scenes.
    """

    def __init__(self, denoiser: NetDenoiser, context: Context) -> None:
        super().__init__(denoiser.net, denoiser.schedule, denoiser.prediction)
        self.context = context

    @property
    def layers(self) -> int:
        """Return how many blocks of the network a control can act on."""
        net: Any = self.net
        return len(net.layers)

    def output(self, x: Tensor, level: Level, cond: Any = None, control: Any = None) -> Tensor:
        """Call the network on x (R, A, k), with the numbers of its scenes (R,) or None."""
        time = self._time(x, level)
        if not isinstance(control, Stacked):
            return self._called(x, time, cond, control)
        sizes = control.sizes
        scene = [None] * len(sizes) if cond is None else cond.split(sizes)
        branches = zip(x.split(sizes), time.split(sizes), scene, control.parts, strict=True)
        return torch.cat([self._called(*branch) for branch in branches])

    def _called(
        self, x: Tensor, time: Tensor, scene: Tensor | None, control: Control | None
    ) -> Tensor:
        layout = None if scene is None else Layout.of(scene, len(self.context.agents))
        if layout is None:
            return self.net(x, time, self.context, control)
        rows = self.net(x[layout.take], time[layout.take], self.context, control)
        return rows[layout.back]


@dataclass(frozen=True)
class Prepared:
    """B scenes with what the network says of them before any noise.

    Args:
        predictor: of the futures.
        scenes: B of them.
        cases: theirs, with the agents who are seen now.
        inputs: the padded batch.
        encoding: of the scenes.
        modes: marginal futures, as latents.
        mean: of the diffusion's coordinates, (B, A, k).
        std: of the diffusion's coordinates, (B, A, k).
        denoiser: with the scenes' context.
    """

    predictor: Predictor
    scenes: tuple[Scene, ...]
    cases: tuple[Case, ...]
    inputs: Inputs
    encoding: Encoding
    modes: Modes
    mean: Tensor
    std: Tensor
    denoiser: BoundDenoiser

    @cached_property
    def decoder(self) -> Decoder:
        """Return the way from the diffusion's coordinates to positions."""
        pairs = zip(self.scenes, self.cases, strict=True)
        stays = padded([_stays(scene, one) for scene, one in pairs])
        here, heading = self.inputs.positions[:, :, -1], self.inputs.headings[:, :, -1]
        latents = self.predictor.latents
        return Decoder.of(latents, self.mean, self.std, here, heading, ~stays)

    def bound(self, predictor: Predictor) -> BoundDenoiser:
        """Return the denoiser of another predictor of these scenes, in the coordinates of this one.

        Args:
            predictor: with the same latents, e.g. of an earlier step of the same training.
        """
        net: Any = predictor.joint.net
        context = net.context(*predictor.marginal(self.inputs), self.mean, self.std)
        return BoundDenoiser(predictor.joint, context)

    def numbers(self, samples: int) -> Tensor:
        """Return the number of each row's scene, (B samples,)."""
        return torch.arange(len(self.scenes)).repeat_interleave(samples)

    def decode(self, u: Tensor) -> Tensor:
        """Return positions (B S, A, F, 2), metres from each scene's origin, of u (B S, A, k).

        What is static stays where it is.
        """
        return self.decoder(u)

    def references(self) -> Tensor:
        """Return the marginal modes in the diffusion's coordinates, (B, M, A, k)."""
        places = (self.modes.latents - self.mean[:, :, None]) / self.std[:, :, None]
        return places.transpose(1, 2)

    def covariance(self) -> Tensor:
        """Return the covariance of the marginal modes in the diffusion's coordinates, (B, A, k, k).

        Its diagonal is 1 with the fitted prior (OGD), unless the least deviation was reached.
        """
        weight = self.modes.probabilities
        places = (self.modes.latents - self.mean[:, :, None]) / self.std[:, :, None]
        places = places - (weight[..., None] * places).sum(2, keepdim=True)
        between = torch.einsum("bam,bami,bamj->baij", weight, places, places)
        own = (self.modes.spread / self.std[:, :, None]).square()
        return between + torch.diag_embed((weight[..., None] * own).sum(2))

    def noise(self, samples: int, seed: int) -> Tensor:
        """Draw standard normal numbers (B samples, A, k); sample i of a scene has its own stream.

        A scene's numbers depend on the seed and its name alone: not on the other scenes, the
        padding, or how many samples there are.
        """
        dim = self.predictor.config.latents
        found = torch.zeros(len(self.scenes), samples, self.inputs.agents.shape[1], dim)
        for row, scene, one in zip(found, self.scenes, self.cases, strict=True):
            rng = Rng.per_sample(stream_seed(seed, zlib.crc32(scene.name.encode())), samples)
            row[:, : len(one.agents)] = rng.normal((samples, len(one.agents), dim))
        return found.flatten(0, 1)


@torch.no_grad()
def prepare(predictor: Predictor, scenes: Sequence[Scene]) -> Prepared:
    """Encode scenes; only their histories are read.

    Raises:
        ValueError: for a scene that does not fit the predictor's window.
    """
    known = [scene.history().seen_as(predictor.kinds) for scene in scenes]
    cases = tuple(case(scene, predictor.config.window) for scene in known)
    inputs = collate(cases)
    encoding, modes = predictor.marginal(inputs)
    mean, std = predictor.coordinates(modes)
    net: Any = predictor.joint.net
    denoiser = BoundDenoiser(predictor.joint, net.context(encoding, modes, mean, std))
    return Prepared(predictor, tuple(scenes), cases, inputs, encoding, modes, mean, std, denoiser)


def _stays(scene: Scene, one: Case) -> NDArray[np.bool_]:
    return np.array([scene.kinds[a] == "static" for a in one.agents])


def split(prepared: Prepared, positions: Tensor) -> Iterator[NDArray[np.float64]]:
    """Yield each scene's futures (S, A, F, 2) in its own coordinates, padding dropped."""
    each = positions.unflatten(0, (len(prepared.scenes), -1))
    for part, one in zip(each, prepared.cases, strict=True):
        yield part[:, : len(one.agents)].double().numpy() + one.origin
