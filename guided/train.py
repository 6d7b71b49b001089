"""The training loop: a generator of states, so that the caller owns progress bars and early stop.

Every random number of step k comes from one generator seeded by (seed, k, rank). A run that was
killed and is started again therefore continues bit for bit from its last save, with no random state
to store. Networks with dropout modules would draw from the global state and break this.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from guided.checkpoint import CheckpointError
from guided.denoiser import NetDenoiser
from guided.optimizer import OptimizerName, optimizers
from guided.rng import Rng, stream_seed

Batch = Callable[[int, torch.Generator], tuple[Tensor, Any]]


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
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the learning rate after the warm-up; the first two end at 0."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    clip: float = 1.0
    """Largest norm of the gradient."""
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


@dataclass(frozen=True)
class TrainState:
    """Where a run is.

    Args:
        step: steps done.
        loss: mean loss since the last state.
        grad_norm: of the last step, before clipping.
        lr: of the last step.
        seconds: mean time of a step since the last state.
        ema: the averaged weights, a state dict.
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
    denoiser: NetDenoiser,
    batch: Batch,
    config: TrainConfig,
    folder: Path | None = None,
    accelerator: Any = None,
) -> Iterator[TrainState]:
    """Train in place, yielding a :class:`TrainState` every ``log_every`` steps and at the end.

    Args:
        denoiser: trained with its own ``loss``.
        batch: maps (step, generator) to (x0 (B, ...), cond); all its randomness from the generator.
        config: how to train.
        folder: holds the resumable state and ``log.jsonl``; a run of the same config found there is
            continued. None keeps nothing.
        accelerator: an ``accelerate.Accelerator``, for several devices; None is this process alone.

    Raises:
        CheckpointError: if the folder holds another run, or a truncated one.
        FloatingPointError: when the loss is no longer finite.
    """
    loop = _Loop(denoiser, config, folder, accelerator)
    total, count, start = 0.0, 0, time.perf_counter()
    grad_norm = lr = 0.0
    while loop.step < config.steps:
        loss, grad_norm, lr = loop.advance(batch)
        total, count = total + loss, count + 1
        last = loop.step == config.steps
        saved = folder is not None and (last or loop.step % config.save_every == 0)
        if saved:
            loop.save()
        if last or loop.step % config.log_every == 0:
            seconds = (time.perf_counter() - start) / count
            state = TrainState(
                loop.step, total / count, grad_norm, lr, seconds, loop.ema, loop.weak, saved
            )
            loop.log(state)
            yield state
            total, count, start = 0.0, 0, time.perf_counter()


