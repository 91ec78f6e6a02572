"""Draws a picture for a paper: PDF, SVG or PNG at its real size, fonts embedded, the same bytes for the same runs."""

from __future__ import annotations

import io
import math
import pathlib
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib import cbook, ticker
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.mathtext import MathTextParser
from matplotlib.patches import Patch

from fedlab.archive import replacing
from fedlab.errors import ConfigError, FedlabError
from fedlab.report.lines import Line, Panel, Picture
from fedlab.report.plot import tick_texts
from fedlab.report.scale import linear, logarithmic

# Okabe and Ito's colours, which people with any kind of colour vision can distinguish, without the yellow, too pale for a line
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1.5, 1.5, 1.5)), (0, (8, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "X", "P", "<", ">")
_NUM_MARKERS = 8  # on a line with many points
_ROW, _LETTER, _HANDLE = 0.14, 0.058, 0.5  # inches, of the legend: a row, a letter, the sample of a line with its margins
_SIDE_BY_SIDE = 2.6  # the smallest width of a panel in inches beside another one
_LOG = {"x": ("x",), "y": ("y",), "both": ("x", "y")}

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same on every machine
    "font.size": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3,
    "pdf.fonttype": 42,  # TrueType: publishers reject matplotlib's default, Type 3
    "svg.fonttype": "path",  # letters as outlines, so the picture needs no font
    "svg.hashsalt": "fedlab",  # names within the file are the same each time
    "axes.unicode_minus": True,
}
# Without the time and the versions of libraries
_METADATA: dict[str, dict[str, str | None]] = {
    "pdf": {"Creator": "fedlab", "Producer": None, "CreationDate": None},
    "svg": {"Creator": "fedlab", "Date": None},
    "png": {"Software": None},
}


