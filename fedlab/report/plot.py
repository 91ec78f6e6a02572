"""Plots as data: marks on two axes. `templates/plot.html` draws them as SVG in the colours of the page, light or dark.

The marks lie in a square of 1000 × 1000 units that the page stretches to the available size. Text lies outside the square, so
it keeps its size on every screen.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from fedlab.report import words
from fedlab.report.scale import Scale, linear, rounds
from fedlab.report.series import MAX_POINTS, Point, pieces, thinned

_SIDE = 1000
_COLORS = 8  # .s1 to .s8 in style.css
_FEW_CURVES = 12  # the most curves among which one can hide another unnoticed
_LINE = 0.01  # fraction of the height: nearer lines hide each other
_FEW = 30  # the most points that get a dot each
ROOM = 25.0  # smallest width of an axis in em of its texts: on a phone, and in print
_LETTER = 0.62  # em, the width of a digit
_MOST_CHOICES = 14  # the most texts that fit on an axis of choices, stacked or upright side by side


Found = Sequence[Sequence[tuple[float, float]]]  # the pieces of a curve


@dataclasses.dataclass(frozen=True)
class Mark:
    """An SVG path `d`; `css`: the class that styles it. The page shows the `name` of a mark when the pointer is on it."""

    d: str
    css: str
    name: str = ""


@dataclasses.dataclass(frozen=True)
class Axis:
    """A scale with its label and the format of its values."""

    scale: Scale
    label: str
    kind: str = "number"  # number or percent: the format of ticks and of the value under the pointer
    texts: tuple[str, ...] | None = None  # texts of ticks that are not numbers
    choices: bool = False  # evenly spaced choices instead of numbers

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Returns (position in percent, text) of each tick on the axis."""
        texts = self.texts or tick_texts(self.scale.ticks, self.kind)
        return [(round(100 * self.scale.at(t), 2), text) for t, text in zip(self.scale.ticks, texts)]

    @property
    def upright(self) -> bool:
        """Returns whether the choices only fit side by side if their texts are rotated."""
        texts = [text for _, text in self.ticks]
        return self.choices and len(texts) * max(map(len, texts)) > 24

    def across(self, room: float = ROOM) -> list[tuple[float, str, str]]:
        """Returns (position in percent, text, class) of the ticks whose texts do not touch on a horizontal axis of `room` em."""
        return across(self.ticks, room)

    def column(self) -> list[tuple[float, str]]:
        """Returns the ticks that fit on a vertical axis: a part of them if there are many choices."""
        return self.ticks[:: -(-len(self.ticks) // _MOST_CHOICES)] if self.choices else self.ticks


@dataclasses.dataclass(frozen=True)
class Plot:
    """A picture with its texts. `alt`: a description for screen readers."""

    title: str
    alt: str
    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    legend: tuple[tuple[str, str], ...] = ()  # (name, css)
    hover: bool = False
    tall: bool = False

    @property
    def gutter(self) -> float:
        """Returns the width that the texts of the y axis need, in em."""
        return round(0.64 * max((len(text) for _, text in self.y.ticks), default=1) + 0.7, 1)


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line; without a name it is drawn as context for the others. `band`: [(x, low, high)], drawn behind the line."""

    name: str
    points: Sequence[Point]
    css: str
    band: Sequence[tuple[float, float, float]] = ()


def across(ticks: Sequence[tuple[float, str]], room: float = ROOM) -> list[tuple[float, str, str]]:
    """Returns (position in percent, text, class) of the `ticks` whose texts do not touch on a horizontal axis of `room` em.

    A text that would cross the right end of the page gets the class `last` and ends just after its tick. A text that would go
    far beyond the left end, into the texts of the other axis, gets the class `first` and begins just before its tick.
    """
    kept: list[tuple[float, str, str]] = []
    taken = -math.inf  # em: the end of the previous text
    for at, text in ticks:
        width, place = _LETTER * len(text), at / 100 * room
        css = "last" if place + width / 2 > room + 0.5 else "first" if place - width / 2 < -1 else ""
        left = place + 0.5 - width if css == "last" else place - 0.3 if css == "first" else place - width / 2
        if left >= taken:
            kept.append((at, text, css))
            taken = left + width + 0.5
    return kept


def tick_texts(ticks: Sequence[float], kind: str) -> list[str]:
    """Returns the texts of ticks, with the fewest digits that distinguish them."""
    if kind == "percent":
        digits = next((d for d in range(5) if len({f"{t:.{d}%}" for t in ticks}) == len(ticks)), 5)
        return [f"{t:.{digits}%}" for t in ticks]
    digits = next((d for d in range(1, 9) if len({words.number(_clean(t), d) for t in ticks}) == len(ticks)), 9)
    decimals = max((_decimals(words.number(_clean(t), digits)) for t in ticks), default=0)
    if decimals and all(1e-4 <= abs(t) < 1e6 or abs(t) < 1e-12 for t in ticks):
        return [f"{_clean(t):,.{_decimals_needed(ticks)}f}".replace("-", "−") for t in ticks]
    return [words.number(_clean(t), digits) for t in ticks]


def line_plot(title: str, curves: Sequence[Curve], y_label: str, kind: str = "number", *, zero: bool = False) -> Plot | None:
    """Plots curves over rounds; None without points. `zero`: the y axis begins at 0."""
    drawn = [(curve, found) for curve in curves if (found := pieces(curve.points))]
    values = [y for _, found in drawn for piece in found for _, y in piece]
    if not values:
        return None
    if kind == "percent" and 0 <= min(values) <= max(values) <= 1:  # a band stays within 0 to 100%
        drawn = [
            (dataclasses.replace(c, band=[(r, max(0.0, a), min(1.0, b)) for r, a, b in c.band]), found) for c, found in drawn
        ]
    bounds = [*values, *(v for curve, _ in drawn for _, low, high in curve.band for v in (low, high)), *([0.0] if zero else [])]
    low, high = min(bounds), max(bounds)
    if kind == "percent" and 0 <= low <= high <= 1:
        y = linear(low, high)
        y = dataclasses.replace(y, high=min(y.high, 1.0), ticks=tuple(t for t in y.ticks if t < 1 + 1e-9))
        y = y if y.low < y.high and y.low >= 0 else linear(0, 1)
    else:
        y = linear(low, high, whole=all(v == round(v) for v in values if abs(v) < 1e15))
    known = [x for _, found in drawn for piece in found for x, _ in piece]
    x = rounds(int(min(known)), int(max(known)))
    marks = [Mark(_band(curve.band, x, y), f"band {curve.css}") for curve, _ in drawn if curve.band]
    most = max(60, MAX_POINTS * 10 // max(10, len(drawn)))
    for i, (curve, found) in enumerate(drawn):
        total = sum(map(len, found))
        above = [later for other, later in drawn[i + 1 :] if other.css != curve.css]
        css = curve.css + (_under(found, above, y) if curve.name and len(drawn) <= _FEW_CURVES else "")
        parts = [thinned(piece, max(4, most * len(piece) // total)) if total > most else piece for piece in found]
        marks.append(Mark("".join(_path(part, x, y) for part in parts), f"line {css}", curve.name))
        dots = [p for part in parts for p in part if (total <= _FEW and curve.name) or len(part) == 1]
        if dots:
            marks.append(Mark(_dots(dots, x, y), f"dots {css}"))
    legend = tuple((curve.name, curve.css) for curve, _ in drawn if curve.name)
    alt = f"{title} over rounds {int(min(known)):,} to {int(max(known)):,}. " + " ".join(
        _told(curve.name, found, kind) for curve, found in [d for d in drawn if d[0].name][:8]
    )
    return Plot(title, alt, Axis(x, "round"), Axis(y, y_label, kind), tuple(marks), legend, hover=True)


def scatter(title: str, alt: str, x: Axis, y: Axis, groups: Sequence[tuple[str, str, Sequence[tuple[float, float]]]]) -> Plot:
    """Plots points; `groups`: (name, css, points)."""
    marks = tuple(Mark(_dots(points, x.scale, y.scale), f"dots {css}") for _, css, points in groups if points)
    legend = tuple((name, css) for name, css, points in groups if points and name)
    return Plot(title, alt, x, y, marks, legend)


def histogram(title: str, alt: str, x: Axis, counts: Sequence[int], edges: Sequence[float], y_label: str) -> Plot:
    """Plots a bar for each `counts[i]`, from `edges[i]` to `edges[i + 1]`."""
    y = _whole(max(counts))
    gap = 2.0
    bars = []
    for count, a, b in zip(counts, edges, edges[1:]):
        left, right, top = x.scale.at(a) * _SIDE + gap, x.scale.at(b) * _SIDE - gap, (1 - y.at(count)) * _SIDE
        if count:
            bars.append(f"M{left:.1f} {_SIDE}V{top:.1f}H{right:.1f}V{_SIDE}Z")
    return Plot(title, alt, x, Axis(y, y_label), (Mark("".join(bars), "bars s1"),))


def color(index: int) -> str:
    """Returns the CSS class of series number `index`: eight colours, then the same colours dashed."""
    dash = ("", " dashed", " dotted")[index // _COLORS % 3]
    return f"s{index % _COLORS + 1}{dash}"


def line(points: Iterable[tuple[float, float]], x: Scale, y: Scale) -> str:
    """Returns the path of a line through `points`."""
    return _path(list(points), x, y)


def dots(points: Iterable[tuple[float, float]], x: Scale, y: Scale) -> str:
    """Returns the path of a dot at each of `points`."""
    return _dots(points, x, y)


def _whole(highest: int) -> Scale:
    """Returns the scale from 0 to a count, with ticks at whole numbers."""
    return linear(0, max(1, highest), count=4, whole=True)


def _xy(x: float, y: float, sx: Scale, sy: Scale) -> str:
    return f"{sx.at(x) * _SIDE:.1f} {(1 - sy.at(y)) * _SIDE:.1f}"


def _path(points: Sequence[tuple[float, float]], sx: Scale, sy: Scale) -> str:
    return "M" + "L".join(_xy(x, y, sx, sy) for x, y in points)


def _dots(points: Iterable[tuple[float, float]], sx: Scale, sy: Scale) -> str:
    """Returns the path of strokes of length 0: their round ends stay round when the page stretches the square."""
    return "".join(f"M{_xy(x, y, sx, sy)}h0" for x, y in points)


def _band(band: Sequence[tuple[float, float, float]], sx: Scale, sy: Scale) -> str:
    if len(band) > MAX_POINTS:
        stride = -(-len(band) // MAX_POINTS)
        band = [*band[:-1:stride], band[-1]]
    there = [_xy(x, high, sx, sy) for x, _, high in band]
    back = [_xy(x, low, sx, sy) for x, low, _ in reversed(band)]
    return "M" + "L".join([*there, *back]) + "Z"


def _under(mine: Found, others: Sequence[Found], y: Scale) -> str:
    """Returns the class of a wide curve if `others` would hide it, because they coincide with half of its points; else ""."""
    points = {x: value for piece in mine for x, value in piece}
    hidden = 0
    for other in others:
        near = [x for piece in other for x, value in piece if x in points and abs(y.at(value) - y.at(points[x])) < _LINE]
        hidden += len(points) > 1 and 2 * len(near) >= len(points)
    return ("", " under", " under2")[min(hidden, 2)]


def _told(name: str, found: Sequence[Sequence[tuple[float, float]]], kind: str) -> str:
    points = [p for piece in found for p in piece]
    text = words.percent if kind == "percent" else words.number
    least, most = min(points, key=lambda p: p[1]), max(points, key=lambda p: p[1])
    if len(points) == 1:
        return f"{name}: {text(points[0][1])} in round {points[0][0]:,.0f}."
    return (
        f"{name}: from {text(points[0][1])} to {text(points[-1][1])}, lowest {text(least[1])} in round {least[0]:,.0f}, "
        f"highest {text(most[1])} in round {most[0]:,.0f}."
    )


def _clean(tick: float) -> float:
    """Removes the rounding error of a binary fraction."""
    return 0.0 if abs(tick) < 1e-300 else float(f"{tick:.10g}")


def _decimals(text: str) -> int:
    return len(text.partition(".")[2]) if "×" not in text else 0


def _decimals_needed(ticks: Sequence[float]) -> int:
    return max((len(f"{_clean(t):.10f}".rstrip("0").partition(".")[2]) for t in ticks), default=0)
