"""The metrics of the final model on each client's own examples."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from fedlab.archive import Run
from fedlab.archive.clients import ClientScore, read_scores
from fedlab.archive.task import learned
from fedlab.measures import Metric
from fedlab.report import words
from fedlab.report.heat import evenly_spaced
from fedlab.report.plot import Axis, Plot, histogram, scatter
from fedlab.report.scale import linear, suited
from fedlab.report.section import Section, section

_BINS = 20
_MAX_DOTS = 1500
_WORST = 5


def build(run: Run) -> Section | None:
    """Returns the section; None for a run without evaluation per client."""
    scores = read_scores(run.folder.clients)
    if not scores:
        return None
    every, metric = scores, learned(run.manifest).ranking
    scores = [s for s in every if s.score is not None]
    values = [s.score for s in scores if s.score is not None]
    if not values:
        return None
    held_out = (run.config.get("evaluation") or {}).get("holdout")
    own = "own examples, kept from training" if held_out else "own training examples"
    plots = [score_histogram(values, metric, f"{metric.label} on the client's {own}", [s.examples for s in scores])]
    if len({s.examples for s in scores}) > 1 and len(scores) > 2:
        plots.append(_by_size(scores, metric))
    deviation = statistics.pstdev(values)
    return section(
        "clients",
        "Clients",
        "sections/clients.html",
        plots=plots,
        own=own,
        model="Its own model" if run.folder.local_models.is_file() else "The final model",
        count=len(scores),
        label="" if metric.percent else f"{metric.label}, ",
        median=worded(metric, statistics.median(values)),
        deviation=f"{100 * deviation:.2f} percentage points" if metric.percent else words.number(deviation),
        **table_of(ranked_scores(scores, metric)[:_WORST], run),
        varies=min(values) < max(values),
        further=[*_without(metric, len(every) - len(scores)), *_further(every, run), *_unseen(run)],
    )


def ranked_scores(scores: Sequence[ClientScore], metric: Metric) -> list[ClientScore]:
    """Returns the clients that have a score, the worst first."""
    defined = [(s.score, s) for s in scores if s.score is not None]
    return [s for _, s in sorted(defined, key=lambda pair: pair[0], reverse=not metric.more_is_better)]


def _without(metric: Metric, count: int) -> list[str]:
    """Returns a sentence about the clients on whose examples the metric that ranks clients is undefined."""
    if not count:
        return []
    return [f"Not counted: {words.counted(count, 'client')} on whose examples the {metric.label} is undefined."]


def _further(scores: Sequence[ClientScore], run: Run) -> list[str]:
    """Returns a sentence per metric of `evaluation.metrics`."""
    task, count = learned(run.manifest), len(scores[0].also)
    names = list(task.metrics)[len(task.metrics) - count :]  # the last ones of the task's metrics
    found = []
    for name, values in zip(names, zip(*(s.also for s in scores))):
        metric, defined = task.metrics.get(name, Metric(name)), [v for v in values if v is not None]
        missing = len(values) - len(defined)
        mean = f"mean {worded(metric, statistics.fmean(defined))} over {words.counted(len(defined), 'client')}" if defined else ""
        undefined = f"undefined on {words.counted(missing, 'client')}" if missing else ""
        label = metric.label[:1].upper() + metric.label[1:]
        found.append(f"{label}: {'; '.join(filter(None, [mean, undefined]))}.")
    return found


def _unseen(run: Run) -> list[str]:
    """Returns a sentence about the clients that are never trained."""
    scores, metric = read_scores(run.folder.unseen_clients), learned(run.manifest).ranking
    values = [s.score for s in scores if s.score is not None]
    if not values:
        return []
    worst = min(values) if metric.more_is_better else max(values)
    return [
        f"{metric.label[:1].upper()}{metric.label[1:]} of {words.counted(len(values), 'client')} never trained, on their own "
        f"examples: mean {worded(metric, statistics.fmean(values))}, standard deviation "
        f"{worded(metric, statistics.pstdev(values))}, worst {worded(metric, worst)}."
    ]


def worded(metric: Metric, value: float) -> str:
    """Formats a value of the metric for a page."""
    return words.percent(value) if metric.percent else words.number(value)


def table_of(scores: Sequence[ClientScore], run: Run) -> dict[str, Any]:
    """Returns the values for the template of a table of clients."""
    task = learned(run.manifest)
    loss = task.metrics.get("loss", Metric("loss"))
    unit = loss.unit.rpartition(", ")[2]
    rows = [(s.client, s.examples, worded(task.ranking, s.score), s.loss) for s in scores if s.score is not None]
    return {"rows": rows, "metric": task.ranking.label, "loss": f"{loss.label}, {unit}" if unit else loss.label}


def score_histogram(values: Sequence[float], metric: Metric, label: str, sizes: Sequence[int]) -> Plot:
    """Returns the histogram of a metric over clients. `label`: the kind of examples; `sizes`: examples per client."""
    if metric.percent and metric.label == "accuracy":
        return accuracy_histogram(values, label, sizes)
    x = linear(min(values), max(values))
    kind = "percent" if metric.percent else "number"
    step = (x.high - x.low) / _BINS
    edges = [x.low + i * step for i in range(_BINS + 1)]
    counts = [0] * _BINS
    for value in values:
        counts[min(_BINS - 1, max(0, int((value - x.low) / step)))] += 1
    low, high, median = (worded(metric, v) for v in (min(values), max(values), statistics.median(values)))
    alt = f"Histogram of the {metric.label} of {words.counted(len(values), 'client')}: from {low} to {high}, median {median}."
    return histogram(
        f"{metric.label[:1].upper()}{metric.label[1:]} per client", alt, Axis(x, label, kind), counts, edges, "clients"
    )


def accuracy_histogram(accuracies: Sequence[float], label: str, sizes: Sequence[int]) -> Plot:
    """Returns the histogram of clients' accuracies; `label`: the kind of examples; `sizes`: examples per client.

    An accuracy on n examples is a multiple of 1/n. Each bar spans equally many of them for the median n, so that no bar is
    high or low only because it spans one more.
    """
    n = statistics.median_low(sizes)
    first = int(min(0.95, min(accuracies)) * n + 1e-9)
    each = -(-(n - first + 1) // _BINS)  # multiples per bar
    edges = [(k - 0.5) / n for k in range(first, n + each + 1, each)]
    counts = [0] * (len(edges) - 1)
    for accuracy in accuracies:
        counts[max(0, int((accuracy - edges[0]) * n / each + 1e-9))] += 1
    scale = linear(edges[0], edges[-1], nice=False)
    x = Axis(dataclasses.replace(scale, ticks=tuple(t for t in scale.ticks if 0 <= t <= 1 + 1e-9)), label, "percent")
    alt = (
        f"Histogram of the accuracy of {words.counted(len(accuracies), 'client')}: from {words.percent(min(accuracies))} to "
        f"{words.percent(max(accuracies))}, median {words.percent(statistics.median(accuracies))}."
    )
    return histogram("Accuracy per client", alt, x, counts, edges, "clients")


def _by_size(scores: Sequence[ClientScore], metric: Metric) -> Plot:
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
