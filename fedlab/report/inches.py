"""Places the parts of a matplotlib picture in inches, with margins for its texts.

A layout engine of matplotlib would measure all texts several times, which takes as long as drawing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

PAD = 0.06  # between a picture's edge and its texts
TICK = 0.1  # the length of a tick and the gap to its text
LINE = 0.2  # the height of a line of text


def widest(texts: Iterable[str], size: float = 10) -> float:
    """Returns the width of the widest text, in inches. `size`: of the font, in points."""
    font = FontProperties(size=size)
    return max((text_to_path.get_text_width_height_descent(text, font, False)[0] for text in texts), default=0.0) / 72


def axes_at(figure: Figure, left: float, bottom: float, width: float, height: float, **options: Any) -> Any:
    """Adds axes whose frame is at these inches of the figure, from its lower left corner."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up), **options)


def place_labels(axes: Any, x: float | None = None, y: float | None = None) -> None:
    """Places the label of the x axis `x` inches below the frame, and that of the y axis `y` inches left of it; −`y` inches right
    of it, if `y` is negative, as for a colour bar."""
    box = axes.get_position()
    across, up = axes.figure.get_size_inches() * (box.width, box.height)
    if x is not None:
        axes.xaxis.set_label_coords(0.5, -x / up)
    if y is not None:
        axes.yaxis.set_label_coords(-y / across if y > 0 else 1 - y / across, 0.5)
