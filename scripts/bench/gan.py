"""Seconds per round and memory of a federated GAN: fedlab's engines against a loop with no framework.

Every contender trains the same networks from the same weights on the same clients, with six steps of the discriminator on each of
ten clients, gradient penalty included, and six of the generator. They are measured in turn (A B C A B C …), each time in a new
process, with two rounds to warm up. Ratios compare medians within one turn; CPU seconds say more where other processes disturb.
What noise each meets is its own, so what is compared of the work is its amount, and how far the weights move.
"""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import statistics
import sys
import tempfile
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import work
from bench.figures import BUSY, machine, spread
from bench.measure import CommandFailed, measure
from fedlab.errors import DataError

SCRIPT = str(pathlib.Path(__file__).with_name("adversaries.py"))
WORKLOADS = {  # timed rounds unless --rounds says otherwise
    "G1": ("model=gan_small, 10 clients × 6 steps of 32", 10),
    "G2": ("model=gan_published, 10 clients × 6 steps of 32", 3),
}
TITLES = {  # in the order in which they take turns; functions of adversaries.py
    "fedlab_compiled": "fedlab engine=compiled",
    "plain_tensorflow": "plain TensorFlow loop",
    "fedlab_tff": "the same process, engine=tff",
    "fedlab_tff_without_onednn": "engine=tff without oneDNN",
}
OURS = "fedlab_compiled"
SAME_DISTANCE = 1.25  # by what factor the distances that weights have moved may differ

Record = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this suite."""
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="G1")
    parser.add_argument("--rounds", type=int, help="timed rounds of each process; default: G1 10, G2 3")
    parser.add_argument("--repeats", type=int, default=2, help="turns of each contender (default 2)")
    parser.add_argument("--data", choices=("digits", "mnist"), help="default: mnist where it is found, else digits")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every figure to FILE")


def main(arguments: argparse.Namespace) -> int:
    """Measures, prints a table per workload, and writes the JSON. Exit status 1 where contenders did different work."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        data = work.choose_data(arguments.data)
    except DataError as error:
        print(f"bench.py: {error}", file=sys.stderr)
        return 2
    report: Record = {"data": data, "date": datetime.date.today().isoformat(), "machine": machine(), "workloads": {}}
    for name in arguments.workloads:
        try:
            result = _measure_workload(name, data, arguments.rounds or WORKLOADS[name][1], arguments.repeats, console)
        except CommandFailed as error:
            print(f"bench.py: {name}: {error}", file=sys.stderr)
            return 1
        report["workloads"][name] = result
        _print_table(name, result, console)
        if arguments.json:  # what has been measured stays, also where a later workload fails
            arguments.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return 0 if all(result["ratios"] for result in report["workloads"].values()) else 1


def _measure_workload(name: str, data: str, num_rounds: int, repeats: int, console: Console) -> Record:
    runs: dict[str, list[Record]] = {contender: [] for contender in TITLES}
    with tempfile.TemporaryDirectory() as folder, console.status("") as status:
        for i, contender in ((i, c) for i in range(repeats) for c in runs):
            status.update(f"{name}, turn {i + 1} of {repeats}: {TITLES[contender]}")
            out = f"{folder}/out.npz"
            measurement = measure([sys.executable, SCRIPT, contender, name, data, str(num_rounds), out])
            with np.load(out) as saved:
                times = {key: saved[key].tolist() for key in ("seconds", "cpu_seconds")}
                record: Record = {**times, "moved": float(saved["moved"]), "num_weights": int(saved["num_weights"])}
            record["peak_memory_bytes"] = measurement.peak_memory_bytes
            record["busy_elsewhere"] = round(measurement.busy_elsewhere, 3)
            runs[contender].append(record)
    return {"num_rounds": num_rounds, "repeats": repeats, **summarize(runs)}


def summarize(runs: dict[str, list[Record]]) -> Record:
    """Per contender over all of its turns, and per rival its seconds over ours (None where they did different work)."""
    timed = {name: [r["seconds"][work.WARM_UP_ROUNDS :] for r in records] for name, records in runs.items()}
    contenders = {
        name: {
            "seconds_per_round": spread([s for seconds in timed[name] for s in seconds]),
            "cpu_seconds_per_round": spread([s for r in records for s in r["cpu_seconds"][work.WARM_UP_ROUNDS :]]),
            "peak_memory_bytes": max(r["peak_memory_bytes"] for r in records),
            "runs": records,
        }
        for name, records in runs.items()
    }
    moved = [r["moved"] for records in runs.values() for r in records]
    sizes = {r["num_weights"] for records in runs.values() for r in records}
    if len(sizes) > 1 or not all(0 < m < SAME_DISTANCE * min(moved) for m in moved):
        return {"contenders": contenders, "ratios": None}
    medians = {name: [statistics.median(seconds) for seconds in timed[name]] for name in runs}
    ratios = {n: spread([rival / ours for rival, ours in zip(medians[n], medians[OURS])]) for n in runs if n != OURS}
    return {"contenders": contenders, "ratios": ratios}


def _print_table(name: str, result: Record, console: Console) -> None:
    title = f"{name}: {WORKLOADS[name][0]}; {result['repeats']} × {result['num_rounds']} rounds"
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("", no_wrap=True)
    for column in ("s/round", "min", "max", "÷ compiled", "min", "max", "CPU s", "memory"):
        table.add_column(column, justify="right", no_wrap=True)
    for contender, figures in result["contenders"].items():
        ratio = (result["ratios"] or {}).get(contender)
        table.add_row(
            TITLES[contender],
            *(f"{figures['seconds_per_round'][k]:.3f}" for k in ("median", "min", "max")),
            *(f"{ratio[k]:.2f}" if ratio else "" for k in ("median", "min", "max")),
            f"{figures['cpu_seconds_per_round']['median']:.2f}",
            f"{figures['peak_memory_bytes'] / 1e9:.2f} GB",
            style="bold" if contender == OURS else None,
        )
    busy = max(r["busy_elsewhere"] for figures in result["contenders"].values() for r in figures["runs"])
    notes = [f"Noisy: other processes took up to {busy:.1f} CPU seconds per second."] if busy > BUSY else []
    if not result["ratios"]:
        notes.append("No ratios: the weights of one contender are not as many, or have not moved as far, as another's.")
    table.caption = " ".join(notes) or None
    console.print(table)
