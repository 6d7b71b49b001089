"""What every command line does with a user's mistake: one sentence, and exit status 1."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 300  # of another library's message within a sentence


@contextmanager
def in_words(name: str, stopped: str = "stopped") -> Iterator[None]:
    """Turn the errors that a user can mend, and Ctrl-C, into an exit in one sentence.

    Those are wrong input, files, and a training that diverged (FloatingPointError).

    Args:
        name: of the command, with which the sentence begins.
        stopped: what to say after Ctrl-C.
    """
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: {stopped}")


@contextmanager
def packages_named(extra: str) -> Iterator[None]:
    """Name the extra that brings a missing package.

    Args:
        extra: of this distribution, e.g. ``rl``.

    Raises:
        ValueError: in one sentence.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or str(error)).partition(".")[0]
        raise ValueError(f"needs the package {package}; pip install 'guided[{extra}]'") from None


def one_line(error: BaseException) -> str:
    """Return what an error says as a part of a sentence; its kind where it says nothing."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
