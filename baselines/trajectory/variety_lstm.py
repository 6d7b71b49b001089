r"""Recurrent networks with a pooled neighbourhood, trained to be right once in k: the usual design.

A recurrent encoder reads each person's steps; the states of all others, with where they are, are
pooled by their maximum; one noise vector z for the whole scene makes worlds differ; a recurrent
decoder walks on. With k worlds drawn for a scene of N people and the truth Y,

.. math:: L = \min_k \frac{1}{F} \sum_{n, f} |\hat Y^k_{n f} - Y_{n f}|,

the variety loss: only the best world learns, so that the k spread over what may happen.

Source: Gupta, Johnson, Fei-Fei, Savarese & Alahi, 2018, Social GAN: Socially acceptable
    trajectories with generative adversarial networks, https://arxiv.org/abs/1803.10892.
Differs: no adversary, so that only the variety loss trains; everybody is seen in the own frame, so
    that the direction of the room does not matter; people may be seen for a part of the history;
    the loss is a distance, not its square.
"""

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from domains.trajectory.batch import Inputs, Targets, Window, case, collate
from domains.trajectory.dataset import Augmentation, Dataset
from domains.trajectory.forecast import Forecast
from domains.trajectory.frames import to_local, to_scene, turned
from domains.trajectory.pedestrians import pedestrian_training
from domains.trajectory.predict import ROWS, batches
from domains.trajectory.scene import Scene
from guided.checkpoint import CheckpointError, load, save
from guided.rng import Rng, initial_weights, stream_seed
from guided.train import TrainConfig, TrainState, train

SHORT = TrainConfig(
    steps=2000, batch=32, lr=5e-3, warmup=100, ema=0.998, log_every=200, save_every=500
)


@dataclass(frozen=True)
class VarietyConfig:
    """Sizes and training."""

    window: Window = field(default_factory=lambda: pedestrian_training().model.window)
    """What the network sees and says."""
    hidden: int = 32
    """Numbers in the state of encoder and decoder, and in the pooled one."""
    embedding: int = 16
    """Numbers that a step or a place becomes."""
    noise: int = 8
    """Numbers in z."""
    k: int = 20
    """Worlds of a scene in a training step."""
    vary: Augmentation = field(default_factory=lambda: pedestrian_training().vary)
    """How scenes are varied."""
    loop: TrainConfig = SHORT
    """The optimisation."""