def save(picture: Picture, path: pathlib.Path, width: float, height: float | None = None, log: str = "") -> pathlib.Path:
    """Draws `picture` to `path`, which ends in .pdf, .svg or .png. Raises `FedlabError` if it cannot be written.

    `width`, `height`: in inches; None: a height that suits the width. `log`: "x", "y" or "both" for logarithmic axes.
    """
    content = drawn(picture, path.suffix[1:].lower(), width, height, log)
    try:
        with replacing(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise FedlabError(f"cannot write {path} ({error.strerror}): name another file with --out FILE.") from error
    return path


def drawn(picture: Picture, kind: str, width: float, height: float | None = None, log: str = "") -> bytes:
    """Returns `picture` as a file of `kind`, pdf, svg or png; for the others see `save`.

    Raises `ConfigError` for a logarithmic axis with values that are not positive, and for a label with a
    formula that matplotlib cannot draw.
    """
    _require_positive(picture, _LOG.get(log, ()))
    buffer = io.BytesIO()
    with _settings():
        figure = _figure(picture, width, height, _LOG.get(log, ()))
        metadata = {**_METADATA[kind], **({"Title": picture.caption} if kind != "png" else {"Description": picture.caption})}
        figure.savefig(buffer, format=kind, dpi=300, metadata=metadata)
    return buffer.getvalue()


def _require_positive(picture: Picture, log: tuple[str, ...]) -> None:
    for panel in picture.panels:
        points = [point for line in panel.lines for point in line.points if point[1] is not None]
        for name, axis, values in (("x", picture.x_name, [x for x, _ in points]), ("y", panel.metric, [y for _, y in points])):
            if name in log and min(v for v in values if v is not None) <= 0:
                raise ConfigError(f"--log {name}: {axis} has values that are not positive, which a logarithmic axis cannot show.")


def _require_formulas(rows: Sequence[str]) -> None:
    """Raises `ConfigError` for a label with a formula between dollar signs that matplotlib cannot draw."""
    for row in filter(cbook.is_math_text, rows):
        try:
            MathTextParser("path").parse(row)
        except ValueError as error:
            raise ConfigError(f"the label {row} contains a formula that cannot be drawn: write a dollar sign as \\$.") from error


@contextmanager
def _settings() -> Iterator[None]:
    """Sets matplotlib's options to its defaults and `_SETTINGS`, whatever the user's matplotlibrc contains."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def _figure(picture: Picture, width: float, height: float | None, log: tuple[str, ...]) -> Figure:
    count = len(picture.panels)
    columns = max(1, min(count, int(width / _SIDE_BY_SIDE)))
    rows = -(-count // columns)
    handles, num_columns = _legend(picture, width)
    below = _ROW * (-(-sum(1 + handle.get_label().count("\n") for handle in handles) // num_columns) + 1)
    figure = Figure(figsize=(width, height or rows * (0.4 + 0.58 * width / columns) + below), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in grid[count:]:
        axes.set_visible(False)
    for axes, panel in zip(grid, picture.panels):
        _draw(axes, picture, panel, log)
    if handles:
        style = {"frameon": False, "handlelength": 2.6, "columnspacing": 1.2, "borderaxespad": 0.2}
        figure.legend(handles=handles, loc="outside lower center", ncols=num_columns, **style)
    return figure


def _draw(axes: Any, picture: Picture, panel: Panel, log: tuple[str, ...]) -> None:
    styles = {line.label: i for i, line in enumerate(picture.lines)}
    least, most = _bounds(panel, log)
    for line in panel.lines:
        style = _style(styles[line.label])
        xs = [x * picture.x.factor for x, _ in line.points]
        ys = [float("nan") if y is None else y * panel.y.factor for _, y in line.points]
        every = max(1, -(-len(xs) // _NUM_MARKERS))
        axes.plot(xs, ys, markevery=(styles[line.label] % every, every), **style)
        for piece in _band_pieces(line):
            at, low, high = (list(values) for values in zip(*piece))
            low, high = ([min(max(v, least), most) * panel.y.factor for v in side] for side in (low, high))
            axes.fill_between([x * picture.x.factor for x in at], low, high, color=style["color"], alpha=0.18, linewidth=0)
    axes.set_xlabel(picture.x.axis)
    axes.set_ylabel(panel.y.axis)
    axes.grid(alpha=0.3, linewidth=0.4)
    axes.spines[["top", "right"]].set_visible(False)
    if picture.x_name == "round" and "x" not in log:
        axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    for name in log:
        _make_logarithmic(axes, name)


def _make_logarithmic(axes: Any, name: str) -> None:
    """Makes an axis logarithmic, with ticks at powers of ten, or in 1-2-5 steps or evenly if these are few."""
    axes.set(**{f"{name}scale": "log"})
    axis = getattr(axes, f"{name}axis")
    low, high = axis.get_view_interval().tolist()
    ticks = logarithmic([low, high]).ticks
    ticks = ticks if len(ticks) > 1 else linear(low, high, nice=False).ticks
    axis.set_major_locator(ticker.FixedLocator(list(ticks)))
    axis.set_major_formatter(ticker.FixedFormatter(tick_texts(ticks, "number")))
    axis.set_minor_locator(ticker.NullLocator())


def _bounds(panel: Panel, log: tuple[str, ...]) -> tuple[float, float]:
    """Returns the range in which a band is drawn: within 0 to 100% for a share, and above 0 on a logarithmic axis."""
    values = [y for line in panel.lines for _, y in line.points if y is not None]
    lows = [low for line in panel.lines for _, low, _ in line.band]
    least = min(v for v in (*values, *lows) if v > 0) if "y" in log else -math.inf
    return (max(0.0, least), 1.0) if panel.y.unit == "%" and min(values) >= 0 else (least, math.inf)


def _band_pieces(line: Line) -> Iterator[list[tuple[float, float, float]]]:
    """Yields the parts of a band between the points at which the metric is not a finite number."""
    around, piece = iter(line.band), []
    for _, y in line.points if line.band else ():
        if y is not None:
            piece.append(next(around))
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _style(index: int) -> dict[str, Any]:
    """Returns the style of line number `index`: colour, dashes and marker, so that lines differ without colours, too."""
    turn = index // len(_COLORS)
    return {
        "color": _COLORS[index % len(_COLORS)],
        "linestyle": _DASHES[(index + turn) % len(_DASHES)],
        "marker": _MARKERS[(index + turn) % len(_MARKERS)],
    }


def _legend(picture: Picture, width: float) -> tuple[list[Any], int]:
    """Returns the entries of the legend, a line per group and one for the bands, and the number of its columns."""
    differ = len(picture.counts) > 1
    most = max(12, int((width - _HANDLE) / _LETTER))
    handles: list[Any] = []
    for i, line in enumerate(picture.lines):
        label = line.label if line.given else line.label.replace("$", r"\$")  # a folder's name contains no formula
        text = f"{label} (n = {line.num_runs})" if differ else label
        wrapped = textwrap.wrap(text, most)
        _require_formulas(wrapped)
        handles.append(Line2D([], [], label="\n".join(wrapped), **_style(i)))
    if picture.has_bands:
        handles.append(Patch(facecolor="#808080", alpha=0.35, linewidth=0, label=picture.band_text))
    elif max(picture.counts) > 1 and not differ:
        handles.append(Line2D([], [], linestyle="", label=picture.mean_text))
    longest = max((len(part) for handle in handles for part in handle.get_label().split("\n")), default=1)
    return handles, max(1, min(len(handles), 4, int(width / (_HANDLE + _LETTER * longest))))
