"""What every command line does with a user's mistake: one sentence, and exit status 1."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