class _Loop:
    """The moving parts: weights, optimisers, averages, and their file."""

    def __init__(
        self, denoiser: NetDenoiser, config: TrainConfig, folder: Path | None, accelerator: Any
    ) -> None:
        self.config, self.folder, self.accelerator = config, folder, accelerator
        self.denoiser = denoiser.train()
        self.rank = accelerator.process_index if accelerator else 0
        self.optimizers = optimizers(denoiser, config.optimizer, config.lr, config.weight_decay)
        if accelerator:
            self.denoiser.net = accelerator.prepare(denoiser.net)
            self.optimizers = [accelerator.prepare(o) for o in self.optimizers]
        self.scaler = torch.amp.GradScaler(enabled=config.precision == "fp16")
        self.step = 0
        self.ema = {k: v.clone() for k, v in self._weights().items()}
        self.weak: dict[str, Tensor] | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._resume()

    def advance(self, batch: Batch) -> tuple[float, float, float]:
        """Take one step; return its loss, gradient norm and learning rate."""
        config = self.config
        generator = torch.Generator().manual_seed(stream_seed(config.seed, self.step, self.rank))
        x0, cond = batch(self.step, generator)
        with self._precision(x0.device):
            loss = self.denoiser.loss(x0, cond, Rng.wrap(generator)).mean()
        if not math.isfinite(loss.item()):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {self.step}; the last save in {self.folder} is "
                f"intact: lower the learning rate ({config.lr}) or use precision='fp32'"
            )
        lr = config.lr * _rate(self.step, config)
        backward = self.accelerator.backward if self.accelerator else torch.Tensor.backward
        backward(self.scaler.scale(loss))
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(self.denoiser.parameters(), config.clip)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr * group["share"]
            self.scaler.step(optimizer)
            optimizer.zero_grad(set_to_none=True)
        self.scaler.update()
        self._average()
        return loss.item(), norm.item(), lr

    def _average(self) -> None:
        """Fold the new weights into the averages and count the step."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for key, value in self._weights().items():
            if value.is_floating_point():
                self.ema[key].lerp_(value, 1 - decay)
            else:
                self.ema[key].copy_(value)
        self.step += 1
        if self.step == self.config.snapshot_at:
            self.weak = {key: value.clone() for key, value in self.ema.items()}

    def _weights(self) -> dict[str, Tensor]:
        if self.accelerator is None:
            return self.denoiser.state_dict()
        net = self.accelerator.unwrap_model(self.denoiser.net)
        return {f"net.{key}": value for key, value in net.state_dict().items()}

    def _precision(self, device: torch.device) -> torch.autocast:
        dtype = torch.float16 if self.config.precision == "fp16" else torch.bfloat16
        return torch.autocast(device.type, dtype, enabled=self.config.precision != "fp32")

    def save(self) -> None:
        """Write the resumable state under a temporary name and rename it."""
        if self.rank or self.folder is None:
            return
        part = self.folder / ".resume.part"
        state = {
            "config": json.dumps(asdict(self.config)),
            "step": self.step,
            "weights": self._weights(),
            "ema": self.ema,
            "weak": self.weak,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scaler": self.scaler.state_dict(),
        }
        torch.save(state, part)
        os.replace(part, self.folder / "resume.pt")

    def _resume(self) -> None:
        assert self.folder is not None
        path = self.folder / "resume.pt"
        if not path.exists():
            return
        try:
            state = torch.load(path, weights_only=True)
        except Exception as error:  # torch raises many kinds for a damaged file
            raise CheckpointError(
                f"{path} is truncated or no training state ({type(error).__name__}); delete it to "
                f"start again"
            ) from None
        if state["config"] != json.dumps(asdict(self.config)):
            raise CheckpointError(
                f"{path} belongs to a run with another configuration; use another folder, or delete "
                f"it to start again"
            )
        net = self.accelerator.unwrap_model(self.denoiser.net) if self.accelerator else None
        if net is None:
            self.denoiser.load_state_dict(state["weights"])
        else:
            net.load_state_dict({k.removeprefix("net."): v for k, v in state["weights"].items()})
        self.step, self.ema, self.weak = state["step"], state["ema"], state["weak"]
        for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
        self.scaler.load_state_dict(state["scaler"])

    def log(self, state: TrainState) -> None:
        """Append a line to ``log.jsonl``."""
        if self.folder is None or self.rank:
            return
        line = {
            "step": state.step,
            "loss": round(state.loss, 5),
            "grad_norm": round(state.grad_norm, 4),
            "lr": state.lr,
            "seconds_per_step": round(state.seconds, 4),
        }
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


def _rate(step: int, config: TrainConfig) -> float:
    """Return the learning rate of a step as a share of the peak."""
    warm = min(1.0, (step + 1) / max(config.warmup, 1))
    left = 1 - max(0, step - config.warmup) / max(1, config.steps - config.warmup)
    shape = {"constant": 1.0, "linear": left, "cosine": 0.5 - 0.5 * math.cos(math.pi * left)}
    return warm * shape[config.decay]


class _Tally:
    """Sums between two states; read once, so that a device need not wait for every step."""

    def __init__(self) -> None:
        self.loss: Tensor | float = 0.0
        self.norm: Tensor | float = 0.0
        self.count = 0
        self.start = time.perf_counter()

    def add(self, loss: Tensor, norm: Tensor) -> None:
        self.loss, self.norm, self.count = self.loss + loss, self.norm + norm, self.count + 1

    def report(self, step: int, lr: float) -> Report:
        loss, norm = float(self.loss) / self.count, float(self.norm) / self.count
        seconds = (time.perf_counter() - self.start) / self.count
        return {"step": step, "loss": loss, "grad_norm": norm, "lr": lr, "seconds": seconds}


def _optimizers(denoiser: Denoiser, config: TrainConfig) -> list[torch.optim.Optimizer]:
    matrices = (nn.Linear, nn.Conv1d, nn.Conv2d)
    decayed = {id(m.weight) for m in denoiser.modules() if isinstance(m, matrices)}
    muon: set[int] = set()
    if config.optimizer == "muon":
        layers = [m for m in denoiser.modules() if isinstance(m, nn.ModuleList)]
        inside = [m for layer in layers for m in layer.modules() if isinstance(m, nn.Linear)]
        muon = {id(m.weight) for m in inside}
    groups: dict[str, list[nn.Parameter]] = {"muon": [], "decayed": [], "other": []}
    for p in denoiser.parameters():
        kind = "muon" if id(p) in muon else "decayed" if id(p) in decayed else "other"
        groups[kind].append(p)
    adamw = torch.optim.AdamW(
        [
            {"params": groups["decayed"], "weight_decay": config.weight_decay},
            {"params": groups["other"], "weight_decay": 0.0},
        ],
        lr=config.lr,
        betas=config.betas,
        fused=True,
    )
    if not groups["muon"]:
        return [adamw]
    # Scaled to the step size of AdamW, so that one learning rate serves both.
    scaled = torch.optim.Muon(
        groups["muon"],
        lr=config.lr,
        weight_decay=config.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    return [scaled, adamw]


def _placed(objective: nn.Module) -> tuple[nn.Module, torch.device, int]:
    """Return the objective, spread over devices if this is one of several processes, device, rank."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return objective, next(objective.parameters()).device, 0
    from accelerate import Accelerator

    accelerator = Accelerator(mixed_precision="no")  # autocast is this module's own business
    module = accelerator.prepare_model(objective)
    return module, accelerator.device, accelerator.process_index


