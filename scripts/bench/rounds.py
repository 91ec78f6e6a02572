"""Seconds per round, memory and start of fedlab's engines, of TFF as its tutorials write it, and of a loop with no framework.

Every contender does the same work: the same data, clients, cohorts, initial weights and batches. They are measured in turn
(A B C D A B C D …), each time in a new process, with two rounds to warm up; a round ends when its weights have been read back.
Ratios compare medians within one turn. They are withheld where the contenders' test accuracies differ.
"""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import shlex
import statistics
import sys
import tempfile
import time
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import work
from bench.figures import BUSY, machine, spread
from bench.measure import CommandFailed, Measurement, measure
from fedlab.errors import DataError

SCRIPT = str(pathlib.Path(__file__).with_name("contenders.py"))
TITLES = {  # in the order in which they take turns; functions of contenders.py
    "stock_tff": "stock TFF (from_keras_model)",
    "fedlab_tff": "fedlab engine=tff",
    "fedlab_compiled": "fedlab engine=compiled",
    "plain_tensorflow": "plain TensorFlow loop",
}
OURS = "fedlab_compiled"
SAME_ACCURACY = 0.02

Record = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this suite."""
    parser.add_argument("--workloads", nargs="+", choices=work.WORKLOADS, default=list(work.WORKLOADS), metavar="W1")
    parser.add_argument("--rounds", type=int, help="timed rounds of each process; default: " + _default_rounds())
    parser.add_argument("--repeats", type=int, default=3, help="turns of each contender (default 3)")
    parser.add_argument("--data", choices=("digits", "mnist"), help="default: mnist where it is found, else digits")
    parser.add_argument(
        "--rival",
        action="append",
        default=[],
        metavar="W1:NAME=COMMAND",
        help="another framework's program for a workload, which takes its turn too: the same work, two rounds to warm up, and "
        'at its end {"times": [seconds per round], "t_round1": seconds from its start, "accuracy": …} in $BENCH_OUT.json',
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every figure to FILE")


def main(arguments: argparse.Namespace) -> int:
    """Measures, prints a table per workload, and writes the JSON. Exit status 1 where contenders did different work."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        data = work.choose_data(arguments.data)
    except DataError as error:
        print(f"bench.py: {error}", file=sys.stderr)
        return 2
    if data == "digits":
        console.print("data: digits, repeated to 60,000 examples" + ("" if arguments.data else "; MNIST was not found"))
    rivals: dict[str, dict[str, list[str]]] = {name: {} for name in arguments.workloads}
    for given in arguments.rival:
        where, _, command = given.partition("=")
        workload, _, rival = where.partition(":")
        if workload not in rivals or not rival or not command:
            print(f"bench.py: --rival {given}: give it as WORKLOAD:NAME=COMMAND, of {', '.join(rivals)}", file=sys.stderr)
            return 2
        rivals[workload][rival] = shlex.split(command)
    report: Record = {"data": data, "date": datetime.date.today().isoformat(), "machine": machine(), "workloads": {}}
    for name in arguments.workloads:
        try:
            result = _measure_workload(name, data, arguments.rounds, arguments.repeats, rivals[name], console)
        except CommandFailed as error:
            print(f"bench.py: {name}: {error}", file=sys.stderr)
            return 1
        report["workloads"][name] = result
        _print_table(name, result, console)
        if arguments.json:  # what has been measured stays, also where a later workload fails
            arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if all(result["ratios"] for result in report["workloads"].values()) else 1


def _default_rounds() -> str:
    return ", ".join(f"{name} {workload.timed_rounds}" for name, workload in work.WORKLOADS.items())


