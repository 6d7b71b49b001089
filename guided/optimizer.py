"""The optimisers a run can ask for by name."""

import math
from typing import Literal

import torch
from torch import nn

OptimizerName = Literal["adamw", "muon"]
Decay = Literal["cosine", "linear", "constant"]

# Muon moves the hidden matrices; embeddings, gains and the layers at both ends keep AdamW, which
# takes half the step.
ADAMW_SHARE = 0.5


def optimizers(
    module: nn.Module, name: OptimizerName, lr: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Return the optimisers of all parameters; each group has a ``share`` of the learning rate.

    Raises:
        ValueError: for an unknown name, or muon for a network without blocks.

    Source: Loshchilov & Hutter 2019 (AdamW); Jordan et al. 2024, Muon, with the step size matched
        to AdamW's as in Liu et al. 2025, arXiv 2502.16982, section 2.2.
    """
    if name not in ("adamw", "muon"):
        raise ValueError(f"unknown optimizer {name!r}; expected 'adamw' or 'muon'")
    named = dict(module.named_parameters())
    hidden = {k for k, p in named.items() if name == "muon" and p.ndim == 2 and ".blocks." in k}
    rest = [p for k, p in named.items() if k not in hidden]
    adamw = torch.optim.AdamW(rest, lr, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True)
    chosen: list[torch.optim.Optimizer] = [adamw]
    if name == "muon" and not hidden:
        raise ValueError(
            "muon moves the matrices of a network's blocks (parameters named *.blocks.*), and this "
            "network has none; use optimizer='adamw'"
        )
    if hidden:
        matrices = [named[k] for k in named if k in hidden]
        muon = torch.optim.Muon(
            matrices, lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        chosen.append(muon)
    for optimizer in chosen:
        share = ADAMW_SHARE if len(chosen) == 2 and optimizer is adamw else 1.0
        for group in optimizer.param_groups:
            group["share"] = share
    return chosen


def rate_at(step: int, steps: int, warmup: int, decay: Decay) -> float:
    """Return the learning rate of a step as a share of the peak.

    Args:
        step: counted from 0.
        steps: of the whole training.
        warmup: steps of linear warm-up.
        decay: what follows; all but ``constant`` end at 0.
    """
    warm = min(1.0, (step + 1) / max(warmup, 1))
    left = 1 - max(0, step - warmup) / max(1, steps - warmup)
    shape = {"constant": 1.0, "linear": left, "cosine": 0.5 - 0.5 * math.cos(math.pi * left)}
    return warm * shape[decay]
