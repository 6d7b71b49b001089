"""Timing several functions fairly: in turn, warmed up, without the garbage collector."""

import gc
import statistics
from collections.abc import Callable, Mapping
from time import perf_counter_ns


def interleaved(functions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each function, over ``repeats`` rounds A B C A B C ...

    The machine's speed drifts: only figures of one call of this function may be compared.
    """
    times: dict[str, list[int]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(repeats):
            for name, function in functions.items():
                start = perf_counter_ns()
                function()
                times[name].append(perf_counter_ns() - start)
    finally:
        if was_enabled:
            gc.enable()
    return {name: statistics.median(t) * 1e-9 for name, t in times.items()}
