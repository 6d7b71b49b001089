"""A network of noisy samples as an energy, and the same with its embeddings computed once a run."""

from typing import Any

import torch
from torch import Tensor, nn

from guided.cond import repeat
from guided.denoiser import per_sample
from guided.energy import gradient
from guided.hoist import TimeTable, require_hoistable
from guided.nets.residual import embedding
from guided.schedule import Level, Schedule


class EnergyNet(nn.Module):
    r"""A network f(x_t, t, cond) -> (B,) as the noise-aware energy :math:`E_t = -f`.

    Args:
        net: called as ``net(x (B, ...), time (B,), cond) -> (B,)``. If it has ``slope`` with the
            same arguments (see :class:`guided.nets.ScalarMLP`), no autograd is needed.
        schedule: of the samples that it sees.
    """

    differentiable = True
    log_norm: Tensor
    batches: Tensor

    def __init__(self, net: nn.Module, schedule: Schedule) -> None:
        super().__init__()
        self.net = net
        self.schedule = schedule
        # Of the batches that it was trained on: log of the mean of exp(-E), and how many.
        self.register_buffer("log_norm", torch.zeros((), dtype=torch.float64))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Tensor:
        """Return the energy -f of noisy samples x (B, ...), shape (B,)."""
        return -self.net(x, per_sample(level.t, x), cond)

    def slope(self, x: Tensor, level: Level, cond: Any = None) -> Tensor:
        """Return the gradient of the energy at x, of the shape of x."""
        net: Any = self.net
        if hasattr(net, "slope"):
            return -net.slope(x, per_sample(level.t, x), cond)
        return gradient(lambda y: self(y, level, cond), x)[1]

    def grouped(self, x: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        """Return f, (B, K), for K samples (B, K, ...) of each condition at its time t (B,)."""
        b, k = x.shape[:2]
        net: Any = self.net
        if hasattr(net, "body"):  # embeds each condition once, not K times
            return net.body(x.flatten(2), embedding(net, t, cond)[:, None])
        return net(x.flatten(0, 1), t.repeat_interleave(k), repeat(cond, k)).reshape(b, k)


class HoistedEnergy(EnergyNet):
    """An energy net of frozen weights that looks up its times and is given embedded conditions.

    Args:
        energy: with a network such as :class:`guided.nets.ScalarMLP`; shared, not copied.
        times: the grid of the runs.
        part: the entry of ``cond`` that is this network's; None = ``cond`` itself.

    Raises:
        TypeError: for a network without ``embed_time``, ``embed_cond`` and ``body``.
    """

    def __init__(self, energy: EnergyNet, times: list[float], part: str | None = None) -> None:
        require_hoistable(energy.net)
        super().__init__(energy.net, energy.schedule)
        self.part = part
        self.table = TimeTable(energy.net, times)

    def embed(self, cond: Tensor) -> Tensor:
        """Return what this energy expects as condition, (B, width), for a raw one."""
        net: Any = self.net
        return net.embed_cond(cond)

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Tensor:
        """Return the energy -f of noisy samples x (B, ...), shape (B,)."""
        net: Any = self.net
        return -net.body(x.flatten(1), self._embedding(x, level, cond))

    def slope(self, x: Tensor, level: Level, cond: Any = None) -> Tensor:
        """Return the gradient of the energy at x, of the shape of x."""
        net: Any = self.net
        return -net.body_slope(x.flatten(1), self._embedding(x, level, cond)).reshape(x.shape)

    def _embedding(self, x: Tensor, level: Level, cond: Any) -> Tensor:
        own = cond if self.part is None else cond[self.part]
        return self.table(x, level, own)
