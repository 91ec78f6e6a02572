"""The metrics of the final model on each client's own examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fedlab.archive import Run
from fedlab.archive.clients import ClientScore, Scores, read_scores
from fedlab.archive.columns import has_table
from fedlab.archive.task import learned
from fedlab.measures import Metric
from fedlab.report import words
from fedlab.report.distribution import SHARES, is_many, percentiles
from fedlab.report.heat import evenly_spaced
from fedlab.report.plot import Axis, Plot, histogram, scatter
from fedlab.report.scale import linear, suited
from fedlab.report.section import Section, section

_BINS = 20
_MAX_DOTS = 1500
_WORST = 5


def build(run: Run) -> Section | None:
    """Returns the section; None for a run without evaluation per client."""
    every, metric = read_scores(run.folder.clients), learned(run.manifest).ranking
    scores = with_score(every)
    if not len(scores):
        return None
    values = scores.score
    held_out = (run.config.get("evaluation") or {}).get("holdout")
    own = "own examples, kept from training" if held_out else "own training examples"
    plots = [score_histogram(values, metric, f"{metric.label} on the client's {own}", scores.examples)]
    many = is_many(len(scores))
    if len(np.unique(scores.examples)) > 1 and len(scores) > 2 and not many:
        plots.append(_by_size(scores, metric))
    deviation = float(values.std())
    return section(
        "clients",
        "Clients",
        "sections/clients.html",
        plots=plots,
        own=own,
        model="Its own model" if has_table(run.folder.local_models) else "The final model",
        count=len(scores),
        sampled="a random sample of " if run.summary.get("clients_sampled") else "",
        label="" if metric.percent else f"{metric.label}, ",
        median=worded(metric, float(np.median(values))),
        deviation=f"{100 * deviation:.2f} percentage points" if metric.percent else words.number(deviation),
        percentiles=_percentiles(scores, metric) if many else [],
        **table_of([] if many else ranked_scores(scores, metric)[:_WORST], run),
        varies=bool(values.min() < values.max()),
        further=[*_without(metric, len(every) - len(scores)), *_further(every, run), *_unseen(run)],
    )


def with_score(scores: Scores) -> Scores:
    """Returns the clients that have a score."""
    return scores.select(~np.isnan(scores.score))


def ranked_scores(scores: Scores, metric: Metric) -> Scores:
    """Returns the clients that have a score, the worst first."""
    defined = with_score(scores)
    return defined.select(np.argsort(defined.score if metric.more_is_better else -defined.score, kind="stable"))


def _without(metric: Metric, count: int) -> list[str]:
    """Returns a sentence about the clients on whose examples the metric that ranks clients is undefined."""
    if not count:
        return []
    return [f"Not counted: {words.counted(count, 'client')} on whose examples the {metric.label} is undefined."]


def _further(scores: Scores, run: Run) -> list[str]:
    """Returns a sentence per metric of `evaluation.metrics`."""
    task, count = learned(run.manifest), scores.also.shape[1]
    names = list(task.metrics)[len(task.metrics) - count :]  # the last ones of the task's metrics
    found = []
    for name, values in zip(names, scores.also.T):
        metric, defined = task.metrics.get(name, Metric(name)), values[~np.isnan(values)]
        missing = len(values) - len(defined)
        clients = words.counted(len(defined), "client")
        mean = f"mean {worded(metric, float(defined.mean()))} over {clients}" if len(defined) else ""
        undefined = f"undefined on {words.counted(missing, 'client')}" if missing else ""
        label = metric.label[:1].upper() + metric.label[1:]
        found.append(f"{label}: {'; '.join(filter(None, [mean, undefined]))}.")
    return found


def _unseen(run: Run) -> list[str]:
    """Returns a sentence about the clients that are never trained."""
    values, metric = with_score(read_scores(run.folder.unseen_clients)).score, learned(run.manifest).ranking
    if not len(values):
        return []
    worst = float(values.min() if metric.more_is_better else values.max())
    return [
        f"{metric.label[:1].upper()}{metric.label[1:]} of {words.counted(len(values), 'client')} never trained, on their own "
        f"examples: mean {worded(metric, float(values.mean()))}, standard deviation "
        f"{worded(metric, float(values.std()))}, worst {worded(metric, worst)}."
    ]


def worded(metric: Metric, value: float) -> str:
    """Formats a value of the metric for a page."""
    return words.percent(value) if metric.percent else words.number(value)


def table_of(scores: Sequence[ClientScore], run: Run) -> dict[str, Any]:
    """Returns the values for the template of a table of clients."""
    task = learned(run.manifest)
    rows = [(s.client, s.examples, worded(task.ranking, s.score), s.loss) for s in scores if s.score is not None]
    loss = task.metrics.get("loss", Metric("loss"))
    unit = loss.unit.rpartition(", ")[2]
    return {"rows": rows, "metric": task.ranking.label, "loss": f"{loss.label}, {unit}" if unit else loss.label}


def _percentiles(scores: Scores, metric: Metric) -> list[tuple[str, str, str, float]]:
    """Returns the rows of a table of percentiles over clients, each column on its own: share, examples, metric, loss."""
    columns = map(percentiles, (scores.examples, scores.score, scores.loss))
    return [(f"{p} %", words.number(n), worded(metric, value), loss) for p, n, value, loss in zip(SHARES, *columns)]


def score_histogram(values: np.ndarray, metric: Metric, label: str, sizes: np.ndarray) -> Plot:
    """Returns the histogram of a metric [clients]. `label`: the kind of examples; `sizes`: examples per client."""
    if metric.percent and metric.label == "accuracy":
        return accuracy_histogram(values, label, sizes)
    lowest, highest = float(values.min()), float(values.max())
    x = linear(lowest, highest)
    kind = "percent" if metric.percent else "number"
    step = (x.high - x.low) / _BINS
    edges = [x.low + i * step for i in range(_BINS + 1)]
    bars = np.clip(((values - x.low) / step).astype(np.int64), 0, _BINS - 1)
    low, high, median = (worded(metric, v) for v in (lowest, highest, float(np.median(values))))
    alt = f"Histogram of the {metric.label} of {words.counted(len(values), 'client')}: from {low} to {high}, median {median}."
    counts = np.bincount(bars, minlength=_BINS).tolist()
    return histogram(
        f"{metric.label[:1].upper()}{metric.label[1:]} per client", alt, Axis(x, label, kind), counts, edges, "clients"
    )


def accuracy_histogram(accuracies: Sequence[float] | np.ndarray, label: str, sizes: Sequence[int] | np.ndarray) -> Plot:
    """Returns the histogram of clients' accuracies; `label`: the kind of examples; `sizes`: examples per client.

    An accuracy on n examples is a multiple of 1/n. Each bar spans equally many of them for the median n, so that no bar is
    high or low only because it spans one more.
    """
    values, n = np.asarray(accuracies, np.float64), int(np.sort(sizes)[(len(sizes) - 1) // 2])
    lowest, highest = float(values.min()), float(values.max())
    first = int(min(0.95, lowest) * n + 1e-9)
    each = -(-(n - first + 1) // _BINS)  # multiples per bar
    edges = [(k - 0.5) / n for k in range(first, n + each + 1, each)]
    bars = np.maximum(((values - edges[0]) * n / each + 1e-9).astype(np.int64), 0)
    scale = linear(edges[0], edges[-1], nice=False)
    x = Axis(dataclasses.replace(scale, ticks=tuple(t for t in scale.ticks if 0 <= t <= 1 + 1e-9)), label, "percent")
    alt = (
        f"Histogram of the accuracy of {words.counted(len(values), 'client')}: from {words.percent(lowest)} to "
        f"{words.percent(highest)}, median {words.percent(float(np.median(values)))}."
    )
    counts = np.bincount(bars, minlength=len(edges) - 1).tolist()
    return histogram("Accuracy per client", alt, x, counts, edges, "clients")


def _by_size(scores: Scores, metric: Metric) -> Plot:
    shown = [scores[i] for i in evenly_spaced(len(scores), _MAX_DOTS)]
    sizes, values = [float(s.examples) for s in shown], [s.score for s in shown if s.score is not None]
    low, kind = min(values), "percent" if metric.percent else "number"
    x = suited(sizes, whole=True)
    y = linear(low if low < 1 else 0.95, 1, nice=False) if metric.percent else linear(low, max(values))
    dots = "s1 many" if len(shown) > 100 else "s1"
    what = metric.label[:1].upper() + metric.label[1:]
    many = "accuracies" if metric.label == "accuracy" else "values"
    alt = (
        f"{what} of each client against its number of examples, {words.number(min(sizes))} to {words.number(max(sizes))}; "
        f"{many} from {worded(metric, low)} to {worded(metric, max(values))}."
    )
    label = "examples on the client" + (", logarithmic" if x.log else "")
    return scatter(f"{what} by size", alt, Axis(x, label), Axis(y, "", kind), [("", dots, list(zip(sizes, values)))])
