"""What the tests of every command line share."""

from collections.abc import Callable, Sequence

import pytest


def refused(
    main: Callable[[Sequence[str]], None],
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
) -> str:
    """Run a command that must fail; return its one sentence."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    message = str(stopped.value.code)
    assert stopped.value.code not in (0, None)
    assert "\n" not in message.strip(), message
    assert "Traceback" not in message + capsys.readouterr().err
    return message
