"""Pictures of a sweep: the objective against each parameter, against all of them, and against a second objective."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from fedlab.archive.task import Learned
from fedlab.measures import Metric
from fedlab.report import words
from fedlab.report.plot import Axis, Curve, Mark, Plot, dots, line, line_plot
from fedlab.report.scale import Scale, linear, suited
from fedlab.report.series import series
from fedlab.studies.sweep.results import Group, Job, Sweep

_TEXT_WIDTH = 0.14  # width of a text as a share of the narrowest axis
_SHADES = 5  # .q1 to .q5 in style.css, the best last


@dataclasses.dataclass(frozen=True)
class Column:
    """An axis of parallel coordinates. `ticks`: (percent from below, text)."""

    name: str
    ticks: tuple[tuple[float, str], ...]


@dataclasses.dataclass(frozen=True)
class Parallel:
    """Parallel coordinates: a line per job across an axis per parameter and, at the end, per objective."""

    alt: str
    columns: tuple[Column, ...]
    marks: tuple[Mark, ...]


def metric_axis(name: str, values: Sequence[float], task: Learned) -> Axis:
    """Returns the axis of a metric over `values`, at least one."""
    own = task.metric(name)
    kind = "percent" if (own.percent if own else "accuracy" in name) else "number"
    scale = linear(min(values), max(values)) if kind == "percent" or min(values) <= 0 else suited(values)
    if kind == "percent" and 0 <= min(values) <= max(values) <= 1 < scale.high:
        scale = linear(min(values), 1.0, nice=False)
    return Axis(scale, words.task_label(name, task) if own else words.axis_label(name), kind)


def parameter_axis(name: str, values: Sequence[Any]) -> tuple[Axis, list[float]]:
    """Returns the axis of a parameter, and the position of each of `values` on it: one per choice unless all are numbers."""
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        numbers = [float(v) for v in values]
        scale = _at_values(suited(numbers), numbers)
        return Axis(scale, short(name), texts=tuple(f"{tick:.6g}" for tick in scale.ticks)), numbers
    choices = list(dict.fromkeys(map(words.setting, values)))
    scale = Scale(-0.5, len(choices) - 0.5, tuple(float(i) for i in range(len(choices))))
    texts = tuple(words.option(name, choice)[1] if name.endswith("_target_") else choice for choice in choices)
    return Axis(scale, short(name), texts=texts, choices=True), [float(choices.index(words.setting(v))) for v in values]


def short(key: str) -> str:
    """Returns the last two parts of a dotted key, which identify the option."""
    return ".".join(key.split(".")[-2:])


def effects(sweep: Sweep) -> list[Plot]:
    """Plots the first objective against each parameter."""
    jobs = sweep.ranked
    plots = []
    for name in sweep.parameters if jobs else ():
        x, places = parameter_axis(name, [job.parameters.get(name) for job in jobs])
        y = metric_axis(sweep.metrics[0], [job.objective[0] for job in jobs], sweep.task)
        points = [(place, job.objective[0]) for place, job in zip(places, jobs)]
        best = [p for p, job in zip(points, jobs) if job.number in sweep.best]
        marks = (Mark(dots(points, x.scale, y.scale), "dots s8"), Mark(dots(best, x.scale, y.scale), "dots s2 big"))
        alt = f"{sweep.label(sweep.metrics[0])} of {words.counted(len(jobs), 'job')} against {name}."
        plots.append(
            Plot(
                short(name),
                alt,
                dataclasses.replace(x, label=_axis_label(x)),
                dataclasses.replace(y, label=""),
                tuple(m for m in marks if m.d),
            )
        )
    return plots


def parallel(sweep: Sweep) -> Parallel | None:
    """Returns the parallel coordinates; None with fewer than two jobs or without parameters."""
    jobs = sorted(reversed(sweep.ranked), key=lambda job: job.number in sweep.best)  # the best are drawn last, on top
    if len(jobs) < 2 or not sweep.parameters:
        return None
    axes = [parameter_axis(name, [job.parameters.get(name) for job in jobs]) for name in sweep.parameters]
    for i, name in enumerate(sweep.metrics):
        values = [job.objective[i] for job in jobs]
        axes.append((metric_axis(name, values, sweep.task), values))
    across = Scale(0, len(axes), ())
    marks = []
    for rank, job in enumerate(jobs):
        points = [(i + 0.5, axis.scale.at(places[rank])) for i, (axis, places) in enumerate(axes)]
        shade = f"q{1 + rank * _SHADES // len(jobs)}"
        css = "s2 bold" if job.number in sweep.best else f"s8 {shade}"
        marks.append(Mark(line(points, across, Scale(0, 1, ())), f"line {css}"))
    names = ", ".join(axis.label for axis, _ in axes)
    alt = f"Parallel coordinates of {words.counted(len(jobs), 'job')} over {names}; the best is drawn bold."
    return Parallel(alt, tuple(Column(axis.label, tuple(axis.column())) for axis, _ in axes), tuple(marks))


def trade_off(sweep: Sweep) -> Plot | None:
    """Plots the first objective against the second, with the Pareto front; None with one objective."""
    groups = [group for group in sweep.ranked_settings if group.objective]
    if len(sweep.metrics) < 2 or not groups:
        return None
    noun = "configuration" if sweep.repeated else "job"  # with several seeds per configuration, or one
    points = [_pair(group) for group in groups]
    x, y = (metric_axis(sweep.metrics[i], [p[i] for p in points], sweep.task) for i in (0, 1))
    front = [_pair(group) for group in sweep.front()]
    marks = (
        Mark(dots(points, x.scale, y.scale), "dots s8"),
        Mark(line(_stairs(front, sweep.maximize), x.scale, y.scale), "line s2"),
        Mark(dots(front, x.scale, y.scale), "dots s2 big"),
    )
    names = [sweep.label(name) for name in sweep.metrics[:2]]
    alt = f"{names[1]} against {names[0]} of {words.counted(len(groups), noun)}; {len(front)} of them are on the Pareto front."
    legend = ((f"{noun}s", "s8"), ("Pareto front", "s2"))
    title = f"{names[1][0].upper()}{names[1][1:]} against {names[0]}"
    return Plot(
        title,
        alt,
        x,
        dataclasses.replace(y, label="" if y.kind == "percent" else y.label.partition(", ")[2]),
        marks,
        legend,
        tall=True,
    )


def curves(sweep: Sweep) -> list[Plot]:
    """Plots the headline metric of the task and the loss of all jobs on the test set, with the best in front."""
    found = [(job, run.records()) for job in reversed(sweep.ranked) if (run := job.run())]
    found = [f for f in found if f[0].number not in sweep.best] + [f for f in found if f[0].number in sweep.best]
    plots = []
    for name in dict.fromkeys([sweep.task.headline or "loss", "loss"]):
        own, metric = sweep.task.metrics.get(name, Metric(name)), f"test_{name}"
        title = f"{own.label[:1].upper()}{own.label[1:]} on the test set"
        label, kind = own.unit.rpartition(", ")[2], "percent" if own.percent else "number"
        drawn = []
        for job, records in found:
            is_best = job.number in sweep.best
            drawn.append(
                Curve(f"job {job.number}, best" if is_best else "", series(records, metric), "s2 bold" if is_best else "s8 thin")
            )
        plot = line_plot(title, drawn, label, kind)
        plots += [dataclasses.replace(plot, legend=_whose(sweep, found))] if plot else []
    return plots


def _whose(sweep: Sweep, drawn: Sequence[tuple[Job, Any]]) -> tuple[tuple[str, str], ...]:
    """Returns the legend: a colour for the best jobs, one for the others."""
    best = [str(job.number) for job, _ in drawn if job.number in sweep.best]
    legend = [(f"{'job' if len(best) == 1 else 'jobs'} {', '.join(best)}, best", "s2 bold")] if best else []
    return (*legend, *([("other jobs", "s8 thin")] if len(drawn) > len(best) else []))


def _pair(group: Group) -> tuple[float, float]:
    return group.objective[0], group.objective[1]


def _stairs(front: Sequence[tuple[float, float]], maximize: Sequence[bool]) -> list[tuple[float, float]]:
    """Returns the border of the region that the Pareto front dominates. `front`: in the order of the first objective."""
    path: list[tuple[float, float]] = []
    for x, y in front:
        if path:
            path.append((path[-1][0], y) if maximize[0] else (x, path[-1][1]))
        path.append((x, y))
    return path


def _at_values(scale: Scale, values: Sequence[float]) -> Scale:
    """Returns `scale` with a margin at both ends and, for few values, as in a grid search, a tick at each value."""
    distinct = sorted(set(values))
    if scale.log:
        ratio = (scale.high / scale.low) ** 0.04
        low, high = scale.low / ratio, scale.high * ratio
    else:
        room = 0.04 * (scale.high - scale.low)
        low, high = scale.low - room, scale.high + room
    wide = Scale(low, high, scale.ticks, scale.log)
    if len(distinct) > 6:
        return wide
    apart: list[float] = []
    for value in distinct:
        if not apart or wide.at(value) - wide.at(apart[-1]) > _TEXT_WIDTH:
            apart.append(value)
    return dataclasses.replace(wide, ticks=tuple(apart))


def _axis_label(axis: Axis) -> str:
    return "logarithmic" if axis.scale.log else ""
