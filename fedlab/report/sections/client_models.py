"""The metrics of each client's model, as the server received it, in the rounds of `evaluation.client_every`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from fedlab.archive import Run
from fedlab.archive.clients import ModelScore, read_model_scores
from fedlab.archive.task import learned
from fedlab.measures import Metric
from fedlab.report import words
from fedlab.report.heat import evenly_spaced
from fedlab.report.plot import Curve, Plot, color, line_plot
from fedlab.report.section import Section, section
from fedlab.report.sections.clients import worded

_SHOWN = 20  # clients in the table


def build(run: Run) -> Section | None:
    """Returns the section; None for a run without such tables."""
    tables = {number: scores for number, scores in read_model_scores(run.folder.client_models).items() if scores}
    if not tables:
        return None
    task = learned(run.manifest)
    ranking, loss = task.ranking, task.metrics.get("loss", Metric("loss"))
    newest, scores = list(tables.items())[-1]
    shown = [scores[i] for i in evenly_spaced(len(scores), _SHOWN)]
    plots = [
        _plot(tables, "train_loss", f"Training {loss.label} of clients' models", loss),
        _plot(tables, "test_score", f"Test {ranking.label} of clients' models", ranking),
    ]
    return section(
        "client-models",
        "Clients' models",
        "sections/client_models.html",
        plots=[plot for plot in plots if plot],
        round=newest,
        metric=ranking.label,
        loss=loss.label,
        count=len(scores),
        cut=len(shown) < len(scores),
        rows=[
            (s.client, s.examples, s.train_loss, _worded(ranking, s.train_score), s.test_loss, _worded(ranking, s.test_score))
            for s in shown
        ],
    )


def _plot(tables: Mapping[int, Sequence[ModelScore]], value: str, title: str, metric: Metric) -> Plot | None:
    """Plots the mean over clients with a band from the lowest to the highest; clients without a finite value are left out."""
    found = {number: [v for s in scores if (v := getattr(s, value)) is not None] for number, scores in tables.items()}
    found = {number: values for number, values in found.items() if values}
    points = [(number, statistics.fmean(values)) for number, values in found.items()]
    band = [(number, min(values), max(values)) for number, values in found.items()]
    kind = "percent" if metric.percent else "number"
    return line_plot(title, [Curve("mean of the clients; band: lowest to highest", points, color(0), band)], metric.label, kind)


def _worded(metric: Metric, value: float | None) -> str:
    return words.NONE if value is None else worded(metric, value)
