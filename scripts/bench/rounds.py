"""Seconds per round, memory and start of fedlab's engines, of TFF as its tutorials write it, and of a loop with no framework.

Every contender does the same work: the same data, clients, cohorts, initial weights and batches. They are measured in turn
(A B C D A B C D …), each time in a new process, with two rounds to warm up; a round ends when its weights have been read back.
Ratios compare medians within one turn. They are withheld where the contenders' test accuracies differ.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shlex
import statistics
import sys
import time
from collections.abc import Mapping

import numpy as np

from bench import work
from bench.figures import spread
from bench.harness import OUT, Record, Suite, gigabytes, ratios_of_medians, spelled, timed
from bench.measure import Measurement, measure

SCRIPT = str(pathlib.Path(__file__).with_name("contenders.py"))
TITLES = {  # in the order in which they take turns; functions of contenders.py
    "stock_tff": "stock TFF (from_keras_model)",
    "fedlab_tff": "fedlab engine=tff",
    "fedlab_compiled": "fedlab engine=compiled",
    "plain_tensorflow": "plain TensorFlow loop",
}
SAME_ACCURACY = 0.02


class Rounds(Suite):
    """Rounds of federated averaging; programs of other frameworks may take turns."""

    workloads = {name: (workload.title, workload.timed_rounds) for name, workload in work.WORKLOADS.items()}
    ours = "fedlab_compiled"
    columns = ("s/round", "min", "max", "÷ compiled", "min", "max", "memory", "to round 1", "accuracy")
    rivals: Mapping[str, Mapping[str, list[str]]] = {}  # workload → name → command

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--rival",
            action="append",
            default=[],
            metavar="W1:NAME=COMMAND",
            help="another framework's program for a workload, which takes its turn too: the same work, two rounds to warm up, "
            'and at its end {"times": [seconds per round], "t_round1": seconds from its start, "accuracy": …} in $BENCH_OUT.json',
        )

    def prepare(self, arguments: argparse.Namespace) -> None:
        rivals: dict[str, dict[str, list[str]]] = {name: {} for name in arguments.workloads}
        for given in arguments.rival:
            where, _, command = given.partition("=")
            workload, _, rival = where.partition(":")
            if workload not in rivals or not rival or not command:
                raise ValueError(f"--rival {given}: give it as WORKLOAD:NAME=COMMAND, of {', '.join(rivals)}")
            rivals[workload][rival] = shlex.split(command)
        self.rivals = rivals

    def contenders(self, workload: str) -> Mapping[str, str]:
        return {**TITLES, **{name: name for name in self.rivals.get(workload, {})}}

    def command(self, contender: str, workload: str, data: str, num_rounds: int, folder: pathlib.Path) -> list[str]:
        if contender in self.rivals.get(workload, {}):
            return ["env", f"BENCH_OUT={folder / 'out'}", f"BENCH_T0={time.time()}", *self.rivals[workload][contender]]
        return [sys.executable, SCRIPT, "run", contender, workload, data, str(num_rounds), str(folder / OUT)]

    def record(self, contender: str, measurement: Measurement, folder: pathlib.Path) -> Record:
        if contender not in TITLES:
            found = json.loads((folder / "out.json").read_text())
            return {"seconds": found["times"], "seconds_to_round_1": found["t_round1"], "test_accuracy": found["accuracy"]}
        with np.load(folder / OUT) as saved:
            to_round_1 = float(saved["first_ended"]) - measurement.started
            return {"seconds": saved["seconds"].tolist(), "seconds_to_round_1": to_round_1}

    def complete(self, runs: Mapping[str, list[Record]], name: str, data: str, folder: pathlib.Path) -> None:
        """The test accuracies, by one evaluation for all."""
        places = [(c, turn) for c, records in runs.items() if c in TITLES for turn in range(len(records))]
        outs = [str(folder / str(turn) / str(list(runs).index(c)) / OUT) for c, turn in places]
        scores = json.loads(measure([sys.executable, SCRIPT, "score", name, data, *outs]).stdout)
        for (contender, turn), accuracy in zip(places, scores):
            runs[contender][turn]["test_accuracy"] = accuracy

    def summarize(self, runs: Mapping[str, list[Record]]) -> Record:
        contenders = {
            name: {
                "seconds_per_round": spread([s for r in records for s in timed(r)]),
                "peak_memory_bytes": max(r["peak_memory_bytes"] for r in records),
                "seconds_to_round_1": spread([r["seconds_to_round_1"] for r in records]),
                "test_accuracy": statistics.median(r["test_accuracy"] for r in records),
                "runs": records,
            }
            for name, records in runs.items()
        }
        accuracies = [r["test_accuracy"] for records in runs.values() for r in records]
        same_work = max(accuracies) - min(accuracies) <= SAME_ACCURACY
        ratios = ratios_of_medians(runs, self.ours) if same_work else None
        return {"contenders": contenders, "same_work": same_work, "ratios": ratios}

    def row(self, figures: Record, ratio: Record | None) -> list[str]:
        return [
            *spelled(figures["seconds_per_round"], 4),
            *(spelled(ratio, 2) if ratio else [""] * 3),
            gigabytes(figures["peak_memory_bytes"]),
            f"{figures['seconds_to_round_1']['median']:.1f} s",
            f"{figures['test_accuracy']:.4f}",
        ]

    def notes(self, result: Record) -> list[str]:
        differ = f"No ratios: accuracies differ by more than {SAME_ACCURACY}, so the contenders did not do the same work."
        return [] if result["same_work"] else [differ]


SUITE = Rounds()
