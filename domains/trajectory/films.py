"""Frames as a film: GIF with Pillow, or MP4 with ffmpeg, written in one piece."""

import shutil
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from domains.trajectory.playback import evenly
from guided.results import in_one_piece, require_writable

Frame = NDArray[np.uint8]

SLOWEST, FASTEST = 1.0, 50.0  # frames a second; viewers do not play faster GIFs
REST = 1.5  # seconds for which the last frame stays
EXACT, NEAR = 64, 191  # colours of a GIF: the most frequent ones, and those of all others
LOOKED_AT = 6  # frames that choose the colours


def require_film(path: Path, fps: float) -> float:
    """Refuse a film that cannot be written; return the seconds from frame to frame.

    A GIF counts time in hundredths of a second, to which its pace is rounded.

    Args:
        path: a .gif or .mp4 file; its folder is made.
        fps: frames a second, 1 to 50.

    Raises:
        ValueError: for another kind of file, a missing program, a path that cannot be written, or
            a rate out of range.
    """
    kind = path.suffix.lower()
    if kind not in (".gif", ".mp4"):
        raise ValueError(f"cannot film to {path}; give a name that ends in .gif or .mp4")
    if not SLOWEST <= fps <= FASTEST:
        raise ValueError(f"a film has {SLOWEST:g} to {FASTEST:g} frames a second, got {fps:g}")
    if kind == ".mp4" and shutil.which("ffmpeg") is None:
        raise ValueError(
            f"cannot write {path} without ffmpeg; install it, or give a name that ends in .gif"
        )
    if kind == ".gif" and find_spec("PIL") is None:
        raise ValueError(f"cannot write {path} without Pillow; pip install pillow")
    require_writable(path)
    return 1 / fps if kind == ".mp4" else round(100 / fps) / 100


def write_film(path: Path, frame: Callable[[int], Frame], count: int, pace: float) -> None:
    """Write a film whose last frame stays for a moment; a GIF starts again.

    Args:
        path: what :func:`require_film` found good.
        frame: returns a frame (height, width, 3) by its index; some are asked for twice.
        count: how many frames.
        pace: seconds from frame to frame.

    Raises:
        ValueError: where the file cannot be written.
    """
    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    with in_one_piece(path) as part:
        write(part, frame, count, pace)


def _write_gif(path: Path, frame: Callable[[int], Frame], count: int, pace: float) -> None:
    from PIL import Image

    looked_at = evenly(count, LOOKED_AT)
    paint = _Paint(_palette([frame(int(i)) for i in looked_at]))

    def picture(index: int) -> Image.Image:
        found = Image.fromarray(paint.indices(frame(index)))
        found.putpalette(paint.colours.tobytes())
        return found

    steps = [round(1000 * pace)] * (count - 1) + [round(1000 * (pace + REST))]
    picture(0).save(
        path, format="GIF", save_all=True, append_images=map(picture, range(1, count)),
        duration=steps, loop=0, optimize=False, disposal=1,
    )  # fmt: skip


class _Paint:
    """Finds the nearest colour of a palette (n, 3), each pixel's the same in every frame.

    Pillow's own choice is coarser: it does not return a colour that the palette holds.
    """

    def __init__(self, colours: Frame) -> None:
        self.colours = colours
        self.tree = KDTree(colours.astype(float))
        self.known = np.full(1 << 24, -1, dtype=np.int16)

    def indices(self, frame: Frame) -> Frame:
        """Return the indices (height, width) of a frame's colours."""
        packed = _packed(frame)
        found = self.known[packed]
        new = np.unique(packed[found < 0])
        if len(new):
            self.known[new] = self.tree.query(_unpacked(new).astype(float))[1]
            found = self.known[packed]
        return found.astype(np.uint8)


def _packed(colours: Frame) -> NDArray[np.int32]:
    red, green, blue = (colours[..., part].astype(np.int32) for part in range(3))
    return red << 16 | green << 8 | blue


def _unpacked(colours: NDArray[np.int32]) -> Frame:
    return np.stack([colours >> 16, colours >> 8 & 255, colours & 255], -1).astype(np.uint8)


def _palette(frames: list[Frame]) -> Frame:
    """Return colours (n, 3): the most frequent as they are, and a choice among all others.

    A median cut of the pixels would leave none for the few that a small agent has, so every other
    colour counts once.
    """
    from PIL import Image

    packed = np.concatenate([_packed(frame).ravel() for frame in frames])
    found, counts = np.unique(packed, return_counts=True)
    colours = _unpacked(found[np.argsort(-counts, kind="stable")])
    exact, others = colours[:EXACT], colours[EXACT:]
    if len(others) <= NEAR:
        return np.concatenate([exact, others])
    cut = Image.fromarray(others[None]).quantize(NEAR, method=Image.Quantize.MEDIANCUT)
    chosen = np.array(cut.getpalette(), dtype=np.uint8).reshape(-1, 3)[:NEAR]
    return np.concatenate([exact, chosen])


def _write_mp4(path: Path, frame: Callable[[int], Frame], count: int, pace: float) -> None:
    first = frame(0)
    height, width = (side - side % 2 for side in first.shape[:2])  # H.264 needs even sides
    indices = [*range(count), *[count - 1] * round(REST / pace)]
    command = [
        "ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24",
        "-s", f"{width}x{height}", "-r", f"{1 / pace:g}", "-i", "-",
        "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20", "-movflags", "+faststart",
        "-f", "mp4", str(path),
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            if process.stdin is not None:
                for i in indices:
                    process.stdin.write(np.ascontiguousarray(frame(i)[:height, :width]).tobytes())
        except BrokenPipeError:
            pass  # ffmpeg ended early, and says below why
        _, said = process.communicate()
    if process.returncode:
        reason = said.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise ValueError(f"ffmpeg failed ({reason[-1]}); give a name that ends in .gif")
