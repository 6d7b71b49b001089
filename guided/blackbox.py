r"""A plain Python function of one NumPy array as an energy, whatever that function does.

Conventions:
    A function gets one sample as an array of its own and returns one number, lower is better.
    It may return +inf (forbidden). Everything else that goes wrong costs that candidate its energy,
    which becomes +inf, and is counted by kind in ``BlackBox.failures``; it never costs the run.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guided.energy import Energy
from guided.pool import Pool


class BlackBox(Energy):
    r"""Any Python function of a NumPy array as an energy of a batch: E_i = function(x0_i).

    Args:
        function: maps one sample (...) to one number, or with ``batched`` a stack (b, ...) to (b,).
        workers: processes that evaluate; see :class:`guided.pool.Pool`, as for all that follows.
        timeout: seconds that one evaluation may take; None for no limit.
        batched: whether one call takes many rows.
        convert: maps the batch x0, whatever it is, to B arrays (an array (B, ...) or a list), once
            for all candidates and in this process; None for a tensor as it is.
        memo: energies to remember by the exact content of their array; 0 for none.
        retries: how often a failed evaluation is tried again.

    Raises:
        TypeError: for a function that cannot be called.
        ValueError: for numbers out of range.
    """

    differentiable = False

    def __init__(
        self,
        function: Callable[[np.ndarray], Any],
        workers: int = 1,
        timeout: float | None = None,
        batched: bool = False,
        convert: Callable[[Any], Sequence[np.ndarray] | np.ndarray] | None = None,
        memo: int = 0,
        retries: int = 0,
    ) -> None:
        self.pool = Pool(
            function,
            _no_nan,
            workers=workers,
            timeout=timeout,
            batched=batched,
            memo=memo,
            retries=retries,
        )
        self.convert = convert or as_numpy

    @property
    def failures(self) -> Counter[str]:
        """How many evaluations gave no energy, by kind (:mod:`guided.evaluation`)."""
        return self.pool.failures

    @property
    def messages(self) -> dict[str, str]:
        """What the first failure of each kind said."""
        return self.pool.messages

    def __call__(self, x0: Any, cond: Any = None) -> Tensor:
        """Return the energies (B,), +inf where an evaluation failed. ``cond`` is not passed on."""
        energies = self.pool([np.asarray(row) for row in self.convert(x0)])
        energies = np.where(np.isnan(energies), np.inf, energies)
        like = x0 if isinstance(x0, Tensor) else torch.empty(0)
        dtype = torch.promote_types(like.dtype, torch.float32)
        return torch.as_tensor(energies, dtype=dtype, device=like.device)


def as_numpy(x0: Tensor) -> np.ndarray:
    """Return a tensor as an array on the CPU."""
    x0 = x0.detach().cpu()
    return (x0.float() if x0.dtype is torch.bfloat16 else x0).numpy()


def _no_nan(energies: np.ndarray) -> np.ndarray:
    """An energy is a number or +inf."""
    return np.asarray(energies > -np.inf)
