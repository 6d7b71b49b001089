"""Agents as bodies seen from above, with the usual sizes of their kinds, and their trails."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.drawing import OTHERS, label, metres_of_a_pixel

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.path import Path as Outline
    from matplotlib.text import Text

# Metres: length and width. A kind in ROUND is a disc of its length.
SIZES = {
    "vehicle": (4.7, 1.95), "bus": (11.5, 2.6), "motorcycle": (2.2, 0.9), "cyclist": (1.8, 0.7),
    "pedestrian": (0.7, 0.7), "static": (1.2, 1.2), "other": (0.9, 0.9),
}  # fmt: skip
ROUND = ("pedestrian", "other")
GLAZED = ("vehicle", "bus")
GLASS = "#e6ebf0"
SMALLEST = 11.0  # pixels: what is shorter is enlarged, to be seen in a wide view
TRAIL = (0.06, 0.7)  # opacity of a trail's first and last piece


def outline(kind: str, least: float = 0.0) -> "Outline":
    """Return the outline of a body at the origin that looks along the x axis, in metres.

    Args:
        kind: one of ``SIZES``.
        least: a shorter body is enlarged to this length; 0 enlarges none.
    """
    from matplotlib.path import Path as Outline

    length, width = np.array(SIZES[kind]) * max(1.0, least / SIZES[kind][0])
    if kind in ROUND:
        return Outline.circle(radius=length / 2)
    x, y = length / 2, width / 2
    if kind == "static":
        return Outline([(-x, -y), (x, -y), (x, y), (-x, y), (-x, -y)], closed=True)
    nose, tail = min(0.16 * length, 0.75), min(0.07 * length, 0.3)
    side = [(-x, 0.7 * y), (-x + tail, y), (x - nose, y), (x, 0.6 * y)]
    body = [*[(a, -b) for a, b in side], *side[::-1]]
    return Outline([*body, body[0]], closed=True)


def windscreen(kind: str, least: float = 0.0) -> "Outline | None":
    """Return the outline of a body's windscreen, as :func:`outline` its own, or None."""
    from matplotlib.path import Path as Outline

    if kind not in GLAZED:
        return None
    scale = max(1.0, least / SIZES[kind][0])
    length, width = SIZES[kind]
    x, y = length / 2 - min(0.16 * length, 0.75), width / 2
    glass = [(x - 0.85, -0.6 * y), (x - 0.2, -0.78 * y), (x - 0.2, 0.78 * y), (x - 0.85, 0.6 * y)]
    return Outline(scale * np.array([*glass, glass[0]]), closed=True)


class Body:
    """An agent on a panel, which can be moved.

    Args:
        axes: the panel.
        kind: one of ``SIZES``.
        colour: of the agent; who is grey is drawn below all others.
        name: written beside it; an empty one is not.
        halo: whether a pale halo lifts the name off lines; it is slow to draw.
    """

    def __init__(
        self, axes: "Axes", kind: str, colour: str, name: str = "", halo: bool = True
    ) -> None:
        from matplotlib.patches import PathPatch

        order = 5.5 if colour == OTHERS else 6.0
        pixel = metres_of_a_pixel(axes)
        least = SMALLEST * pixel
        self.shell = PathPatch(
            outline(kind, least),
            facecolor=colour,
            edgecolor="white",
            linewidth=0.9,
            zorder=order,
        )
        self.artists: list[Artist] = [axes.add_patch(self.shell)]
        if (glass := windscreen(kind, least)) is not None:
            pane = PathPatch(glass, facecolor=GLASS, linewidth=0, zorder=order)
            self.artists.append(axes.add_patch(pane))
        self.name = label(axes, (0.0, 0.0), name, colour, halo=halo) if name else None
        self.half = np.abs(self.shell.get_path().vertices).max(0)
        self.gap = 4 * pixel
        self.axes = axes

    def put(self, position: NDArray[np.float64], heading: float) -> None:
        """Place the body at a position (2,), metres, looking along a heading, radians."""
        from matplotlib.transforms import Affine2D

        moved = Affine2D().rotate(heading).translate(*position) + self.axes.transData
        for artist in self.artists:
            artist.set_transform(moved)
        if self.name is not None:
            self._put_name(self.name, position, abs(np.cos(heading)), abs(np.sin(heading)))

    def show(self, visible: bool) -> None:
        """Let the body and its name be seen or not."""
        for artist in (*self.artists, *([self.name] if self.name else [])):
            artist.set_visible(visible)

    def fade(self, opacity: float) -> None:
        """Draw the body so opaque, from 0 to 1."""
        for artist in self.artists:
            artist.set_alpha(opacity)

    def _put_name(
        self, name: "Text", position: NDArray[np.float64], across: float, up: float
    ) -> None:
        """Write the name off the way: above a body that goes sidewards, else on its right."""
        (x, y), (length, width) = position, self.half
        if across >= up:
            above = y + up * length + across * width + self.gap
            name.set(position=(x, above), ha="center", va="bottom")
        else:
            beside = x + across * length + up * width + self.gap
            name.set(position=(beside, y), ha="left", va="center")


def pieces_of(lines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return lines (..., T, 2) as their pieces (..., T - 1, 2, 2)."""
    return np.stack([lines[..., :-1, :], lines[..., 1:, :]], axis=-2)


def fading(
    lines: NDArray[np.float64], colours: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a trail's pieces (n, 2, 2) and colours (n, 4), stronger towards the end.

    Args:
        lines: (A, T, 2), NaN where unknown; pieces with an unknown end are left out.
        colours: A names.
    """
    from matplotlib.colors import to_rgba

    pieces = pieces_of(lines)
    shades = np.repeat([[to_rgba(colour)] for colour in colours], pieces.shape[1], axis=1)
    shades[..., 3] = np.linspace(*TRAIL, pieces.shape[1])
    known = np.isfinite(pieces).all((-1, -2))
    return pieces[known], shades[known]
