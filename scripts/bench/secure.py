"""Seconds and bytes per round under each secure-sum protocol, and their ratio to sums made in the graph of the round.

The contenders take turns (A B C D A B C D …), each time in a new process, with two rounds to warm up. Ratios are to plain, of
one turn: once of the medians, once of the fastest rounds, which say more where other processes disturb. They are withheld
where a protocol that loses nobody ends its first round with other weights than plain.
"""

from __future__ import annotations

import os
import pathlib
import statistics
import sys
from collections.abc import Mapping

import numpy as np

from bench import work
from bench.figures import spread
from bench.harness import OUT, Record, Suite, gigabytes, spelled
from bench.measure import Measurement

SCRIPT = str(pathlib.Path(__file__).with_name("protocols.py"))
# The protocols' names by workload; what they are says protocols.py, which imports more than a suite should
CONTENDERS = {
    "S10": ("plain", "masked", "masked, 30 % drop out", "ckks"),
    "S100": ("plain", "masked, neighbors=log", "masked, neighbors=log, bits=32"),
}
SAME_WEIGHTS = 1e-3  # |a − b| / |b| after one round; later ones enlarge what float sums in another order differ by


class Protocols(Suite):
    """Rounds whose sums a protocol makes. Those that were abandoned are counted, and not timed."""

    workloads = {name: ("", 5) for name in CONTENDERS}
    ours = "plain"
    columns = ("s/round", "min", "max", "÷ plain", "min ÷ min", "MB up", "MB down", "clients", "memory")

    def contenders(self, workload: str) -> Mapping[str, str]:
        return {name: name for name in CONTENDERS[workload]}

    def command(self, contender: str, workload: str, data: str, num_rounds: int, folder: pathlib.Path) -> list[str]:
        return [sys.executable, SCRIPT, workload, contender, data, str(num_rounds), str(folder / OUT)]

    def record(self, contender: str, measurement: Measurement, folder: pathlib.Path) -> Record:
        with np.load(folder / OUT) as saved:
            figures = {key: saved[key].tolist() for key in saved.files if not key.startswith("arr_")}
            weights = [saved[key] for key in saved.files if key.startswith("arr_")]
        if contender == self.ours:  # whose turn is first
            self._weights = weights
        return {**figures, "distance_to_plain": distance(weights, self._weights), "load": os.getloadavg()[0]}

    def summarize(self, runs: Mapping[str, list[Record]]) -> Record:
        contenders, same_work = {}, True
        for name, records in runs.items():
            pairs = [(kept(mine, "seconds"), kept(plain, "seconds")) for mine, plain in zip(records, runs[self.ours])]
            contenders[name] = {
                "seconds_per_round": spread([s for record in records for s in kept(record, "seconds")]),
                "ratio_of_medians": spread([statistics.median(mine) / statistics.median(plain) for mine, plain in pairs]),
                "ratio_of_fastest": spread([min(mine) / min(plain) for mine, plain in pairs]),
                "bytes_up": statistics.median(b for r in records for b in kept(r, "bytes_up")),
                "bytes_down": statistics.median(b for r in records for b in kept(r, "bytes_down")),
                "included": statistics.mean(n for r in records for n in kept(r, "included")),
                "abandoned": sum(map(sum, (r["abandoned"][work.WARM_UP_ROUNDS :] for r in records))),
                "peak_memory_bytes": max(r["peak_memory_bytes"] for r in records),
                "runs": records,
            }
            loses_nobody = all(n == records[0]["included"][0] for r in (*records, *runs[self.ours]) for n in r["included"])
            same_work &= not loses_nobody or all(r["distance_to_plain"] < SAME_WEIGHTS for r in records)
        both = ("ratio_of_medians", "ratio_of_fastest")
        ratios = {name: {key: figures[key] for key in both} for name, figures in contenders.items()} if same_work else None
        return {"contenders": contenders, "same_work": same_work, "ratios": ratios}

    def row(self, figures: Record, ratio: Record | None) -> list[str]:
        return [
            *spelled(figures["seconds_per_round"], 3),
            *(f"{ratio[key]['median']:.2f}" if ratio else "" for key in ("ratio_of_medians", "ratio_of_fastest")),
            f"{figures['bytes_up'] / 1e6:.1f}",
            f"{figures['bytes_down'] / 1e6:.1f}",
            f"{figures['included']:.1f}",
            gigabytes(figures["peak_memory_bytes"]),
        ]

    def notes(self, result: Record) -> list[str]:
        abandoned = sum(figures["abandoned"] for figures in result["contenders"].values())
        found = [f"{abandoned} rounds were abandoned for too many dropouts, and are not timed."] if abandoned else []
        return found if result["same_work"] else [*found, "No ratios: a protocol that loses nobody has other weights than plain."]


def distance(weights: list[np.ndarray], reference: list[np.ndarray]) -> float:
    """The largest |a − b| / |b| over the tensors."""
    return max(float(np.linalg.norm(a - b) / (np.linalg.norm(b) or 1.0)) for a, b in zip(weights, reference))


def kept(record: Record, key: str) -> list[float]:
    """Of the rounds after the warm-up that were not abandoned."""
    values = list(zip(record[key], record["abandoned"]))[work.WARM_UP_ROUNDS :]
    return [value for value, abandoned in values if not abandoned]


SUITE = Protocols()
