"""The accuracies of a classifier on the users of its data, without the bug in the data and with it."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable

import numpy as np

from fedlab.archive import replacing
from fedlab.archive.tables import write_rows
from fedlab.studies.investigate.subject import Subject

_BINS = np.linspace(0, 1, 11)
_FIGURES: dict[str, Callable[[np.ndarray], float]] = {
    "mean over users": lambda values: float(values.mean()),
    "25th percentile of users": lambda values: float(np.percentile(values, 25)),
    "median of users": lambda values: float(np.median(values)),
    "75th percentile of users": lambda values: float(np.percentile(values, 75)),
    "worst user": lambda values: float(values.min()),
}
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # columns, rows


class Accuracies:
    """The tables, lines and files about a tested classifier. `heading`: the data and the number of users."""

    def __init__(self, subject: Subject):
        self._population, self._measured = subject.population, subject.measured
        users = self._population.partition.client_ids
        self._affected = np.array([self._population.affected.get(user, False) for user in users])
        with_bug = f"{int(self._affected.sum()):,} of them with a bug in their data"
        self.heading = f"{self._population.clean.name}, {len(users):,} users, {with_bug}"
        self._series, self._overall = {"without the bug": self._measured.accuracies_clean}, [self._measured.correct_clean.mean()]
        if self._affected.any():
            self._series["with the bug"] = self._measured.accuracies
            self._overall.append(self._measured.correct.mean())

    def table(self) -> Table:
        """Returns the accuracy on all examples, and its spread over the users."""
        rows = [("of all examples", *(f"{share:.2%}" for share in self._overall))]
        rows += [(label, *(f"{figure(v):.2%}" for v in self._series.values())) for label, figure in _FIGURES.items()]
        return ("accuracy", *self._series), rows

    def by_bug(self) -> list[str]:
        """Returns a line on the users with the bug, and one on the others; [] without a bug."""
        if not self._affected.any():
            return []
        lines = []
        for label, part in {"who have the bug": self._affected, "who do not": ~self._affected}.items():
            mean = f"mean accuracy {self._measured.accuracies[part].mean():.2%}" if part.any() else "nobody"
            lines.append(f"users {label}: {int(part.sum()):,}, {mean}")
        return lines

    def histogram(self) -> Table:
        """Returns the number of users per tenth of the accuracy."""
        counts = [np.histogram(values, _BINS)[0] for values in self._series.values()]
        rows = [
            (f"{low:.0%} to {high:.0%}", *(str(c[i]) for c in counts)) for i, (low, high) in enumerate(itertools.pairwise(_BINS))
        ]
        return ("users of accuracy", *self._series), rows

    def write_csv(self, path: pathlib.Path) -> None:
        """Writes a row per user."""
        partition, measured = self._population.partition, self._measured
        columns = (partition.sizes, measured.accuracies_clean, measured.accuracies, self._affected.astype(int))
        rows = zip(partition.client_ids, *(column.tolist() for column in columns))
        write_rows(path, ("user", "examples", "accuracy_without_bug", "accuracy", "affected"), rows)

    def plot(self, path: pathlib.Path) -> None:
        """Writes the histogram as a PNG."""
        from fedlab.studies.investigate.plots import plot_accuracies

        with replacing(path) as partial:
            plot_accuracies(self._series, partial, self.heading)
