"""Lines of a picture for a paper: a metric over rounds, bytes, seconds or ε, per group of runs its mean and a band."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from fedlab.archive import Run
from fedlab.archive.claims import together
from fedlab.archive.figures import is_replayable, is_simulated, may_end_early, ranked_metric
from fedlab.archive.folder import relative
from fedlab.archive.metrics import Record
from fedlab.archive.task import learned
from fedlab.composition import EACH_ALONE, REPLAYABLE
from fedlab.errors import ConfigError, FedlabError, did_you_mean
from fedlab.report import words
from fedlab.report.choices import Band, X
from fedlab.report.grouping import RunGroup, grouped, remarks
from fedlab.report.quantities import Quantity, of_bytes, of_seconds, quantity
from fedlab.report.series import finite, names

CONFIDENCE = 0.95
_TRAFFIC = {"bytes": ("bytes_up", "bytes_down"), "bytes_up": ("bytes_up",), "bytes_down": ("bytes_down",)}
_LABELS = {
    "bytes": "traffic of all clients",
    "bytes_up": "traffic from all clients",
    "bytes_down": "traffic to all clients",
    "seconds": "training time",
    "simulated_seconds": "simulated time",
}
_DURATIONS = ("seconds", "simulated_seconds")
_OVER = {"round": "rounds", "epsilon": "ε"}


@dataclasses.dataclass(frozen=True)
class Line:
    """The mean of a metric over the runs of a group. `points`: (x, mean), None where the metric is not a finite number; `band`:
    (x, low, high), () for a single run."""

    label: str
    points: tuple[tuple[float, float | None], ...]
    band: tuple[tuple[float, float, float], ...]
    num_runs: int
    repeats: bool  # whether all runs have different seeds
    given: bool = False  # True: the user wrote the label, which may contain a formula between dollar signs


@dataclasses.dataclass(frozen=True)
class Panel:
    """One metric of all groups. `y`: its display, for all lines together."""

    metric: str
    y: Quantity
    lines: tuple[Line, ...]


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture as data. `remarks`: caveats, in sentences."""

    x_name: X
    x: Quantity
    band: Band
    panels: tuple[Panel, ...]
    remarks: tuple[str, ...]

    @property
    def lines(self) -> list[Line]:
        """Returns the lines that the legend names, one per group: a group has the same style in each panel."""
        return list({line.label: line for panel in self.panels for line in panel.lines}.values())

    @property
    def counts(self) -> set[int]:
        """Returns the numbers of runs over which lines are means."""
        return {line.num_runs for panel in self.panels for line in panel.lines}

    @property
    def has_bands(self) -> bool:
        """Returns whether any line has a band."""
        return any(line.band for panel in self.panels for line in panel.lines)

    @property
    def band_text(self) -> str:
        """Returns the name of the bands for the legend."""
        many = "" if len(self.counts) > 1 else f", {self._over(*self.counts)}"
        return f"{_BAND_NAMES[self.band]}{many}"

    @property
    def mean_text(self) -> str:
        """Returns the words for lines without bands."""
        return f"mean over {self._over(max(self.counts))}"

    @property
    def caption(self) -> str:
        """Describes the picture in sentences for its caption: axes, lines and bands."""
        metrics = " and ".join(panel.y.axis for panel in self.panels)
        over = _OVER.get(self.x_name, self.x.axis)
        most = max(self.counts)
        sentences = [f"{metrics[:1].upper()}{metrics[1:]} over {over}."]
        if most > 1:
            counts = self._over(most) if len(self.counts) == 1 else "the runs of a group (n in the legend)"
            sentences.append(f"Lines: means over {counts}.")
        if self.has_bands:
            sentences.append(f"Bands: {_BAND_SENTENCES[self.band]}.")
        return " ".join(sentences)

    def _over(self, count: int) -> str:
        seeds = all(line.repeats for panel in self.panels for line in panel.lines)
        return words.counted(count, "seed" if seeds else "run")


_BAND_NAMES = {
    "std": "mean ± 1 standard deviation",
    "ci": f"{CONFIDENCE:.0%} confidence interval of the mean",
    "range": "minimum to maximum",
}
_BAND_SENTENCES = {
    "std": "mean ± 1 sample standard deviation",
    "ci": f"{CONFIDENCE:.0%} confidence interval of the mean, from Student's t distribution",
    "range": "from the smallest to the largest value",
}