def _own_loss(denoiser: Denoiser) -> Loss:
    if not hasattr(denoiser, "loss"):
        raise ValueError(
            f"{type(denoiser).__name__} has no loss of its own; give train(..., loss=...)"
        )
    return denoiser.loss


def _generator(*key: int) -> torch.Generator:
    return torch.Generator().manual_seed(stream_seed(*key))


def _to(tree: Any, device: torch.device) -> Any:
    return tree_map_only(Tensor, lambda x: x.to(device), tree)


def _check_finite(report: Report, run: _Run, folder: Path | None) -> None:
    # In half precision the scaler looks for a good scale by overflowing, and skips those steps.
    numbers = [report["loss"]] + [report["grad_norm"]] * (run.config.precision != "fp16")
    if all(math.isfinite(n) for n in numbers):
        return
    last = folder / "last" if folder is not None else None
    good = (
        f"the last good checkpoint is {last}" if last and checkpoint.exists(last) else "none saved"
    )
    raise FloatingPointError(
        f"loss {report['loss']} and gradient norm {report['grad_norm']} at or shortly before step "
        f"{report['step']} ({good}); lower lr, or use precision='fp32'"
    )


def _check_same(last: Path, stored: dict[str, Any], given: dict[str, Any]) -> None:
    changed = sorted(k for k in stored.keys() | given.keys() if stored.get(k) != given.get(k))
    if changed:
        was, now = ({k: d.get(k) for k in changed} for d in (stored, given))
        raise ValueError(
            f"{last} is of a run with {was}, but this one has {now}; use another folder or the same "
            f"config"
        )


def _log(folder: Path, report: Report) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(report) + "\n")


def _trim(folder: Path, step: int) -> None:
    """Drop the lines of steps after ``step``, which a resumed run does again."""
    path = folder / "log.jsonl"
    if not path.exists():
        return
    # A kill may cut the last line short; it is then one of those to drop.
    lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
    kept = [line for line in lines if json.loads(line)["step"] <= step]
    partial = path.with_suffix(".tmp")
    partial.write_text("".join(line + "\n" for line in kept))
    partial.replace(path)
