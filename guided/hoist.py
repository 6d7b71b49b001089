"""What does not depend on x_t is computed once a run: embeddings of the time grid, conditions.

For networks whose ``forward(x, time, cond)`` is ``body(x, embed_time(time) + embed_cond(cond))``,
such as :class:`guided.nets.ResidualMLP`. A hoisted denoiser expects the *embedded* condition, which
``embed`` returns; where several networks serve one run, ``cond`` is a dict with an entry for each.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from guided.denoiser import NetDenoiser, per_sample
from guided.schedule import Level


class TimeTable:
    """Embeddings of the times of a grid, each (1, width), found by the float t.

    Args:
        net: has ``embed_time``; its weights must not change from here on.
        times: the grid.
    """

    def __init__(self, net: nn.Module, times: Iterable[float]) -> None:
        self._net = net
        first = next(net.parameters())
        embed_time: Any = net.embed_time
        with torch.no_grad():
            grid = [float(t) for t in times]
            rows = embed_time(torch.tensor(grid, dtype=first.dtype, device=first.device))
        self._rows = {t: rows[i : i + 1] for i, t in enumerate(grid)}

    def __call__(self, x: Tensor, level: Level, cond: Tensor | None, control: Any = None) -> Tensor:
        """Return the embedding of the time, plus that of the condition if there is one.

        Args:
            x: noisy samples (B, ...).
            level: of them.
            cond: an embedded condition (B, width), or None for a network without.
            control: what is done to the embedding of the time; None = nothing.

        Returns:
            Shape (1, width) for a time of the grid without a condition or a control, else
            (B, width).

        Raises:
            ValueError: for a condition that was not embedded, is missing or unexpected.
        """
        net: Any = self._net
        known = isinstance(level.t, float) and level.t in self._rows
        own = self._rows[level.t] if known else net.embed_time(per_sample(level.t, x))
        if control is not None:  # it may be of certain rows, which one row cannot tell apart
            own = control.embedded(own.expand(len(x), -1))
        if (cond is None) != (net.cond_dim == 0):
            got = "None" if cond is None else tuple(cond.shape)
            raise ValueError(
                f"a hoisted {type(net).__name__} with cond_dim={net.cond_dim} was given the "
                f"condition {got}; give embed(cond), or None where cond_dim is 0"
            )
        if cond is None:
            return own
        if cond.shape[-1] != own.shape[-1]:
            raise ValueError(
                f"a hoisted network expects an embedded condition of width {own.shape[-1]}, got "
                f"{tuple(cond.shape)}; give embed(cond)"
            )
        return own + cond


class HoistedDenoiser(NetDenoiser):
    """A denoiser that looks its time embeddings up and is given embedded conditions.

    Args:
        denoiser: of frozen weights, shared, not copied. Any prediction but ``edm``.
        times: the grid of the runs; other times cost an embedding a call.
        part: the entry of ``cond`` that is this network's; None = ``cond`` itself.

    Raises:
        TypeError: for a network without ``embed_time``, ``embed_cond`` and ``body``.
        ValueError: for an ``edm`` denoiser.
    """

    def __init__(
        self, denoiser: NetDenoiser, times: Iterable[float], part: str | None = None
    ) -> None:
        require_hoistable(denoiser.net)
        if denoiser.prediction == "edm":
            raise ValueError("HoistedDenoiser does not scale inputs as 'edm' does; use another one")
        super().__init__(denoiser.net, denoiser.schedule, denoiser.prediction)
        self.part = part
        self.table = TimeTable(denoiser.net, times)

    def embed(self, cond: Tensor) -> Tensor:
        """Return what this denoiser expects as condition, (B, width), for a raw one."""
        net: Any = self.net
        return net.embed_cond(cond)

    def output(self, x: Tensor, level: Level, cond: Any = None, control: Any = None) -> Tensor:
        """Call the network's body on x (B, ...)."""
        if control is not None and not self.layers:
            name = type(self.net).__name__
            raise TypeError(f"a hoisted {name} takes no control; use a ResidualMLP")
        net: Any = self.net
        own = cond if self.part is None else cond[self.part]
        embedded, flat = self.table(x, level, own, control), x.flatten(1)
        out = net.body(flat, embedded) if control is None else net.body(flat, embedded, control)
        return out.reshape(x.shape)


def require_hoistable(net: nn.Module) -> None:
    """Refuse a network that does not tell its embeddings from its body.

    Raises:
        TypeError: in words.
    """
    missing = [n for n in ("embed_time", "embed_cond", "body") if not hasattr(net, n)]
    if missing:
        raise TypeError(
            f"hoisting needs a network with embed_time, embed_cond and body, got "
            f"{type(net).__name__} without {', '.join(missing)}; use ResidualMLP or ScalarMLP"
        )
