"""Where one evaluation runs: in the worker process that was asked, or in a child of its own.

A time limit needs the main thread of a process that may be ended. A process of joblib's own pool
offers both. A Dask worker evaluates in threads, beside its own business, so each of these threads
keeps a child: what ends the child costs one evaluation, and the worker lives on.
"""

import os
import pickle
import socket
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import cloudpickle
import numpy as np

from guided.evaluation import Call, Group, Outcome, post_mortem

_thread = threading.local()


def away(
    call: Call, task: tuple[Group, np.ndarray], home: tuple[str, int], trace: str
) -> tuple[Group, Outcome]:
    """Evaluate in a worker process.

    Args:
        call: what to evaluate.
        task: the rows' numbers and the rows, in one tuple: joblib would scatter a bare array over a
            Dask cluster, where it is lost with the worker that holds it.
        home: :func:`here` of the process that asks.
        trace: file for where an evaluation was that had to be ended.

    Raises:
        RuntimeError: where a time limit cannot be kept.
    """
    group, stack = task
    if call.timeout is None:
        return group, call(stack)
    if here() == home:
        raise RuntimeError(
            "a BlackBox with a timeout got a joblib back end that evaluates in threads, where "
            "nothing can be ended; use loky, or drop the timeout"
        )
    if threading.current_thread() is threading.main_thread():
        return group, call(stack, trace)
    return group, _child()(call, stack)


def here() -> tuple[str, int]:
    """Return what tells this process from all others."""
    return socket.gethostname(), os.getpid()


def _child() -> "Child":
    """Return the child of this thread, a new one where there is none alive."""
    child: Child | None = getattr(_thread, "child", None)
    if child is None or child.process.poll() is not None:
        child = _thread.child = Child()
    return child


class Child:
    """A process that evaluates until it dies or is left alone.

    It is no ``multiprocessing`` process, because Dask's workers may not have those. What is
    unpickled comes through pipes that only this process and its child hold.
    """

    def __init__(self) -> None:
        self.folder = TemporaryDirectory()
        code = f"import sys; sys.path[:] = {sys.path!r}; from guided.worker import serve; serve()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __call__(self, call: Call, stack: np.ndarray) -> Outcome:
        """Evaluate there.

        Raises:
            RuntimeError: where the child cannot read the function.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        trace = Path(self.folder.name) / "trace"
        try:
            pickle.dump(cloudpickle.dumps((call, stack, str(trace))), self.process.stdin)
            self.process.stdin.flush()
            answer: Outcome | RuntimeError = pickle.load(self.process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):  # it died, perhaps in mid-sentence
            self.process.kill()
            self.process.wait()
            return post_mortem(trace)
        if isinstance(answer, RuntimeError):
            raise answer
        return answer


def serve() -> None:
    """Evaluate whatever comes through standard input until it ends.

    Answers go where standard output went; what a function prints goes to standard error.
    """
    with os.fdopen(os.dup(0), "rb") as questions, os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        while True:
            try:
                question = pickle.load(questions)
            except EOFError:
                return
            pickle.dump(_answer(question), answers)
            answers.flush()


def _answer(question: bytes) -> Outcome | RuntimeError:
    try:
        call, stack, trace = pickle.loads(question)
    except Exception as error:
        return RuntimeError(f"a process for time limits cannot read the function: {error!r}")
    return call(stack, trace)
