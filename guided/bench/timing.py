"""A stopwatch inside the network: what a run spends in its network calls, and what beyond them.

The laps of a run are the times between these marks, in nanoseconds:

    start | beyond | call 1 | beyond | call 2 | ... | call N | beyond | end

so a run with N network calls has 2 N + 1 laps, and the odd ones are the network. Calls and
everything else are measured in the same run, microseconds apart: what else the machine does, and
the drift of its clock rate, meet both alike.
"""

import gc
from collections.abc import Callable, Mapping
from itertools import pairwise
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn


class Stopwatch(nn.Module):
    """A network that notes when each of its calls begins and ends.

    Its own cost, a microsecond a call, falls on the loop that is measured.

    Args:
        net: called as ``net(x, time, cond)``; the time inside is the network's.
        clock: nanoseconds.
    """

    def __init__(self, net: nn.Module, clock: Callable[[], int] = perf_counter_ns) -> None:
        super().__init__()
        self.net = net
        self.clock = clock
        self.marks: list[int] = []

    def forward(self, x: Tensor, time: Tensor, cond: Any = None) -> Tensor:
        """Call the network between two marks."""
        self.marks.append(self.clock())
        out = self.net(x, time, cond)
        self.marks.append(self.clock())
        return out

    def laps(self, run: Callable[[], object]) -> list[int]:
        """Return the laps of one run, (2 calls + 1,)."""
        self.marks = [self.clock()]
        run()
        self.marks.append(self.clock())
        return [end - begin for begin, end in pairwise(self.marks)]


def interleave(
    stopwatch: Stopwatch, runs: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, NDArray[np.int64]]:
    """Return the laps of every run, (rounds, 2 calls + 1), taken in turn: A B C A B C ...

    Every run goes once before, unmeasured, and the garbage collector rests meanwhile.
    """
    for run in runs.values():
        run()
    laps: dict[str, list[list[int]]] = {name: [] for name in runs}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, run in runs.items():
                laps[name].append(stopwatch.laps(run))
    finally:
        if collecting:
            gc.enable()
    return {name: np.array(rows) for name, rows in laps.items()}
