"""The harness of all suites: contenders take turns (A B C A B C …), each time in a new process; figures, a table, a JSON file.

A suite is an instance of `Suite`; its contenders are data, and a program beside it runs one of them.
"""

from __future__ import annotations

import abc
import argparse
import datetime
import json
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.console import Console
from rich.table import Table

from bench import work
from bench.figures import BUSY, machine, spread
from bench.measure import CommandFailed, Measurement, measure
from fedlab.errors import DataError

Record = dict[str, Any]
OUT = "out.npz"  # what a contender's process writes, in a folder of its own


class Suite(abc.ABC):
    """Measures each workload, prints its table, and keeps what it has measured also where a later workload fails."""

    workloads: Mapping[str, tuple[str, int]]  # name → (title, timed rounds)
    ours: str  # the contender to which ratios are
    repeats: ClassVar[int] = 3  # turns of each contender, unless told otherwise
    columns: Sequence[str]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of this suite."""
        names, rounds = list(self.workloads), ", ".join(f"{name} {count}" for name, (_, count) in self.workloads.items())
        parser.add_argument("--workloads", nargs="+", choices=names, default=names, metavar=names[0])
        parser.add_argument("--rounds", type=int, help=f"timed rounds of each process; default: {rounds}")
        parser.add_argument("--repeats", type=int, default=self.repeats, help=f"turns of each contender (default {self.repeats})")
        parser.add_argument("--data", choices=("digits", "mnist"), help="default: mnist where it is found, else digits")
        parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every figure to FILE")

    def main(self, arguments: argparse.Namespace) -> int:
        """Exit status 1 where contenders did different work or one failed, 2 for what cannot be measured."""
        console = Console(width=None if sys.stdout.isatty() else 120)
        try:
            data = work.choose_data(arguments.data)
            self.prepare(arguments)
        except (DataError, ValueError) as error:
            print(f"bench.py: {error}", file=sys.stderr)
            return 2
        if data == "digits":
            console.print("data: digits, repeated to 60,000 examples" + ("" if arguments.data else "; MNIST was not found"))
        report: Record = {"data": data, "date": datetime.date.today().isoformat(), "machine": machine(), "workloads": {}}
        for name in arguments.workloads:
            try:
                result = self.measured(name, data, arguments.rounds or self.workloads[name][1], arguments.repeats, console)
            except CommandFailed as error:
                print(f"bench.py: {name}: {error}", file=sys.stderr)
                return 1
            report["workloads"][name] = result
            console.print(self.table(name, result))
            if arguments.json:
                arguments.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        return 0 if all(result["same_work"] for result in report["workloads"].values()) else 1

    def prepare(self, arguments: argparse.Namespace) -> None:  # noqa: B027  (most need nothing)
        """Takes up options of the suite's own. Raises `ValueError`, in one line."""

    @abc.abstractmethod
    def contenders(self, workload: str) -> Mapping[str, str]:
        """Name → title, in the order in which they take turns."""

    @abc.abstractmethod
    def command(self, contender: str, workload: str, data: str, num_rounds: int, folder: pathlib.Path) -> list[str]:
        """The process that measures one contender, and writes into `folder`."""

    @abc.abstractmethod
    def record(self, contender: str, measurement: Measurement, folder: pathlib.Path) -> Record:
        """Returns the measurements of a process: `seconds` of each round, also of warm-up, and the suite's own figures."""

    def complete(self, runs: Mapping[str, list[Record]], name: str, data: str, folder: pathlib.Path) -> None:  # noqa: B027
        """Adds to the records of a workload what takes all of them."""

    @abc.abstractmethod
    def summarize(self, runs: Mapping[str, list[Record]]) -> Record:
        """`contenders`: figures of each over all of its turns; `same_work`; `ratios` of each but `ours` where it is true."""

    @abc.abstractmethod
    def row(self, figures: Record, ratio: Record | None) -> list[str]:
        """The figures of a contender, as `columns` name them."""

    def notes(self, result: Record) -> list[str]:
        """Returns the notes below the table."""
        return []

    def measured(self, name: str, data: str, num_rounds: int, repeats: int, console: Console) -> Record:
        """Every contender's turns at one workload."""
        titles = self.contenders(name)
        runs: dict[str, list[Record]] = {contender: [] for contender in titles}
        with tempfile.TemporaryDirectory() as all_of_it, console.status("") as status:
            for turn, (contender, title) in ((turn, of) for turn in range(repeats) for of in titles.items()):
                status.update(f"{name}, turn {turn + 1} of {repeats}: {title}")
                folder = pathlib.Path(all_of_it) / str(turn) / str(list(titles).index(contender))
                folder.mkdir(parents=True)
                measurement = measure(self.command(contender, name, data, num_rounds, folder))
                usage = {
                    "peak_memory_bytes": measurement.peak_memory_bytes,
                    "busy_elsewhere": round(measurement.busy_elsewhere, 3),
                }
                runs[contender].append({**self.record(contender, measurement, folder), **usage})
            status.update(f"{name}: comparing what they did")
            self.complete(runs, name, data, pathlib.Path(all_of_it))
        return {"num_rounds": num_rounds, "repeats": repeats, **self.summarize(runs)}

    def table(self, name: str, result: Record) -> Table:
        """A row per contender, and what is to be known of the figures."""
        title, titles = f"{result['repeats']} × {result['num_rounds']} rounds", self.contenders(name)
        if self.workloads[name][0]:
            title = f"{self.workloads[name][0]}; {title}"
        table = Table(title=f"{name}: {title}", title_justify="left", caption_justify="left")
        table.add_column("", no_wrap=True)
        for column in self.columns:
            table.add_column(column, justify="right", no_wrap=True)
        for contender, figures in result["contenders"].items():
            row = self.row(figures, (result["ratios"] or {}).get(contender))
            table.add_row(titles[contender], *row, style="bold" if contender == self.ours else None)
        busy = max(r["busy_elsewhere"] for figures in result["contenders"].values() for r in figures["runs"])
        notes = [f"Noisy: other processes took up to {busy:.1f} CPU seconds per second."] if busy > BUSY else []
        table.caption = " ".join([*notes, *self.notes(result)]) or None
        return table


def timed(record: Record, key: str = "seconds") -> list[float]:
    """Of the rounds after the warm-up."""
    return record[key][work.WARM_UP_ROUNDS :]


def usual_figures(records: Sequence[Record]) -> Record:
    """Of one contender's turns: wall and CPU seconds of its rounds, and its memory."""
    return {
        "seconds_per_round": spread([s for r in records for s in timed(r)]),
        "cpu_seconds_per_round": spread([s for r in records for s in timed(r, "cpu_seconds")]),
        "peak_memory_bytes": max(r["peak_memory_bytes"] for r in records),
        "runs": records,
    }


def ratios_of_medians(runs: Mapping[str, list[Record]], ours: str) -> dict[str, Record]:
    """Of each contender but `ours`: its median seconds over ours, of one turn; their spread over the turns."""
    medians = {name: [statistics.median(timed(record)) for record in records] for name, records in runs.items()}
    return {n: spread([rival / mine for rival, mine in zip(medians[n], medians[ours])]) for n in runs if n != ours}


def spelled(figures: Record, digits: int) -> list[str]:
    """Median, minimum and maximum."""
    return [f"{figures[key]:.{digits}f}" for key in ("median", "min", "max")]


def gigabytes(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.2f} GB"
