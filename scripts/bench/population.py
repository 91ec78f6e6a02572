"""CPU seconds, memory and seconds per round of `fedlab train` by the number of users, and by the size of the cohort.

Each contender is a whole run in a new process: users with two examples of 8 numbers each, one client per user, a linear model. A
round's work is that of its cohort, so its seconds should not depend on the population. Ratios are to the smallest population
with the same cohort; of the large cohort, per client.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import statistics
import sys
from collections.abc import Mapping

import numpy as np

from bench.figures import spread
from bench.harness import OUT, Record, Suite, gigabytes
from bench.measure import Measurement

SCRIPT = str(pathlib.Path(__file__).with_name("populations.py"))
NUM_CLASSES, NUM_FEATURES, EACH = 4, 8, 2  # of the examples; examples per user
WARM_UP = 2  # rounds


@dataclasses.dataclass(frozen=True)
class Size:
    users: int
    cohort: int


SIZES = {
    "thousand": Size(1_000, 100),
    "million": Size(1_000_000, 100),
    "million, large cohorts": Size(1_000_000, 10_000),
}


class Population(Suite):
    """Whole runs, of which each phase has its CPU seconds."""

    workloads = {"U": ("users with two examples each", 20)}
    ours = "thousand"
    repeats = 1
    columns = ("ms/round", "fastest", "÷", "CPU s", "start", "data", "rounds", "end", "report", "memory")

    def contenders(self, workload: str) -> Mapping[str, str]:
        return {name: f"{size.users:,} users, {size.cohort:,} a round" for name, size in SIZES.items()}

    def command(self, contender: str, workload: str, data: str, num_rounds: int, folder: pathlib.Path) -> list[str]:
        """Writes the users' examples, too: the measured process only reads them."""
        size = SIZES[contender]
        write_users(folder / "users.npz", size.users)
        files = (str(folder / name) for name in ("users.npz", "run", OUT))
        return [sys.executable, SCRIPT, str(size.cohort), str(WARM_UP + num_rounds), *files]

    def record(self, contender: str, measurement: Measurement, folder: pathlib.Path) -> Record:
        (folder / "users.npz").unlink()
        lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
        with np.load(folder / OUT) as saved:
            cpu = {name: float(saved[name]) for name in saved.files}
        return {"seconds": [json.loads(line)["seconds"] for line in lines], "cohort": SIZES[contender].cohort, "cpu_seconds": cpu}

    def summarize(self, runs: Mapping[str, list[Record]]) -> Record:
        contenders = {
            name: {
                "seconds_per_round": spread([s for record in records for s in record["seconds"][WARM_UP:]]),
                "per_client": statistics.median(s / r["cohort"] for r in records for s in r["seconds"][WARM_UP:]),
                "cpu_seconds": {n: statistics.median(r["cpu_seconds"][n] for r in records) for n in records[0]["cpu_seconds"]},
                "peak_memory_bytes": max(record["peak_memory_bytes"] for record in records),
                "runs": records,
            }
            for name, records in runs.items()
        }
        base = contenders[self.ours]["per_client"]
        ratios = {name: {"median": figures["per_client"] / base} for name, figures in contenders.items() if name != self.ours}
        return {"contenders": contenders, "same_work": True, "ratios": ratios}

    def row(self, figures: Record, ratio: Record | None) -> list[str]:
        cpu = figures["cpu_seconds"]
        return [
            *(f"{1000 * figures['seconds_per_round'][which]:.1f}" for which in ("median", "min")),
            f"{ratio['median']:.2f}" if ratio else "",
            *(f"{cpu[name]:.2f}" for name in ("total", "start", "data", "rounds", "end", "report")),
            gigabytes(figures["peak_memory_bytes"]),
        ]


def write_users(path: pathlib.Path, num_users: int) -> None:
    """Writes an archive for data=npz: `EACH` examples of each user, whose classes a linear model can learn."""
    rng, count = np.random.default_rng(0), EACH * num_users
    x = rng.standard_normal((count, NUM_FEATURES), np.float32)
    y = (x @ rng.standard_normal((NUM_FEATURES, NUM_CLASSES), np.float32)).argmax(1)
    x_test = x[:1_000] + rng.standard_normal((1_000, NUM_FEATURES), np.float32) / 8
    users = rng.permutation(np.repeat(np.arange(num_users), EACH))
    np.savez(path, x=x, y=y, user_ids=users, x_test=x_test, y_test=y[:1_000])


SUITE = Population()
