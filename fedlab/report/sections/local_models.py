"""Models of the clients' own: the metric of each of them on the test set."""

from __future__ import annotations

import numpy as np

from fedlab.archive import Run
from fedlab.archive.clients import read_scores
from fedlab.archive.task import learned
from fedlab.report.section import Section, section
from fedlab.report.sections.clients import ranked_scores, score_histogram, table_of, worded

_SHOWN = 3  # clients at either end


def build(run: Run) -> Section | None:
    """Returns the section; None for a run with one model for all clients."""
    scores = read_scores(run.folder.local_models)
    if not len(scores):
        return None
    tested = run.manifest["data"]["test_examples"]
    metric = learned(run.manifest).ranking
    ranked = ranked_scores(scores, metric)
    values = ranked.score
    if not len(values):
        return None
    sizes = np.full(len(values), tested)
    ends = ranked if len(ranked) <= 2 * _SHOWN else [*ranked[:_SHOWN], *ranked[-_SHOWN:]]
    return section(
        "local",
        "Models of their own",
        "sections/local_models.html",
        plots=[score_histogram(values, metric, f"{metric.label} of the client's own model on the test set", sizes)],
        count=len(values),
        label="" if metric.percent else f"a {metric.label} of ",
        mean=worded(metric, float(values.mean())),
        worst=worded(metric, float(values[0])),
        best=worded(metric, float(values[-1])),
        **table_of(ends, run),
    )