def _measure_workload(
    name: str, data: str, num_rounds: int | None, repeats: int, rivals: dict[str, list[str]], console: Console
) -> Record:
    num_rounds = num_rounds or work.WORKLOADS[name].timed_rounds
    with tempfile.TemporaryDirectory() as folder, console.status("") as status:
        runs: dict[str, list[Record]] = {contender: [] for contender in (*TITLES, *rivals)}
        outs: dict[tuple[str, int], str] = {}
        for i, contender in ((i, c) for i in range(repeats) for c in runs):
            status.update(f"{name}, turn {i + 1} of {repeats}: {TITLES.get(contender, contender)}")
            out = f"{folder}/{contender}-{i}"
            if contender in rivals:
                environment = [f"BENCH_OUT={out}", f"BENCH_T0={time.time()}"]
                measurement = measure(["env", *environment, *rivals[contender]])
                runs[contender].append(_rivals_record(measurement, out))
            else:
                outs[contender, i] = f"{out}.npz"
                measurement = measure([sys.executable, SCRIPT, "run", contender, name, data, str(num_rounds), f"{out}.npz"])
                runs[contender].append(_record(measurement, f"{out}.npz"))
        status.update(f"{name}: test accuracies")
        scores = json.loads(measure([sys.executable, SCRIPT, "score", name, data, *outs.values()]).stdout)
    for (contender, i), accuracy in zip(outs, scores):
        runs[contender][i]["test_accuracy"] = accuracy
    return {"num_rounds": num_rounds, "repeats": repeats, **summarize(runs)}


def _record(measurement: Measurement, out: str) -> Record:
    with np.load(out) as saved:
        return {
            "seconds": saved["seconds"].tolist(),
            "seconds_to_round_1": float(saved["first_ended"]) - measurement.started,
            "peak_memory_bytes": measurement.peak_memory_bytes,
            "busy_elsewhere": round(measurement.busy_elsewhere, 3),
        }


def _rivals_record(measurement: Measurement, out: str) -> Record:
    found = json.loads(pathlib.Path(f"{out}.json").read_text())
    return {
        "seconds": found["times"],
        "seconds_to_round_1": found["t_round1"],
        "peak_memory_bytes": measurement.peak_memory_bytes,
        "busy_elsewhere": round(measurement.busy_elsewhere, 3),
        "test_accuracy": found["accuracy"],
    }


def summarize(runs: dict[str, list[Record]]) -> Record:
    """Per contender over all of its runs, and per rival its seconds over ours (None where they did different work)."""
    contenders = {}
    for name, records in runs.items():
        seconds = [s for r in records for s in r["seconds"][work.WARM_UP_ROUNDS :]]
        contenders[name] = {
            "seconds_per_round": spread(seconds),
            "peak_memory_bytes": max(r["peak_memory_bytes"] for r in records),
            "seconds_to_round_1": spread([r["seconds_to_round_1"] for r in records]),
            "test_accuracy": statistics.median(r["test_accuracy"] for r in records),
            "runs": records,
        }
    accuracies = [r["test_accuracy"] for records in runs.values() for r in records]
    if max(accuracies) - min(accuracies) > SAME_ACCURACY:
        return {"contenders": contenders, "ratios": None}
    medians = {n: [statistics.median(r["seconds"][work.WARM_UP_ROUNDS :]) for r in records] for n, records in runs.items()}
    ratios = {n: spread([rival / ours for rival, ours in zip(medians[n], medians[OURS])]) for n in runs if n != OURS}
    return {"contenders": contenders, "ratios": ratios}


def _print_table(name: str, result: Record, console: Console) -> None:
    title = f"{name}: {work.WORKLOADS[name].title}; {result['repeats']} × {result['num_rounds']} rounds"
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("", no_wrap=True)
    for column in ("s/round", "min", "max", "÷ compiled", "min", "max", "memory", "to round 1", "accuracy"):
        table.add_column(column, justify="right", no_wrap=True)
    for contender, figures in result["contenders"].items():
        ratio = (result["ratios"] or {}).get(contender)
        table.add_row(
            TITLES.get(contender, contender),
            *(f"{figures['seconds_per_round'][k]:.4f}" for k in ("median", "min", "max")),
            *(f"{ratio[k]:.2f}" if ratio else "" for k in ("median", "min", "max")),
            f"{figures['peak_memory_bytes'] / 1e9:.2f} GB",
            f"{figures['seconds_to_round_1']['median']:.1f} s",
            f"{figures['test_accuracy']:.4f}",
            style="bold" if contender == OURS else None,
        )
    busy = max(r["busy_elsewhere"] for figures in result["contenders"].values() for r in figures["runs"])
    notes = [f"Noisy: other processes took up to {busy:.1f} CPU seconds per second."] if busy > BUSY else []
    if not result["ratios"]:
        notes.append(f"No ratios: accuracies differ by more than {SAME_ACCURACY}, so the contenders did not do the same work.")
    table.caption = " ".join(notes) or None
    console.print(table)