def picture(
    runs: Sequence[Run],
    x: X = "round",
    metrics: Sequence[str] = (),
    keys: Sequence[str] = (),
    band: Band = "std",
    labels: Sequence[str] = (),
) -> Picture:
    """Computes the lines of `runs`: a panel per metric, a line per group.

    `metrics`: names of metrics.jsonl such as test_accuracy; (): the metric that ranks runs of the first run's task. `keys`: the
    options by which runs are grouped; (): runs that differ in their seed alone are one group. `labels`: names for the groups, in
    their order. A line has a point at each round in which all runs of its group have the metric: the means of x and of the
    metric over these runs.

    Raises `ConfigError` for a metric that no run has, an unknown key, or labels that do not fit, and `FedlabError` if there is
    nothing to draw.
    """
    task = learned(runs[0].manifest)
    metrics = list(dict.fromkeys(metrics)) or [ranked_metric(task)]
    groups = grouped(runs, keys)
    if labels and len(labels) != len(groups):
        raise ConfigError(
            f"{words.counted(len(labels), 'label')} for {words.counted(len(groups), 'line')}: give one for each of "
            f"{'; '.join(group.label for group in groups)}."
        )
    if len(set(labels)) < len(labels):
        raise ConfigError(f"a label is given twice ({', '.join(labels)}): give each line another one.")
    groups = [dataclasses.replace(g, label=label) for g, label in zip(groups, labels or [g.label for g in groups])]
    records = {run.path: run.records() for run in runs}
    told: dict[str, None] = {}
    drawn = [(metric, _lines(groups, records, x, metric, band, told, bool(labels))) for metric in metrics]
    panels, along = [], [at for _, lines in drawn for line in lines for at, _ in line.points]
    for metric, lines in drawn:
        values = [v for line in lines for _, v in line.points if v is not None]
        panels.append(Panel(metric, quantity(metric, task, values), tuple(lines)))
    shown = [run for group in groups for run in group.runs]
    notes = (*told, *remarks(groups), *_ends(shown, records), *_privacy(shown, x, metrics))
    return Picture(x, _x_axis(x, along, shown), band, tuple(panels), notes)


def _lines(
    groups: Sequence[RunGroup],
    records: dict[Any, list[Record]],
    x: X,
    metric: str,
    band: Band,
    told: dict[str, None],
    given: bool,
) -> list[Line]:
    """Returns the lines of a metric. `given`: the user wrote the labels.

    Adds to `told` a sentence for each run or group that is left out.
    """
    lines = []
    for group in groups:
        used = []
        for run in group.runs:
            why = _unusable(run, records[run.path], x, metric)
            if why:
                told[f"left out: {_called(run)} {why}."] = None
            else:
                used.append(run)
        if not used:
            continue
        points, around = _averaged([_curve(records[run.path], x, metric) for run in used], band)
        if not any(y is not None for _, y in points):
            told[f"left out: {group.label}: in no round do all of its runs have {metric}."] = None
            continue
        repeats = dataclasses.replace(group, runs=tuple(used)).repeats
        lines.append(Line(group.label, tuple(points), tuple(around), len(used), repeats, given))
    if not lines:
        known = dict.fromkeys(n for found in records.values() for n in names(found))
        if metric not in {n for found in records.values() for record in found for n in record}:
            hint, there = did_you_mean(metric, known), f"Metrics: {', '.join(known)}." if known else "They have no records yet."
            raise ConfigError(f"no run has a metric {metric}.{hint} {there}")
        why = "; ".join(sentence.removeprefix("left out: ").removesuffix(".") for sentence in told)
        raise FedlabError(f"there is nothing to draw: {why}.")
    return lines


