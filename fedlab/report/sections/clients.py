"""How the final model does on each client's own examples."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

from fedlab.archive import Run
from fedlab.archive.clients import ClientScore, read_scores
from fedlab.report import words
from fedlab.report.heat import evenly_spaced
from fedlab.report.plot import Axis, Plot, histogram, scatter
from fedlab.report.scale import linear, suited
from fedlab.report.section import Section, section

_BINS = 20
_MAX_DOTS = 1500
_WORST = 5


def build(run: Run) -> Section | None:
    """None for a run that did not evaluate client by client."""
    scores = read_scores(run.folder.clients)
    if not scores:
        return None
    accuracies = [s.accuracy for s in scores]
    held_out = (run.config.get("evaluation") or {}).get("holdout")
    own = "own examples, kept from training" if held_out else "own training examples"
    plots = [accuracy_histogram(accuracies, f"accuracy on the client's {own}", [s.examples for s in scores])]
    if len({s.examples for s in scores}) > 1 and len(scores) > 2:
        plots.append(_by_size(scores))
    return section(
        "clients",
        "Clients",
        "sections/clients.html",
        plots=plots,
        own=own,
        model="Its own model" if run.folder.local_models.is_file() else "The final model",
        count=len(scores),
        median=statistics.median(accuracies),
        deviation=statistics.pstdev(accuracies),
        worst=sorted(scores, key=lambda s: s.accuracy)[:_WORST] if min(accuracies) < max(accuracies) else [],
    )


def accuracy_histogram(accuracies: Sequence[float], label: str, sizes: Sequence[int]) -> Plot:
    """Returns the histogram of clients' accuracies; `label` says on which examples, `sizes` how many of these each client has.

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


def _by_size(scores: Sequence[ClientScore]) -> Plot:
    shown = [scores[i] for i in evenly_spaced(len(scores), _MAX_DOTS)]
    sizes, accuracies = [float(s.examples) for s in shown], [s.accuracy for s in shown]
    low = min(accuracies)
    x, y = suited(sizes, whole=True), linear(low if low < 1 else 0.95, 1, nice=False)
    dots = "s1 many" if len(shown) > 100 else "s1"
    alt = (
        f"Accuracy of each client against its number of examples, {words.number(min(sizes))} to {words.number(max(sizes))}; "
        f"accuracies from {words.percent(low)} to {words.percent(max(accuracies))}."
    )
    label = "examples on the client" + (", logarithmic" if x.log else "")
    return scatter("Accuracy by size", alt, Axis(x, label), Axis(y, "", "percent"), [("", dots, list(zip(sizes, accuracies)))])
