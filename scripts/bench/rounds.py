"""Seconds per round, memory and start of fedlab's engines, of TFF as its tutorials write it, and of a loop with no framework.

Every contender does the same work: the same data, clients, cohorts, initial weights and batches. They are measured in turn
(A B C D A B C D …), each time in a new process, with two rounds to warm up; a round ends when its weights have been read back.
Ratios compare medians within one turn. They are withheld where the contenders' test accuracies differ.

Other frameworks take part with `--rivals FOLDER`: `scripts/bench/rivals/environments.sh FOLDER` installs them, and their programs
are in scripts/bench/rivals. L1 needs the Shakespeare data.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import sys
from collections.abc import Mapping

import numpy as np

from bench import work
from bench.figures import spread
from bench.harness import OUT, Record, Suite, gigabytes, ratios_of_medians, spelled, timed
from bench.measure import Measurement, measure
from bench.rivals import RIVALS

SCRIPT = str(pathlib.Path(__file__).with_name("contenders.py"))
TITLES = {  # in the order in which they take turns; functions of contenders.py
    "stock_tff": "stock TFF (from_keras_model)",
    "fedlab_tff": "fedlab engine=tff",
    "fedlab_compiled": "fedlab engine=compiled",
    "plain_tensorflow": "plain TensorFlow loop",
}
OURS = {  # of the workloads that not all of them can do
    "S1": {"fedlab_compiled": TITLES["fedlab_compiled"], "fedlab_fed_avg": "fedlab, FedAvg instead"},
    "L1": {name: TITLES[name] for name in ("fedlab_tff", "fedlab_compiled")},
    "R1": {name: TITLES[name] for name in ("fedlab_tff", "fedlab_compiled")},
}
SAME_ACCURACY = 0.02
OTHER_WORK = "fedlab_fed_avg"  # whose accuracy may be another


class Rounds(Suite):
    """Rounds of federated averaging or SCAFFOLD; programs of other frameworks may take turns."""

    workloads = {name: (workload.title, workload.timed_rounds) for name, workload in work.WORKLOADS.items()}
    ours = "fedlab_compiled"
    columns = ("s/round", "min", "max", "÷ compiled", "min", "max", "memory", "to round 1", "accuracy")
    environments: pathlib.Path | None = None  # the folder of the rivals' environments; None: no rivals
    only: tuple[str, ...] = ()  # contenders, if not all

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--rivals",
            type=pathlib.Path,
            metavar="FOLDER",
            help="other frameworks take turns, too, see above",
        )
        names = (*TITLES, OTHER_WORK, *RIVALS)
        parser.add_argument("--only", nargs="+", choices=names, default=(), metavar="NAME", help=f"of {', '.join(names)}")

    def prepare(self, arguments: argparse.Namespace) -> None:
        self.environments, self.only = arguments.rivals, tuple(arguments.only)
        for name, rival in RIVALS.items() if arguments.rivals else ():
            if not rival.python(arguments.rivals).exists():
                raise ValueError(
                    f"--rivals {arguments.rivals}: no {rival.python(arguments.rivals)} for {name}; install the rivals by "
                    f"scripts/bench/rivals/environments.sh {arguments.rivals}"
                )
        if self.only and self.ours not in self.only:
            raise ValueError(f"--only {' '.join(self.only)}: ratios are to {self.ours}; name it as well.")

    def contenders(self, workload: str) -> Mapping[str, str]:
        rivals = {name: rival.title for name, rival in RIVALS.items() if self.environments and workload in rival.workloads}
        everyone = {**OURS.get(workload, TITLES), **rivals}
        return {name: title for name, title in everyone.items() if not self.only or name in self.only}

    def command(self, contender: str, workload: str, data: str, num_rounds: int, folder: pathlib.Path) -> list[str]:
        if contender not in RIVALS:
            return [sys.executable, SCRIPT, "run", contender, workload, data, str(num_rounds), str(folder / OUT)]
        exported = folder.parent.parent / "exercise.npz"
        if not exported.exists():
            measure([sys.executable, SCRIPT, "export", workload, data, str(num_rounds), str(exported)])
        assert self.environments is not None
        return [*RIVALS[contender].command(self.environments), str(exported), str(folder / OUT)]

    def record(self, contender: str, measurement: Measurement, folder: pathlib.Path) -> Record:
        with np.load(folder / OUT) as saved:
            to_round_1 = float(saved["first_ended"]) - measurement.started
            return {"seconds": saved["seconds"].tolist(), "seconds_to_round_1": to_round_1}

    def complete(self, runs: Mapping[str, list[Record]], name: str, data: str, folder: pathlib.Path) -> None:
        """The test accuracies, by one evaluation for all."""
        places = [(c, turn) for c, records in runs.items() for turn in range(len(records))]
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
        accuracies = [r["test_accuracy"] for name, records in runs.items() if name != OTHER_WORK for r in records]
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
