"""Without federation: how the model of each client does on the test set."""

from __future__ import annotations

import statistics

from fedlab.archive import Run
from fedlab.archive.clients import read_scores
from fedlab.report.section import Section, section
from fedlab.report.sections.clients import accuracy_histogram

_SHOWN = 3  # at either end


def build(run: Run) -> Section | None:
    """None for a run with one model for all."""
    scores = read_scores(run.folder.local_models)
    if not scores:
        return None
    tested = run.manifest["data"]["test_examples"]
    ranked = sorted(scores, key=lambda s: s.accuracy)
    accuracies = [s.accuracy for s in ranked]
    ends = ranked if len(ranked) <= 2 * _SHOWN else [*ranked[:_SHOWN], *ranked[-_SHOWN:]]
    return section(
        "local",
        "Models of their own",
        "sections/local_models.html",
        plots=[accuracy_histogram(accuracies, "accuracy of the client's own model on the test set", [tested] * len(scores))],
        count=len(scores),
        mean=statistics.fmean(accuracies),
        worst=accuracies[0],
        best=accuracies[-1],
        ends=ends,
    )
