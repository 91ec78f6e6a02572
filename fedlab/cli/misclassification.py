"""`fedlab data misclassification RUN`: how a classifier does on each user's examples, without a bug in the data and with it."""

from __future__ import annotations

import csv
import itertools
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from fedlab.archive import replacing
from fedlab.cli import judging
from fedlab.cli.output import writable
from fedlab.cli.parsing import Parser
from fedlab.cli.tables import print_table

_BINS = np.linspace(0, 1, 11)
_FIGURES: dict[str, Callable[[np.ndarray], float]] = {
    "mean over users": lambda values: float(values.mean()),
    "25th percentile of users": lambda values: float(np.percentile(values, 25)),
    "median of users": lambda values: float(np.median(values)),
    "75th percentile of users": lambda values: float(np.percentile(values, 75)),
    "worst user": lambda values: float(values.min()),
}


def misclassification(argv: Sequence[str]) -> int:
    """Returns the exit code; raises `FedlabError`."""
    parser = Parser(
        "fedlab data misclassification",
        description="Accuracy of a run's classifier on each user's training examples, without a bug in the data and with it.",
        epilog="example: fedlab data misclassification outputs/RUN corruption=inversion corruption.fraction=0.5 --png users.png",
    )
    judging.add_arguments(parser)
    parser.add_argument("--csv", metavar="FILE", type=pathlib.Path, help="also writes a row per user")
    parser.add_argument("--png", metavar="FILE", type=pathlib.Path, help="also writes a histogram of the users' accuracies")
    args = parser.parse(argv)
    to_csv, to_png = writable("--csv", args.csv), writable("--png", args.png)
    tried = judging.subject(args)
    population, judged = tried.population, tried.judged
    affected = np.array([population.affected.get(user, False) for user in population.partition.client_ids])
    heading = f"{population.clean.name}, {len(affected):,} users, {int(affected.sum()):,} of them with a bug in their data"
    series, overall = {"without the bug": judged.accuracies_clean}, {"without the bug": judged.correct_clean.mean()}
    if affected.any():
        series["with the bug"], overall["with the bug"] = judged.accuracies, judged.correct.mean()
    columns = ("accuracy", *series)
    rows = [("of all examples", *(f"{overall[name]:.2%}" for name in series))]
    for label, figure in _FIGURES.items():
        rows.append((label, *(f"{figure(values):.2%}" for values in series.values())))
    print_table(columns, rows, columns[1:], heading)
    if affected.any():
        parts = {"who have the bug": affected, "who do not": ~affected}
        for label, part in parts.items():
            mean = f"mean accuracy {judged.accuracies[part].mean():.2%}" if part.any() else "nobody"
            print(f"users {label}: {int(part.sum()):,}, {mean}")
    print()
    counts = {name: np.histogram(values, _BINS)[0] for name, values in series.items()}
    bins = [f"{low:.0%} to {high:.0%}" for low, high in itertools.pairwise(_BINS)]
    columns = ("users of accuracy", *counts)
    print_table(columns, [(label, *(str(c[i]) for c in counts.values())) for i, label in enumerate(bins)], columns[1:])
    if to_csv:
        with replacing(to_csv) as partial, open(partial, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("user", "examples", "accuracy_without_bug", "accuracy", "affected"))
            sizes = population.partition.sizes.tolist()
            values = (judged.accuracies_clean.tolist(), judged.accuracies.tolist(), affected.astype(int).tolist())
            writer.writerows(zip(population.partition.client_ids, sizes, *values))
        print(f"a row per user in {to_csv}")
    if to_png:
        from fedlab.report.accuracy_plot import plot_accuracies

        with replacing(to_png) as partial:
            plot_accuracies(series, partial, heading)
        print(f"histogram in {to_png}")
    return 0