class VarietyLSTM(nn.Module):
    """The network.

    Args:
        config: its sizes.
    """

    def __init__(self, config: VarietyConfig) -> None:
        super().__init__()
        self.config = config
        hidden, small = config.hidden, config.embedding
        self.seen = nn.Linear(3, small)
        self.encoder = nn.LSTM(small, hidden, batch_first=True)
        self.other = nn.Linear(4, small)
        self.pool = nn.Sequential(
            nn.Linear(small + hidden, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, hidden)
        )
        self.start = nn.Linear(2 * hidden + config.noise, hidden)
        self.move = nn.Linear(2, small)
        self.decoder = nn.LSTMCell(small, hidden)
        self.change = nn.Linear(hidden, 2)

    def forward(self, inputs: Inputs, z: Tensor) -> Tensor:
        """Return worlds (B, K, A, F, 2) of B scenes, in agents' own frames, for z (B, K, Z)."""
        moves, state = self._encoded(inputs)
        about = torch.cat([state, self._pooled(inputs, moves, state)], -1)
        shape = (*z.shape[:2], state.shape[1])
        parts = about[:, None].expand(*shape, -1), z[:, :, None].expand(*shape, -1)
        h = self.start(torch.cat(parts, -1)).tanh().flatten(0, 2)
        c, move = torch.zeros_like(h), moves[:, None].expand(*shape, 2).flatten(0, 2)
        steps = []
        for _ in range(self.config.window.future):
            h, c = self.decoder(self.move(move), (h, c))
            move = move + self.change(h)
            steps.append(move)
        return torch.stack(steps, 1).cumsum(1).unflatten(0, shape)

    def _encoded(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return the last move (B, A, 2) and the state (B, A, hidden) of everybody."""
        now, heading = inputs.positions[:, :, -1], inputs.headings[:, :, -1]
        both = inputs.valid[:, :, 1:] & inputs.valid[:, :, :-1]
        moves = to_local(inputs.positions, now, heading).diff(dim=2) * both[..., None]
        steps = self.seen(torch.cat([moves, both[..., None].to(moves)], -1))
        _, (h, _) = self.encoder(steps.flatten(0, 1))
        return moves[:, :, -1], h[0].unflatten(0, both.shape[:2])

    def _pooled(self, inputs: Inputs, moves: Tensor, state: Tensor) -> Tensor:
        """Return what everybody knows of all who are there, (B, A, hidden)."""
        now, heading = inputs.positions[:, :, -1], inputs.headings[:, :, -1]
        count = now.shape[1]
        walked = turned(moves, heading)  # in the frame of the scene
        ends = torch.stack([now, now + walked], 1)[:, :, None].expand(-1, -1, count, -1, -1)
        here, there = (to_local(part, now, heading) for part in ends.unbind(1))
        others = self.other(torch.cat([here, there - here], -1))
        states = state[:, None].expand(-1, count, -1, -1)
        known = self.pool(torch.cat([others, states], -1))
        return known.masked_fill(~inputs.agents[:, None, :, None], -torch.inf).amax(2)

    def loss(self, targets: Targets, inputs: Inputs, rng: Rng) -> Tensor:
        """Return the variety loss of every scene, (B,); their mean is per person."""
        scenes = len(inputs.positions)
        z = rng.normal((scenes, self.config.k, self.config.noise))
        truth = to_local(targets.futures, inputs.positions[:, :, -1], inputs.headings[:, :, -1])
        whole = targets.valid.all(-1)
        gaps = (self(inputs, z) - truth[:, None]).square().sum(-1).add(1e-6).sqrt().mean(-1)
        best = (gaps * whole[:, None]).sum(-1).amin(1)
        return best * scenes / whole.sum().clamp(min=1)


def run_variety(data: Dataset, config: VarietyConfig, folder: Path) -> Iterator[TrainState]:
    """Train in ``folder``, resuming what it holds; the finished model is in its ``model``."""
    with initial_weights(stream_seed(config.loop.seed)):
        net = VarietyLSTM(config)

    def batch(step: int, generator: torch.Generator) -> tuple[Any, Any]:
        return data.batch(config.loop.batch, generator, config.vary)

    for state in train(net, batch, config.loop, folder):
        yield state
    save(folder / "model", {"variety": asdict(config), "steps": state.step}, model=state.ema)


def load_variety(folder: Path, config: VarietyConfig) -> VarietyLSTM:
    """Return a trained network, ready to predict.

    Raises:
        CheckpointError: for a missing or truncated checkpoint, or one of another configuration.
    """
    stored, tensors = load(folder)
    if stored.get("variety") != json.loads(json.dumps(asdict(config))):
        raise CheckpointError(
            f"{folder} is no variety LSTM of this configuration; use another folder, or delete it"
        )
    net = VarietyLSTM(config)
    net.load_state_dict(tensors["model"])
    return net.eval().requires_grad_(False)


@torch.no_grad()
def predict_variety(
    net: VarietyLSTM, scenes: Sequence[Scene], samples: int, seed: int = 0
) -> Iterator[tuple[int, Forecast]]:
    """Yield the index of each scene and its forecast, scenes of like size first.

    Args:
        net: trained.
        scenes: what to predict; only their histories are read.
        samples: K.
        seed: of z; a world depends on it, the scene's name and its own number alone.
    """
    window, dim = net.config.window, net.config.noise
    for index in batches(scenes, max(1, ROWS // samples)):
        cases = [case(scenes[i].history(), window) for i in index]
        streams = [stream_seed(seed, zlib.crc32(scenes[i].name.encode())) for i in index]
        z = torch.stack([Rng.per_sample(s, samples).normal((samples, dim)) for s in streams])
        inputs = collate(cases)
        now, heading = inputs.positions[:, None, :, -1], inputs.headings[:, None, :, -1]
        worlds = to_scene(net(inputs, z), now, heading).double().numpy()
        shares = np.full(samples, 1 / samples)
        for i, one, found in zip(index, cases, worlds, strict=True):
            ours = found[:, : len(one.agents)] + one.origin
            yield i, Forecast(scenes[i], one.agents, ours, window.dt, shares)
