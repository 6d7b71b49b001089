"""Environments in one place: registered quietly, and refused in one sentence."""

import contextlib
import io
from typing import Any


def make(which: str, **options: Any) -> Any:
    """Make a Gymnasium environment.

    Args:
        which: an id such as ``"PointMaze_UMaze-v3"``, or a specification as JSON.
        options: what ``gymnasium.make`` takes: ``max_episode_steps``, ``render_mode``, and the
            environment's own.

    Returns:
        A ``gymnasium.Env``.

    Raises:
        ValueError: for an unknown id, a damaged specification, an option that the environment does
            not take, or a package that is missing.
    """
    gymnasium = register()
    name = which if len(which) <= 60 else f"{which[:57]}..."
    try:
        spec = gymnasium.envs.registration.EnvSpec.from_json(which) if which[:1] == "{" else which
        return gymnasium.make(spec, **options)
    except gymnasium.error.DependencyNotInstalled as error:
        raise ValueError(
            f"the environment {name} needs a package that is not installed ({_line(error)})"
        ) from None
    except ImportError as error:
        raise ValueError(
            f"the environment {name} needs the package {error.name}; "
            f"install it, or pip install 'guided[rl]'"
        ) from None
    except gymnasium.error.Error as error:
        hint = "" if robotics() else "; mazes need the packages gymnasium-robotics and mujoco"
        raise ValueError(f"no environment {name} ({_line(error)}){hint}") from None
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(f"cannot make the environment {name} ({_line(error)})") from None


def register() -> Any:
    """Register every environment of the installed packages; return the module ``gymnasium``.

    Raises:
        ValueError: without Gymnasium.
    """
    try:
        import gymnasium
    except ImportError:
        raise ValueError(
            "environments need the package gymnasium; pip install 'guided[rl]'"
        ) from None
    robotics()
    return gymnasium


def robotics() -> bool:
    """Register Gymnasium-Robotics without its notice on stderr; return whether it works."""
    from gymnasium.error import DependencyNotInstalled

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            import gymnasium_robotics  # noqa: F401  (importing registers)
    except (ImportError, DependencyNotInstalled):  # the latter where MuJoCo is missing
        return False
    return True


def check_continuous(space: Any) -> None:
    """Raise unless actions are vectors with finite bounds.

    Raises:
        ValueError: for a discrete, nested or unbounded action space.
    """
    import gymnasium

    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise ValueError(
            f"actions must be vectors of a bounded Box, got the action space {space}; "
            f"choose an environment with continuous actions"
        )
    if not space.is_bounded():
        raise ValueError(
            f"actions must be bounded on both sides, got the action space {space}; "
            f"wrap the environment in gymnasium.wrappers.RescaleAction"
        )


def _line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
