"""Environments in one place: registered quietly, and refused in one sentence."""

import contextlib
import io
from typing import Any

from guided.command import one_line


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
            not take, a package that is missing, or an environment that fails to start.
    """
    gymnasium = register()
    from domains.rl.safe import bullet

    name = which if len(which) <= 60 else f"{which[:57]}..."
    try:
        spec = gymnasium.envs.registration.EnvSpec.from_json(which) if which[:1] == "{" else which
        if bullet.is_bullet(spec):
            return bullet.make(spec, **options)
        return gymnasium.make(spec, **options)
    except gymnasium.error.DependencyNotInstalled as error:
        raise ValueError(
            f"the environment {name} needs a package that is not installed ({one_line(error)})"
        ) from None
    except ImportError as error:
        raise ValueError(
            f"the environment {name} needs the package {error.name}; "
            f"install it, or pip install 'guided[rl]'"
        ) from None
    except gymnasium.error.Error as error:
        hint = "" if robotics() else "; mazes need the packages gymnasium-robotics and mujoco"
        raise ValueError(f"no environment {name} ({one_line(error)}){hint}") from None
    except (TypeError, KeyError, ValueError, AttributeError, RuntimeError) as error:
        raise ValueError(f"cannot make the environment {name} ({one_line(error)})") from None


def register() -> Any:
    """Register our environments and those of installed packages; return the module ``gymnasium``.

    Raises:
        ValueError: without Gymnasium.
    """
    try:
        import gymnasium
    except ImportError:
        raise ValueError(
            "environments need the package gymnasium; pip install 'guided[rl]'"
        ) from None
    from domains.rl.safe import bullet  # importing the package registers its own tasks

    robotics()
    bullet.register()
    return gymnasium


def robotics() -> bool:
    """Register Gymnasium-Robotics without its notice on stderr; return whether it is there.

    Raises:
        ValueError: where MuJoCo is there and does not start, as for an unknown MUJOCO_GL.
    """
    from gymnasium.error import DependencyNotInstalled

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            import gymnasium_robotics  # noqa: F401  (importing registers)
    except (ImportError, DependencyNotInstalled):  # the latter where MuJoCo is missing
        return False
    except RuntimeError as error:
        raise ValueError(f"MuJoCo does not start ({one_line(error)}); check MUJOCO_GL") from None
    return True


def check_continuous(space: Any) -> None:
    """Raise unless actions are vectors of real numbers.

    Raises:
        ValueError: for a discrete or nested action space, or one of other axes.
    """
    import gymnasium

    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise ValueError(
            f"actions must be vectors of a Box, got the action space {space}; "
            f"choose an environment with continuous actions"
        )


def check_bounded(space: Any) -> None:
    """Raise unless actions are vectors with finite bounds.

    Raises:
        ValueError: as :func:`check_continuous`, and for an unbounded action space.
    """
    check_continuous(space)
    if not space.is_bounded():
        raise ValueError(
            f"actions must be bounded on both sides, got the action space {space}; "
            f"give bounds with gymnasium.wrappers.TransformAction and its action_space"
        )
