"""The differences of two arms, client by client: verdict, heat map over rounds, p-values, scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fedlab.archive import Run
from fedlab.report import words
from fedlab.report.heat import HeatMap
from fedlab.report.plot import Axis, Plot, histogram, scatter
from fedlab.report.scale import linear
from fedlab.report.section import Section, section
from fedlab.studies.difftest.plots import difference_map
from fedlab.studies.difftest.record import ClientDifference, differences_file, read_differences, read_scores, scores_file
from fedlab.studies.difftest.verdict import DIFFERENT, EQUAL, Differences, interval, latest, points

Scores = Sequence[tuple[str, float, float]]  # client, probability of the true class under a, under b
_MOST_CLIENTS = 40
_BINS = 20
_TESTS = (
    ("p_mcnemar", "p-values: McNemar, right or wrong"),
    ("p_ks", "p-values: Kolmogorov-Smirnov, scores"),
    ("p_chi2", "p-values: χ², predicted classes"),
)


def build(run: Run) -> Section | None:
    """Returns the section; None for a run that compared no arms."""
    rows = read_differences(differences_file(run.folder))
    options: Mapping[str, Any] = run.config.get("difftest") or {}
    a, b = [*(options.get("arms") or run.arms), "a", "b"][:2]
    return difftest_section(a, b, options, rows, read_scores(scores_file(run.folder)))


def difftest_section(
    a: str, b: str, options: Mapping[str, Any], rows: Sequence[ClientDifference], scores: Scores
) -> Section | None:
    """Returns the section for the arms, or runs, named `a` and `b`; None without a comparison."""
    newest = latest(rows)
    if newest is None:
        return None
    rounds = sorted({row.round for row in rows})
    shown = _least_alike(newest)
    return section(
        "difftest",
        "Differential test",
        "difftest/section.html",
        a=a,
        b=b,
        verdict=newest.verdict,
        told=newest.told(a, b).partition(": ")[2],
        options=options,
        figures=_figures(newest, b),
        map=_map(rows, rounds, shown, a, b) if len(rounds) > 1 else None,
        scatter=_scatter(newest, scores, a, b) if scores else None,
        histograms=[_histogram(name, title, newest) for name, title in _TESTS] if len(newest.clients) > 1 else [],
        rows=[row for row in newest.clients if row.client in shown] + [newest.all],
        left_out=len(newest.clients) - len(shown),
        difference=lambda row: points(row.accuracy_difference),
        interval=interval,
    )


def _least_alike(differences: Differences) -> list[str]:
    """Returns the clients to show, in order: all, or the ones with the smallest p-values."""
    chosen = {row.client for row in sorted(differences.clients, key=lambda row: row.smallest_p)[:_MOST_CLIENTS]}
    return [row.client for row in differences.clients if row.client in chosen]


def _figures(differences: Differences, b: str) -> list[tuple[str, str, str]]:
    whole, clients = differences.all, len(differences.clients)
    undecided = clients - len(differences.named(DIFFERENT)) - len(differences.named(EQUAL))
    predictions = f"{whole.delta_class:,} of {whole.examples:,}"
    return [
        ("clients that differ", f"{len(differences.named(DIFFERENT)):,}", f"of {clients:,}"),
        ("undecided", f"{undecided:,}", f"of {clients:,}"),
        (f"{b} less accurate on", f"{len(differences.worse):,}", f"of {clients:,}"),
        ("predictions that differ", words.percent(whole.delta_class / whole.examples), predictions),
        ("largest difference of a score", words.number(whole.largest_score_difference, 3), ""),
        ("difference in accuracy", f"{points(whole.accuracy_difference)} points", interval(whole)),
    ]


def _map(rows: Sequence[ClientDifference], rounds: Sequence[int], shown: Sequence[str], a: str, b: str) -> HeatMap:
    found = {(row.client, row.round): (row.delta_class / row.examples, row.verdict == DIFFERENT) for row in rows}
    cells = [[found.get((client, r), (0.0, False)) for r in rounds] for client in shown]
    return difference_map(shown, rounds, cells, a, b)


def _histogram(name: str, title: str, differences: Differences) -> Plot:
    values = [getattr(row, name) for row in differences.clients]
    counts = [0] * _BINS
    for p in values:
        counts[min(_BINS - 1, math.floor(p * _BINS))] += 1
    small = sum(p <= 0.05 for p in values)
    alt = f"Histogram of the p-values of {words.counted(len(values), 'client')}: {small:,} of them at most 0.05."
    x = Axis(linear(0, 1, nice=False), "p, not adjusted")
    return histogram(title, alt, x, counts, [i / _BINS for i in range(_BINS + 1)], "clients")


def _scatter(differences: Differences, scores: Scores, a: str, b: str) -> Plot:
    different = {row.client for row in differences.clients if "accuracy" in row.found}
    groups = [
        ("clients that differ in accuracy", "s2 many", [(x, y) for client, x, y in scores if client in different]),
        ("other clients", "s1 many", [(x, y) for client, x, y in scores if client not in different]),
    ]
    alt = f"Probability of the true class of {words.counted(len(scores), 'example')} under {b} against that under {a}."
    x, y = Axis(linear(0, 1), f"probability of the true class, {a}"), Axis(linear(0, 1), f"probability of the true class, {b}")
    return scatter("Scores of the same examples", alt, x, y, groups)
