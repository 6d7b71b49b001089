"""The training loop: a generator of states, so that the caller owns progress bars and early stop.

Every random number of step k comes from one generator seeded by (seed, k, rank), and the learning
rate is a function of k. A run that was killed and is started again therefore continues bit for bit
from its last save, with no random state to store. Networks with dropout modules would draw from the
global state and break this.
"""

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from guided.checkpoint import CheckpointError
from guided.cond import tree_map
from guided.optimizer import Decay, OptimizerName, optimizers, rate_at
from guided.resume import Line, RunFolder
from guided.rng import Rng, stream_seed

Batch = Callable[[int, torch.Generator], tuple[Tensor, Any]]
Loss = Callable[[Tensor, Any, Rng], Tensor]


@dataclass(frozen=True)
class TrainConfig:
    """How to train."""

    steps: int = 10_000
    """Optimisation steps."""
    batch: int = 32
    """Samples a step (on each device)."""
    optimizer: OptimizerName = "adamw"
    """``adamw``, or ``muon`` for the matrices of the hidden layers with AdamW for the rest."""
    lr: float = 1e-3
    """Peak learning rate."""
    warmup: int = 100
    """Steps of linear warm-up."""
    decay: Decay = "cosine"
    """Shape of the learning rate after the warm-up; the first two end at 0."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    clip: float = 1.0
    """Largest norm of the gradient; longer ones are shortened to it. math.inf = no clipping."""
    ema: float = 0.999
    """Decay of the averaged weights; early on it is min(ema, (1 + k) / (10 + k)) at step k."""
    snapshot_at: int | None = None
    """Step whose averaged weights are kept as ``weak``, e.g. for autoguidance."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of the network's arithmetic; weights and optimiser stay in fp32."""
    seed: int = 0
    """Seed of everything random in the loop."""
    save_every: int = 500
    """Steps between saves of the resumable state."""
    log_every: int = 50
    """Steps between lines of ``log.jsonl`` and yielded states."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "lr", "clip", "save_every", "log_every"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        choices = {"decay": ("cosine", "linear", "constant"), "precision": ("fp32", "bf16", "fp16")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; expected {allowed}")
        if self.snapshot_at is not None and not 1 <= self.snapshot_at <= self.steps:
            raise ValueError(f"snapshot_at={self.snapshot_at} is not in 1..{self.steps}; move it")


@dataclass(frozen=True)
class TrainState:
    """Where a run is.

    Args:
        step: steps done.
        loss: mean loss since the last state.
        grad_norm: of the last step, before clipping.
        lr: of the last step.
        seconds: mean time of a step since the last state.
        ema: the averaged weights, a state dict (a copy).
        weak: the averaged weights at ``snapshot_at``, once there.
        saved: whether the resumable state of this very step is on disk.
    """

    step: int
    loss: float
    grad_norm: float
    lr: float
    seconds: float
    ema: dict[str, Tensor]
    weak: dict[str, Tensor] | None
    saved: bool


def train(
    denoiser: nn.Module,
    batch: Batch,
    config: TrainConfig,
    folder: Path | None = None,
    loss: Loss | None = None,
    accelerator: Any = None,
) -> Iterator[TrainState]:
    """Train in place, yielding a :class:`TrainState` every ``log_every`` steps and at the end.

    Args:
        denoiser: the module, on its device, with its initial weights: a denoiser, or any other
            whose ``loss`` is given. Several processes also need its network as ``net``.
        batch: maps (step, generator) to (x0 (B, ...), cond); all its randomness from the generator.
        config: how to train.
        folder: holds the resumable state and ``log.jsonl``; a run of the same config found there is
            continued (one that is complete yields its last state). None keeps nothing.
        loss: maps (x0, cond, rng) to the loss of every sample (B,); None is ``denoiser.loss``.
        accelerator: an ``accelerate.Accelerator``; None makes one if this is one of several
            processes started by ``accelerate launch`` or ``torchrun``.

    Raises:
        CheckpointError: if the folder holds another run or model, or a truncated one.
        FloatingPointError: when the loss or the gradient is no longer finite.
    """
    loop = _Loop(denoiser, config, folder, accelerator or _launched())
    score: Any = loss or denoiser.loss
    if loop.folder and loop.step == config.steps:
        yield loop.state(loop.folder.last_line(config.steps), saved=True)
    total, count, start = 0.0, 0, time.perf_counter()
    while loop.step < config.steps:
        total, count = total + loop.advance(batch, score), count + 1
        last = loop.step == config.steps
        report = last or loop.step % config.log_every == 0
        save = last or loop.step % config.save_every == 0
        line = loop.line(total / count, (time.perf_counter() - start) / count)
        # The line first: a resume drops one too many, but could not add one too few.
        if loop.folder and report:
            loop.folder.log(line)
        if loop.folder and save:
            loop.save(loop.folder)
        if report:
            yield loop.state(line, saved=save and loop.folder is not None)
            total, count, start = 0.0, 0, time.perf_counter()


class _Loop:
    """The moving parts: weights, optimisers, averages, and their file."""

    def __init__(
        self, denoiser: nn.Module, config: TrainConfig, folder: Path | None, accelerator: Any
    ) -> None:
        self.config, self.accelerator = config, accelerator
        self.norm = self.lr = 0.0
        self.denoiser = denoiser.train()
        self.rank = accelerator.process_index if accelerator else 0
        if accelerator:
            denoiser.net = accelerator.prepare_model(denoiser.net)
        self.device = next(denoiser.parameters()).device
        self.optimizers = optimizers(denoiser, config.optimizer, config.lr, config.weight_decay)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "fp16")
        self.step = 0
        self.live = self._weights()  # tensors that only ever change in place
        self.ema = {k: v.clone() for k, v in self.live.items()}
        # What no gradient moves, such as buffers and target networks, is copied, not averaged.
        self.moved = [k for k, v in self._module().named_parameters() if v.requires_grad]
        self.copied = sorted(self.live.keys() - set(self.moved))
        self.weak: dict[str, Tensor] | None = None
        self.folder = RunFolder(folder, asdict(config), writes=not self.rank) if folder else None
        if self.folder and (state := self.folder.load()):
            self._resume(self.folder.path, state)

    def advance(self, batch: Batch, loss: Loss) -> float:
        """Take one step; return its loss."""
        config = self.config
        generator = torch.Generator().manual_seed(stream_seed(config.seed, self.step, self.rank))
        x0, cond = _to(self.device, batch(self.step, generator))
        with self._precision():
            mean = loss(x0, cond, Rng.wrap(generator)).mean()
        self.scaler.scale(mean).backward()
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        value, self.norm = mean.item(), self._clip()
        self._require_finite(value)
        self.lr = config.lr * rate_at(self.step, config.steps, config.warmup, config.decay)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.lr * group["share"]
            self.scaler.step(optimizer)
            optimizer.zero_grad(set_to_none=True)
        self.scaler.update()
        self._average()
        return value

    def _clip(self) -> float:
        """Shorten a gradient that is too long; return its norm before."""
        grads = [p.grad for p in self.denoiser.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(grads, foreach=True)
        if self.config.clip < math.inf:  # else it would be multiplied by 1, which costs as much
            own = self.denoiser.parameters()
            nn.utils.clip_grads_with_norm_(own, self.config.clip, norm, foreach=True)
        return norm.item()

    def _require_finite(self, loss: float) -> None:
        # fp16 finds its loss scale by overflowing: the scaler skips those steps by itself.
        if math.isfinite(loss) and (math.isfinite(self.norm) or self.config.precision == "fp16"):
            return
        path = self.folder.path if self.folder else None
        kept = f"{path} is the last good state" if path and path.exists() else "nothing was saved"
        raise FloatingPointError(
            f"the loss is {loss} and the gradient's norm {self.norm} at step {self.step}; {kept}; "
            f"lower the learning rate ({self.config.lr}) or use precision='fp32'"
        )

    def _average(self) -> None:
        """Fold the new weights into the averages and count the step."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        averages, values = ([part[k] for k in self.moved] for part in (self.ema, self.live))
        torch._foreach_lerp_(averages, values, 1 - decay)
        for key in self.copied:
            self.ema[key].copy_(self.live[key])
        self.step += 1
        if self.step == self.config.snapshot_at:
            self.weak = {key: value.clone() for key, value in self.ema.items()}

    def _module(self) -> nn.Module:
        """Return the module, or its network alone where several processes share it."""
        if self.accelerator is None:
            return self.denoiser
        return nn.ModuleDict({"net": self.accelerator.unwrap_model(self.denoiser.net)})

    def _weights(self) -> dict[str, Tensor]:
        return self._module().state_dict()

    def _precision(self) -> torch.autocast:
        dtype = torch.float16 if self.config.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.config.precision != "fp32")

    def save(self, folder: RunFolder) -> None:
        """Keep all that a resume needs."""
        state = {
            "step": self.step,
            "weights": self.live,
            "ema": self.ema,
            "weak": self.weak,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scaler": self.scaler.state_dict(),
        }
        folder.save(state)

    def _resume(self, path: Path, state: dict[str, Any]) -> None:
        weights = self.live
        if _shapes(weights) != _shapes(state["weights"]):
            raise CheckpointError(
                f"{path} is of a network with other parts or shapes than the given one; build the "
                f"same network or use another folder"
            )
        for mine, saved in ((weights, state["weights"]), (self.ema, state["ema"])):
            for key, value in saved.items():
                mine[key].copy_(value)
        self.step, self.weak = state["step"], state["weak"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.scaler.load_state_dict(state["scaler"])

    def line(self, loss: float, seconds: float) -> Line:
        """Return the line of this step in the log."""
        return {
            "step": self.step,
            "loss": round(loss, 5),
            "grad_norm": round(self.norm, 4),
            "lr": self.lr,
            "seconds_per_step": round(seconds, 4),
        }

    def state(self, line: Line, saved: bool) -> TrainState:
        """Return what the caller sees."""
        step, loss, norm, lr, seconds = line.values()
        ema = {key: value.clone() for key, value in self.ema.items()}
        return TrainState(int(step), loss, norm, lr, seconds, ema, self.weak, saved)


def _launched() -> Any:
    """Return an Accelerator if this is one of several processes, else None."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    from accelerate import Accelerator

    # Without cpu=True, processes on CPUs would not find each other and each train alone.
    cpu = not (torch.cuda.is_available() or torch.xpu.is_available())
    return Accelerator(cpu=cpu, mixed_precision="no")  # autocast is the business of this module


def _to(device: torch.device, tree: Any) -> Any:
    return tree_map(lambda x: x.to(device), tree)


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in state.items()}
