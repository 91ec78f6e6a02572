"""CPU seconds and memory of a round of coordinate median, trimmed mean and Krum, against the mean and against NumPy.

Each client's update is a row of random numbers, so a round is aggregation alone. The contenders take turns (A B C A B C …), each
time in a new process, with two rounds to warm up. Ratios compare medians of CPU seconds within one turn. They are withheld where
a rule and its NumPy loop differ.
"""

from __future__ import annotations

import pathlib
import statistics
import sys
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from bench.figures import spread
from bench.harness import OUT, Record, Suite, gigabytes, spelled, timed, usual_figures
from bench.measure import Measurement

SCRIPT = str(pathlib.Path(__file__).with_name("rules.py"))
SIZES = {"A50": (50, 100_000), "A400": (400, 100_000), "A1000": (1_000, 100_000)}  # (clients, weights)
IN_NUMPY = "numpy_"  # begins the name of a rule's NumPy loop
SAME_RESULT = 1e-5  # largest |a − b|; updates are standard normal


class Rules(Suite):
    """Rounds that aggregate by one rule."""

    workloads = {name: (f"{clients:,} clients × {weights:,} weights", 3) for name, (clients, weights) in SIZES.items()}
    ours = "mean"
    repeats: ClassVar[int] = 2
    columns = ("CPU s/round", "min", "max", "÷ mean", "÷ NumPy", "s/round", "memory", "÷ stack")

    def contenders(self, workload: str) -> Mapping[str, str]:
        return {
            "mean": "mean",
            "median": "coordinate median",
            "numpy_median": "coordinate median, NumPy",
            "trimmed_mean": "trimmed mean",
            "numpy_trimmed_mean": "trimmed mean, NumPy",
            "krum": "Krum",
            "numpy_krum": "Krum, NumPy loop",
        }

    def command(self, contender: str, workload: str, data: str, num_rounds: int, folder: pathlib.Path) -> list[str]:
        return [sys.executable, SCRIPT, contender, *map(str, SIZES[workload]), str(num_rounds), str(folder / OUT)]

    def record(self, contender: str, measurement: Measurement, folder: pathlib.Path) -> Record:
        with np.load(folder / OUT) as saved:
            return {key: saved[key].tolist() for key in saved.files}

    def complete(self, runs: Mapping[str, list[Record]], name: str, data: str, folder: pathlib.Path) -> None:
        clients, weights = SIZES[name]
        results = {contender: np.asarray([r.pop("result") for r in records]) for contender, records in runs.items()}
        for contender, records in runs.items():
            twin = results.get(IN_NUMPY + contender, results[contender])
            for record, difference in zip(records, np.abs(results[contender] - twin).max(1)):
                record.update(difference_to_numpy=float(difference), stack_bytes=4 * clients * weights)

    def summarize(self, runs: Mapping[str, list[Record]]) -> Record:
        contenders = {
            name: {**usual_figures(records), "stack_bytes": records[0]["stack_bytes"]} for name, records in runs.items()
        }
        same_work = all(r["difference_to_numpy"] <= SAME_RESULT for records in runs.values() for r in records)
        ratios = None
        if same_work:
            ratios = {
                name: {
                    other: _ratio(records, runs[key])
                    for other, key in (("mean", self.ours), ("numpy", IN_NUMPY + name))
                    if key in runs
                }
                for name, records in runs.items()
            }
        return {"contenders": contenders, "same_work": same_work, "ratios": ratios}

    def row(self, figures: Record, ratio: Record | None) -> list[str]:
        return [
            *spelled(figures["cpu_seconds_per_round"], 3),
            *(f"{ratio[key]['median']:.2f}" if ratio and key in ratio else "" for key in ("mean", "numpy")),
            f"{figures['seconds_per_round']['median']:.3f}",
            gigabytes(figures["peak_memory_bytes"]),
            f"{figures['peak_memory_bytes'] / figures['stack_bytes']:.1f}",
        ]

    def notes(self, result: Record) -> list[str]:
        return [] if result["same_work"] else ["No ratios: a rule and its NumPy loop have different results."]


def _ratio(records: list[Record], others: list[Record]) -> Record:
    """Returns the ratio of the medians of CPU seconds, by turn."""
    medians = [[statistics.median(timed(r, "cpu_seconds")) for r in of] for of in (records, others)]
    return spread([mine / other for mine, other in zip(*medians)])


SUITE = Rules()
