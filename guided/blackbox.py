r"""A plain Python function of one NumPy array as an energy, whatever that function does.

Conventions:
    A function gets one sample as an array of its own and returns one number, lower is better.
    It may return +inf (forbidden). Everything else that goes wrong costs that candidate its energy,
    which becomes +inf, and is counted by kind in ``BlackBox.failures``; it never costs the run.

Evaluations run in the processes of joblib's loky pool, which the first call starts and all later
ones use; ``with joblib.parallel_config(backend=...)`` sends them elsewhere. A worker that dies, or
that had to be ended, takes the pool with it: the pool is rebuilt, and what it had under way is
evaluated again, one by one, so that only the candidate that is to blame is lost.
"""

import hashlib
import logging
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import joblib
import numpy as np
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError
from joblib.parallel import get_active_backend
from torch import Tensor

from guided.energy import Energy
from guided.evaluation import Call, Failure, Group, Outcome, away, here

logger = logging.getLogger(__name__)


class BlackBox(Energy):
    r"""Any Python function of a NumPy array as an energy of a batch: E_i = function(x0_i).

    Args:
        function: maps one sample (...) to one number, or with ``batched`` a stack (b, ...) to (b,).
            It gets a copy that it may change. Lambdas and closures will do. What it imports when
            it is first called counts towards that call's time; the imports of its module do not.
        workers: processes that evaluate; 0 or 1 evaluates in this process, unless there is a
            ``timeout``, which always takes a process of its own. -1 is one per core.
        timeout: seconds that one evaluation may take; None for no limit.
        batched: whether one call takes many rows. A stack that fails is evaluated row by row.
        convert: maps the batch x0, whatever it is, to B arrays (an array (B, ...) or a list), once
            for all candidates and in this process; None for a tensor as it is.
        memo: energies to remember by the exact content of their array, the last used ones; 0 for
            none. Only for a function that always returns the same for the same array.

    Attributes:
        failures: how many evaluations gave no energy, by kind (:mod:`guided.evaluation`).
        messages: what the first failure of each kind said.

    Raises:
        TypeError: for a function that cannot be called.
        ValueError: for a negative number of workers or energies, or a time limit that is not > 0.
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
    ) -> None:
        if not callable(function):
            raise TypeError(f"BlackBox needs a function of one array, got {function!r}")
        if workers < -1 or memo < 0:
            raise ValueError(
                f"BlackBox needs workers >= 0 (or -1 for one per core) and memo >= 0, "
                f"got workers={workers} and memo={memo}"
            )
        if timeout is not None and not timeout > 0:
            raise ValueError(f"BlackBox needs timeout > 0 seconds or None, got {timeout}")
        self.call = Call(function, timeout, batched)
        self.workers = joblib.effective_n_jobs(-1) if workers == -1 else max(workers, 1)
        self.convert = convert or _as_numpy
        self.failures: Counter[str] = Counter()
        self.messages: dict[str, str] = {}
        self._memo = _Memo(memo)

    def __call__(self, x0: Any, cond: Any = None) -> Tensor:
        """Return the energies (B,), +inf where an evaluation failed. ``cond`` is not passed on."""
        rows = [np.asarray(row) for row in self.convert(x0)]
        energies = self._memo.through(self._evaluate, rows)
        like = x0 if isinstance(x0, Tensor) else torch.empty(0)
        dtype = torch.promote_types(like.dtype, torch.float32)
        return torch.as_tensor(energies, dtype=dtype, device=like.device)

    def _evaluate(self, rows: list[np.ndarray]) -> np.ndarray:
        outcomes = self._run(rows, self._groups(len(rows)))
        failed = [g for g, outcome in outcomes.items() if isinstance(outcome, Failure)]
        outcomes |= self._run(rows, [(i,) for group in failed if len(group) > 1 for i in group])
        energies = np.full(len(rows), np.inf)
        for group, outcome in outcomes.items():
            if not isinstance(outcome, Failure):
                energies[list(group)] = outcome
            elif len(group) == 1:
                self._count(outcome)
        for bad in np.flatnonzero(~(energies > -np.inf)):
            self._count(Failure("nan", f"the function returned {energies[bad]}"))
            energies[bad] = np.inf
        return energies

    def _groups(self, count: int) -> list[Group]:
        """Split the rows: one a call, or as many contiguous stacks as there are workers."""
        parts = min(self.workers, count) if self.call.batched else count
        return [tuple(p.tolist()) for p in np.array_split(np.arange(count), parts)] if count else []

    def _run(self, rows: list[np.ndarray], groups: list[Group]) -> dict[Group, Outcome]:
        """Return the outcome of every group."""
        if self.workers == 1 and self.call.timeout is None:
            return {group: self.call(_stack(rows, group)) for group in groups}
        done: dict[Group, Outcome] = {}
        while todo := [group for group in groups if group not in done]:
            try:
                for group, outcome in self._pool((g, _stack(rows, g)) for g in todo):
                    done[group] = outcome
            except TerminatedWorkerError:
                # The pool names no culprit, and what was under way died with it: at most
                # `workers` groups, the first ones that have no outcome.
                for group in [group for group in todo if group not in done][: self.workers]:
                    done[group] = self._alone(_stack(rows, group))
        return done

    def _alone(self, stack: np.ndarray) -> Outcome:
        """Evaluate in a pool that does nothing else, so that a death has one possible cause."""
        with TemporaryDirectory() as folder:
            trace = Path(folder) / "trace"
            try:
                return next(outcome for _, outcome in self._pool([((), stack)], str(trace)))
            except TerminatedWorkerError:
                hung = trace.exists() and trace.read_text().splitlines()
            if hung:  # line 0 tells the time, line 1 the thread, line 2 the innermost call
                return Failure("timeout", f"ended in compiled code called from {hung[2].strip()}")
            return Failure("death", "the process that evaluated the candidate died")

    def _pool(
        self, tasks: Iterable[tuple[Group, np.ndarray]], trace: str = os.devnull
    ) -> Iterable[tuple[Group, Outcome]]:
        """Evaluate in worker processes and yield each outcome as it comes."""
        ordered = not get_active_backend()[0].supports_return_generator
        parallel = joblib.Parallel(
            n_jobs=max(self.workers, 2),  # joblib runs a single job in this process
            pre_dispatch=self.workers,
            batch_size=1,
            return_as="list" if ordered else "generator_unordered",
        )
        return parallel(joblib.delayed(away)(self.call, *task, here(), trace) for task in tasks)

    def _count(self, failure: Failure) -> None:
        self.failures[failure.kind] += 1
        if failure.kind not in self.messages:
            self.messages[failure.kind] = failure.message
            logger.warning(
                "an evaluation failed (%s: %s); such candidates get the energy +inf and are "
                "counted in BlackBox.failures",
                *failure,
            )


class _Memo:
    """The last used energies, by the content of their array."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.known: OrderedDict[bytes, float] = OrderedDict()

    def through(
        self, evaluate: Callable[[list[np.ndarray]], np.ndarray], rows: list[np.ndarray]
    ) -> np.ndarray:
        """Return ``evaluate(rows)``, asking for every unknown array once. +inf is not kept."""
        if not self.size:
            return evaluate(rows)
        keys = [_digest(row) for row in rows]
        new = {k: row for k, row in zip(keys, rows, strict=True) if k not in self.known}
        found = self.known | dict(zip(new, evaluate(list(new.values())), strict=True))
        for key in keys:
            if found[key] < np.inf:
                self.known[key] = found[key]
                self.known.move_to_end(key)
        while len(self.known) > self.size:
            self.known.popitem(last=False)
        return np.array([found[key] for key in keys])


def _digest(row: np.ndarray) -> bytes:
    """Hash the content, kind and shape of an array."""
    content = hashlib.blake2b(np.ascontiguousarray(row).data).digest()
    return content + f"{row.dtype.str}{row.shape}".encode()


def _stack(rows: list[np.ndarray], group: Group) -> np.ndarray:
    return np.stack([rows[i] for i in group])


def _as_numpy(x0: Tensor) -> np.ndarray:
    x0 = x0.detach().cpu()
    return (x0.float() if x0.dtype is torch.bfloat16 else x0).numpy()
