"""Plots as data: marks on two axes. `templates/plot.html` draws them as SVG whose colours are the page's, by day and by night.

The marks lie in a square of 1000 × 1000 units that the page stretches to whatever room there is; text stays outside of it, and
so keeps its size on any screen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from fedlab.report import words
from fedlab.report.scale import Scale, linear, rounds
from fedlab.report.series import MAX_POINTS, Point, pieces, thinned

_SIDE = 1000
_COLORS = 8  # .s1 to .s8 in style.css
_FEW = 30  # points that are worth a dot each


@dataclasses.dataclass(frozen=True)
class Mark:
    """An SVG path `d`; `css` names how it is drawn. A mark with a `name` answers when it is pointed at."""

    d: str
    css: str
    name: str = ""


@dataclasses.dataclass(frozen=True)
class Axis:
    """A scale, what it measures, and how its values are worded."""

    scale: Scale
    label: str
    kind: str = "number"  # number or percent: also how the page words a value pointed at
    texts: tuple[str, ...] | None = None  # of the ticks, where they are not numbers

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """(position in percent, text) of each mark on the axis."""
        texts = self.texts or tick_texts(self.scale.ticks, self.kind)
        return [(round(100 * self.scale.at(t), 2), text) for t, text in zip(self.scale.ticks, texts)]


@dataclasses.dataclass(frozen=True)
class Plot:
    """A picture with its words. `alt` says what it shows to those who do not see it."""

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
        """The room that the texts of the y axis need, in em."""
        return round(0.64 * max((len(text) for _, text in self.y.ticks), default=1) + 0.7, 1)


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line; one without a name is drawn as context for the others. `band` is [(x, low, high)], drawn behind it."""

    name: str
    points: Sequence[Point]
    css: str
    band: Sequence[tuple[float, float, float]] = ()


def tick_texts(ticks: Sequence[float], kind: str) -> list[str]:
    """The texts of an axis: as few digits as tell its ticks apart."""
    if kind == "percent":
        digits = next((d for d in range(5) if len({f"{t:.{d}%}" for t in ticks}) == len(ticks)), 5)
        return [f"{t:.{digits}%}" for t in ticks]
    digits = next((d for d in range(1, 9) if len({words.number(_clean(t), d) for t in ticks}) == len(ticks)), 9)
    decimals = max((_decimals(words.number(_clean(t), digits)) for t in ticks), default=0)
    if decimals and all(1e-4 <= abs(t) < 1e6 or abs(t) < 1e-12 for t in ticks):
        return [f"{_clean(t):,.{_decimals_needed(ticks)}f}".replace("-", "−") for t in ticks]
    return [words.number(_clean(t), digits) for t in ticks]


def line_plot(title: str, curves: Sequence[Curve], y_label: str, kind: str = "number", *, zero: bool = False) -> Plot | None:
    """Curves over rounds; None where there is no point to draw. `zero`: the y axis begins there."""
    drawn = [(curve, found) for curve in curves if (found := pieces(curve.points))]
    values = [y for _, found in drawn for piece in found for _, y in piece]
    if not values:
        return None
    if kind == "percent" and 0 <= min(values) <= max(values) <= 1:  # no band reaches beyond what can be
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
    for curve, found in drawn:
        total = sum(map(len, found))
        parts = [thinned(piece, max(4, most * len(piece) // total)) if total > most else piece for piece in found]
        marks.append(Mark("".join(_path(part, x, y) for part in parts), f"line {curve.css}", curve.name))
        dots = [p for part in parts for p in part if (total <= _FEW and curve.name) or len(part) == 1]
        if dots:
            marks.append(Mark(_dots(dots, x, y), f"dots {curve.css}"))
    legend = tuple((curve.name, curve.css) for curve, _ in drawn if curve.name)
    alt = f"{title} over rounds {int(min(known)):,} to {int(max(known)):,}. " + " ".join(
        _told(curve.name, found, kind) for curve, found in [d for d in drawn if d[0].name][:8]
    )
    return Plot(title, alt, Axis(x, "round"), Axis(y, y_label, kind), tuple(marks), legend, hover=True)


def scatter(title: str, alt: str, x: Axis, y: Axis, groups: Sequence[tuple[str, str, Sequence[tuple[float, float]]]]) -> Plot:
    """Points; `groups`: (name, css, points)."""
    marks = tuple(Mark(_dots(points, x.scale, y.scale), f"dots {css}") for _, css, points in groups if points)
    legend = tuple((name, css) for name, css, points in groups if points and name)
    return Plot(title, alt, x, y, marks, legend)


def histogram(title: str, alt: str, x: Axis, counts: Sequence[int], edges: Sequence[float], y_label: str) -> Plot:
    """A bar for each `counts[i]`, from `edges[i]` to `edges[i + 1]`."""
    y = _whole(max(counts))
    gap = 2.0
    bars = []
    for count, a, b in zip(counts, edges, edges[1:]):
        left, right, top = x.scale.at(a) * _SIDE + gap, x.scale.at(b) * _SIDE - gap, (1 - y.at(count)) * _SIDE
        if count:
            bars.append(f"M{left:.1f} {_SIDE}V{top:.1f}H{right:.1f}V{_SIDE}Z")
    return Plot(title, alt, x, Axis(y, y_label), (Mark("".join(bars), "bars s1"),))


def color(index: int) -> str:
    """The class of the `index`-th of several series: eight colours, then the same dashed."""
    dash = ("", " dashed", " dotted")[index // _COLORS % 3]
    return f"s{index % _COLORS + 1}{dash}"


def line(points: Iterable[tuple[float, float]], x: Scale, y: Scale) -> str:
    """The path of a line through `points`."""
    return _path(list(points), x, y)


def dots(points: Iterable[tuple[float, float]], x: Scale, y: Scale) -> str:
    """The path of a dot at each of `points`."""
    return _dots(points, x, y)


def _whole(highest: int) -> Scale:
    """From 0 to a count, whole ticks only."""
    return linear(0, max(1, highest), count=4, whole=True)


def _xy(x: float, y: float, sx: Scale, sy: Scale) -> str:
    return f"{sx.at(x) * _SIDE:.1f} {(1 - sy.at(y)) * _SIDE:.1f}"


def _path(points: Sequence[tuple[float, float]], sx: Scale, sy: Scale) -> str:
    return "M" + "L".join(_xy(x, y, sx, sy) for x, y in points)


def _dots(points: Iterable[tuple[float, float]], sx: Scale, sy: Scale) -> str:
    """Strokes of no length: their round ends stay round however the square is stretched."""
    return "".join(f"M{_xy(x, y, sx, sy)}h0" for x, y in points)


def _band(band: Sequence[tuple[float, float, float]], sx: Scale, sy: Scale) -> str:
    if len(band) > MAX_POINTS:
        stride = -(-len(band) // MAX_POINTS)
        band = [*band[:-1:stride], band[-1]]
    there = [_xy(x, high, sx, sy) for x, _, high in band]
    back = [_xy(x, low, sx, sy) for x, low, _ in reversed(band)]
    return "M" + "L".join([*there, *back]) + "Z"


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
    """Without the dust of binary fractions."""
    return 0.0 if abs(tick) < 1e-300 else float(f"{tick:.10g}")


def _decimals(text: str) -> int:
    return len(text.partition(".")[2]) if "×" not in text else 0


def _decimals_needed(ticks: Sequence[float]) -> int:
    return max((len(f"{_clean(t):.10f}".rstrip("0").partition(".")[2]) for t in ticks), default=0)
