"""The page of a comparison: differences first, then overlaid curves, then a table of final metrics."""

from __future__ import annotations

import pathlib
import statistics
from collections.abc import Sequence

from fedlab.archive.folder import relative
from fedlab.archive.metrics import Record
from fedlab.archive.task import Learned
from fedlab.measures import Metric
from fedlab.report import words
from fedlab.report.comparison import Comparison, Group, difference_rows
from fedlab.report.page import Page
from fedlab.report.plot import Curve, Plot, color, line_plot
from fedlab.report.section import Section, render, section
from fedlab.report.series import Point, series


def _curves_of(task: Learned) -> list[tuple[str, str, str, str]]:
    """Returns (metric, title, unit, kind of value) of each picture."""
    found = []
    for kind, where in (("test", "on the test set"), ("train", "of clients, while training")):
        for name in dict.fromkeys((task.headline or "loss", "loss")):
            metric = task.metrics.get(name, Metric(name))
            title = f"{metric.label[:1].upper()}{metric.label[1:]} {where}"
            found.append((f"{kind}_{name}", title, metric.unit, "percent" if metric.percent else "number"))
    return [*found, ("epsilon", "Privacy spent", "ε", "number")]


def write_comparison(comparison: Comparison, path: pathlib.Path) -> pathlib.Path:
    """Writes the page to `path`. Raises `FedlabError` if it cannot be written."""
    names = [run.manifest.get("name") or run.path.name for group in comparison.groups for run in group.runs]
    title = " · ".join(dict.fromkeys(map(str, names)))
    lead = render("comparison/lead.html", comparison=comparison)
    sections = (_differences(comparison), _curves(comparison), _figures(comparison), _runs(comparison))
    return Page("comparison", title, lead, tuple(s for s in sections if s)).write(path)


def _differences(comparison: Comparison) -> Section:
    rows = difference_rows(comparison)
    legend = [(_name(i, group), color(i)) for i, group in enumerate(comparison.groups)]
    return section(
        "differences", "What differs", "comparison/differences.html", comparison=comparison, rows=rows, legend=legend, color=color
    )


def _name(index: int, group: Group) -> str:
    return f"{index + 1}: {group.label}"


def _curves(comparison: Comparison) -> Section | None:
    records = [[run.records() for run in group.runs] for group in comparison.groups]
    plots = [_overlaid(comparison.groups, records, *spec) for spec in _curves_of(comparison.task)]
    drawn = [plot for plot in plots if plot]
    if not drawn:
        return None
    repeated = any(len(group.runs) > 1 for group in comparison.groups)
    return section("curves", "Learning curves", "comparison/curves.html", plots=drawn, repeated=repeated)


def _overlaid(
    groups: Sequence[Group], records: Sequence[Sequence[Sequence[Record]]], metric: str, title: str, label: str, kind: str
) -> Plot | None:
    curves = []
    for i, (group, mine) in enumerate(zip(groups, records)):
        points, band = averaged([series(r, metric) for r in mine])
        curves.append(Curve(_name(i, group), points, color(i), band))
    return line_plot(title, curves, label, kind, zero=metric in ("test_loss", "train_loss", "epsilon"))


def averaged(several: Sequence[Sequence[Point]]) -> tuple[list[Point], list[tuple[float, float, float]]]:
    """Returns the mean of curves at rounds where all have a value, and a band of ± one standard deviation for several curves."""
    if len(several) == 1:
        return list(several[0]), []
    values = [dict(points) for points in several]
    means: list[Point] = []
    band = []
    for x in sorted(set.intersection(*(set(v) for v in values))):
        found = [y for v in values if (y := v[x]) is not None]
        if len(found) < len(values):
            means.append((x, None))
            continue
        mean, deviation = statistics.fmean(found), statistics.stdev(found)
        means.append((x, mean))
        band.append((x, mean - deviation, mean + deviation))
    return means, band


def _figures(comparison: Comparison) -> Section:
    rows = [
        (
            words.task_label(name, comparison.task),
            [spread.text(name) if (spread := g.metrics.get(name)) else words.NONE for g in comparison.groups],
        )
        for name in comparison.metrics
    ]
    return section("figures", "Final metrics", "comparison/figures.html", comparison=comparison, rows=rows, color=color)


def _runs(comparison: Comparison) -> Section:
    rows = [
        (i, relative(run.path), run.config.get("seed"), run.status, run.rounds_completed, run.manifest.get("command"))
        for i, group in enumerate(comparison.groups, 1)
        for run in group.runs
    ]
    return section("runs", "Runs", "comparison/runs.html", rows=rows)
