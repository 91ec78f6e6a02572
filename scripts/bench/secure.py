"""Seconds and bytes per round under each secure-sum protocol, and their ratio to sums made in the graph of the round.

The contenders take turns (A B C D A B C D …), each time in a new process, with two rounds to warm up. Ratios are to plain, of
one turn: once of the medians, once of the fastest rounds, which say more where other processes disturb. They are withheld
where a protocol that loses nobody ends its first round with other weights than plain.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
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

SCRIPT = str(pathlib.Path(__file__).with_name("protocols.py"))
# The protocols' names by workload; what they are says protocols.py, which imports more than a suite should
CONTENDERS = {
    "S10": ("plain", "masked", "masked, 30 % drop out", "ckks"),
    "S100": ("plain", "masked, neighbors=log", "masked, neighbors=log, bits=32"),
}
PLAIN = "plain"
SAME_WEIGHTS = 1e-3  # |a − b| / |b| after one round; later ones enlarge what float sums in another order differ by

Record = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this suite."""
    parser.add_argument("--workloads", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="S10")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of each process (default 5)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each protocol (default 3)")
    parser.add_argument("--data", choices=("digits", "mnist"), help="default: mnist where it is found, else digits")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every figure to FILE")


def main(arguments: argparse.Namespace) -> int:
    """Measures, prints a table per workload, and writes the JSON. Exit status 1 where protocols did different work."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        data = work.choose_data(arguments.data)
    except DataError as error:
        print(f"bench.py: {error}", file=sys.stderr)
        return 2
    report: Record = {"data": data, "date": datetime.date.today().isoformat(), "machine": machine(), "workloads": {}}
    for name in arguments.workloads:
        try:
            result = _measure_workload(name, data, arguments.rounds, arguments.repeats, console)
        except CommandFailed as error:
            print(f"bench.py: {name}: {error}", file=sys.stderr)
            return 1
        report["workloads"][name] = result
        _print_table(name, result, console)
        if arguments.json:  # what has been measured stays, also where a later workload fails
            arguments.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return 0 if all(result["same_work"] for result in report["workloads"].values()) else 1


def _measure_workload(name: str, data: str, num_rounds: int, repeats: int, console: Console) -> Record:
    with tempfile.TemporaryDirectory() as folder, console.status("") as status:
        runs: dict[str, list[Record]] = {contender: [] for contender in CONTENDERS[name]}
        reference: list[np.ndarray] = []  # weights after a round of plain, whose turn is first
        for i, contender in ((i, c) for i in range(repeats) for c in runs):
            status.update(f"{name}, turn {i + 1} of {repeats}: {contender}")
            out = f"{folder}/out.npz"
            measurement = measure([sys.executable, SCRIPT, name, contender, data, str(num_rounds), out])
            with np.load(out) as saved:
                figures = {key: saved[key].tolist() for key in saved.files if not key.startswith("arr_")}
                weights = [saved[key] for key in saved.files if key.startswith("arr_")]
            if contender == PLAIN:
                reference = weights
            runs[contender].append(
                {
                    **figures,
                    "distance_to_plain": distance(weights, reference),
                    "peak_memory_bytes": measurement.peak_memory_bytes,
                    "busy_elsewhere": round(measurement.busy_elsewhere, 3),
                    "load": os.getloadavg()[0],
                }
            )
    return {"num_rounds": num_rounds, "repeats": repeats, **summarize(runs)}


def distance(weights: list[np.ndarray], reference: list[np.ndarray]) -> float:
    """The largest |a − b| / |b| over the tensors."""
    return max(float(np.linalg.norm(a - b) / (np.linalg.norm(b) or 1.0)) for a, b in zip(weights, reference))


def summarize(runs: dict[str, list[Record]]) -> Record:
    """Per protocol over all of its turns. Rounds that were abandoned are counted, and not timed."""
    contenders, same_work = {}, True
    for name, records in runs.items():
        pairs = list(zip(map(_timed, records), map(_timed, runs[PLAIN])))
        contenders[name] = {
            "seconds_per_round": spread([s for record in records for s in _timed(record)]),
            "ratio_of_medians": spread([statistics.median(mine) / statistics.median(plain) for mine, plain in pairs]),
            "ratio_of_fastest": spread([min(mine) / min(plain) for mine, plain in pairs]),
            "bytes_up": statistics.median(b for r in records for b in _kept(r, "bytes_up")),
            "bytes_down": statistics.median(b for r in records for b in _kept(r, "bytes_down")),
            "included": statistics.mean(n for r in records for n in _kept(r, "included")),
            "abandoned": sum(map(sum, (r["abandoned"][work.WARM_UP_ROUNDS :] for r in records))),
            "peak_memory_bytes": max(r["peak_memory_bytes"] for r in records),
            "runs": records,
        }
        loses_nobody = all(n == records[0]["included"][0] for r in (*records, *runs[PLAIN]) for n in r["included"])
        same_work &= not loses_nobody or all(r["distance_to_plain"] < SAME_WEIGHTS for r in records)
    return {"contenders": contenders, "same_work": same_work}


def _timed(record: Record) -> list[float]:
    return _kept(record, "seconds")


def _kept(record: Record, key: str) -> list[float]:
    """Of the rounds after the warm-up that were not abandoned."""
    values = list(zip(record[key], record["abandoned"]))[work.WARM_UP_ROUNDS :]
    return [value for value, abandoned in values if not abandoned]


def _print_table(name: str, result: Record, console: Console) -> None:
    title = f"{name}: {result['repeats']} × {result['num_rounds']} rounds"
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("", no_wrap=True)
    for column in ("s/round", "min", "max", "÷ plain", "min ÷ min", "MB up", "MB down", "clients", "memory"):
        table.add_column(column, justify="right", no_wrap=True)
    for contender, figures in result["contenders"].items():
        ratios = [figures[key]["median"] for key in ("ratio_of_medians", "ratio_of_fastest")]
        table.add_row(
            contender,
            *(f"{figures['seconds_per_round'][k]:.3f}" for k in ("median", "min", "max")),
            *(f"{ratio:.2f}" if result["same_work"] else "" for ratio in ratios),
            f"{figures['bytes_up'] / 1e6:.1f}",
            f"{figures['bytes_down'] / 1e6:.1f}",
            f"{figures['included']:.1f}",
            f"{figures['peak_memory_bytes'] / 1e9:.2f} GB",
            style="bold" if contender == PLAIN else None,
        )
    runs = [r for figures in result["contenders"].values() for r in figures["runs"]]
    busy, abandoned = max(r["busy_elsewhere"] for r in runs), sum(f["abandoned"] for f in result["contenders"].values())
    notes = [f"Noisy: other processes took up to {busy:.1f} CPU seconds per second."] if busy > BUSY else []
    if abandoned:
        notes.append(f"{abandoned} rounds were abandoned for too many dropouts, and are not timed.")
    if not result["same_work"]:
        notes.append("No ratios: a protocol that loses nobody has other weights than plain.")
    table.caption = " ".join(notes) or None
    console.print(table)