def _unusable(run: Run, records: Sequence[Record], x: X, metric: str) -> str | None:
    """Returns why a run has no line, as the rest of a sentence about it; None if it has one."""
    if not records:
        return "has completed no round"
    if not any(finite(record.get(metric)) is not None for record in records):
        return f"has no {metric}"
    for name in (x, metric):
        if name.startswith("epsilon") and may_end_early(run):
            return "has no ε per round: its metrics may end it (stop), so its ε is that of all planned rounds from the first on"
    if x == "epsilon" and not any(finite(record.get("epsilon")) is not None for record in records):
        return "has no finite ε"
    needed = _TRAFFIC.get(x, (x,) if x in _DURATIONS else ())
    missing = [name for name in needed if not all(finite(record.get(name)) is not None for record in records)]
    return f"has no {' and '.join(missing)}" if missing else None


def _called(run: Run) -> str:
    return relative(run.path) if run.root == run.path else f"{relative(run.root)}:{run.path.name}"


def _curve(records: Sequence[Record], x: X, metric: str) -> dict[int, tuple[float, float | None]]:
    """Returns (x, value) by round of the records that have the metric. Bytes and seconds are totals since the first round."""
    if x in ("round", "epsilon"):
        along: list[float | None] = [finite(record.get(x)) for record in records]
    else:
        along = list(itertools.accumulate(sum(float(record[name]) for name in _TRAFFIC.get(x, (x,))) for record in records))
    return {
        record["round"]: (at, finite(record[metric])) for record, at in zip(records, along) if metric in record and at is not None
    }


def _averaged(
    curves: Sequence[dict[int, tuple[float, float | None]]], band: Band
) -> tuple[list[tuple[float, float | None]], list[tuple[float, float, float]]]:
    """Returns the means of curves at the rounds that all have, and the band around them."""
    points: list[tuple[float, float | None]] = []
    around: list[tuple[float, float, float]] = []
    spread = _SPREADS[band]
    for round_num in sorted(set.intersection(*(set(curve) for curve in curves))):
        x = statistics.fmean(curve[round_num][0] for curve in curves)
        values = [y for curve in curves if (y := curve[round_num][1]) is not None]
        if len(values) < len(curves):
            points.append((x, None))
            continue
        points.append((x, statistics.fmean(values)))
        if len(values) > 1 and spread:
            around.append((x, *spread(values)))
    return points, around


def _std(values: Sequence[float]) -> tuple[float, float]:
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    return mean - deviation, mean + deviation


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns the confidence interval of the mean: mean ± t · s / √n, with Student's t of n − 1 degrees of freedom."""
    from scipy.special import stdtrit

    quantile = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2))
    mean, half = statistics.fmean(values), quantile * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


_SPREADS: dict[Band, Callable[[Sequence[float]], tuple[float, float]] | None] = {
    "std": _std,
    "ci": _interval,
    "range": _range,
    "none": None,
}


def _x_axis(x: X, along: Sequence[float], runs: Sequence[Run]) -> Quantity:
    largest = max(along, default=0.0)
    if x in _TRAFFIC:
        return of_bytes(_LABELS[x], largest)
    if x in _DURATIONS:
        return of_seconds(_LABELS[x], largest)
    if x == "round":
        return Quantity("round")
    deltas = {record["delta"] for run in runs for record in run.records() if finite(record.get("delta")) is not None}
    simulated = ", simulated cohort" if any(map(is_simulated, runs)) else ""
    return Quantity(f"privacy loss ε{simulated}", f"δ = {words.number(deltas.pop())}" if len(deltas) == 1 else "")


def _ends(runs: Sequence[Run], records: dict[Any, list[Record]]) -> list[str]:
    """Returns a sentence per run that has not finished."""
    found = []
    for run in runs:
        if run.status != "finished" and records[run.path]:
            done, wanted = len(records[run.path]), run.manifest["num_rounds"]
            ended = {"interrupted": "was interrupted", "running": "is running,"}.get(run.status, run.status)
            found.append(f"{_called(run)} {ended} after {done:,} of {wanted:,} rounds: the line of its group ends there.")
    return found


def _privacy(runs: Sequence[Run], x: X, metrics: Sequence[str]) -> list[str]:
    """Returns the caveats of a picture that shows ε."""
    if not any(name.startswith("epsilon") for name in (x, *metrics)):
        return []
    total = together(runs)
    found = [total] if total else [EACH_ALONE, *([REPLAYABLE] if any(map(is_replayable, runs)) else [])]
    return [f"{sentence[0].upper()}{sentence[1:]}." for sentence in found]
