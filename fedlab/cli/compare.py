"""`fedlab compare A B …`: where runs differ, and what came of it. Runs that differ in their seed alone count as one."""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Sequence

from fedlab.archive.folder import relative
from fedlab.cli.output import writable
from fedlab.cli.tables import print_table
from fedlab.report import words
from fedlab.report.comparison import Comparison, compare, difference_rows, gather


def main(argv: Sequence[str]) -> int:
    """Returns the exit code; raises `FedlabError`."""
    parser = argparse.ArgumentParser("fedlab compare", description=__doc__.partition(": ")[2])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the folder of a run, or a folder of runs, such as a sweep")
    parser.add_argument("--html", metavar="FILE", type=pathlib.Path, help="also writes a page with the curves")
    args = parser.parse_args(argv)
    html = writable("--html", args.html)
    runs, broken = gather(args.runs)
    for error in broken:
        print(f"fedlab compare: left out: {error}", file=sys.stderr)
    comparison = compare(runs)
    _print(comparison)
    if html:
        from fedlab.report.comparison_page import write_comparison

        print(f"\npage in {relative(write_comparison(comparison, html))}")
    return 0


def _print(comparison: Comparison) -> None:
    """A column per group where they fit, else a row per group."""
    groups = comparison.groups
    heads = [str(i) for i in range(1, len(groups) + 1)]
    if comparison.keys:
        rows = [[key, *values] for key, values in difference_rows(comparison)]
        _table("setting", heads, rows, "What differs")
    else:
        print(f"Nothing differs but the seed: {', '.join(map(str, groups[0].seeds))}.")
    print()
    figures = [["runs", *(str(len(g.runs)) for g in groups)], ["seeds", *(" ".join(map(str, g.seeds)) for g in groups)]]
    for name in comparison.metrics:
        found = [group.metrics.get(name) for group in groups]
        figures.append([words.metric_label(name), *(spread.text(name) if spread else words.NONE for spread in found)])
    _table("figure", heads, figures, "Final figures, mean ± standard deviation over seeds")
    for remark in comparison.remarks:
        print(f"note: {remark}")


def _table(first: str, heads: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    if len(heads) <= 4:
        print_table([first, *heads], rows, heads, title)
    else:
        columns = [row[0] for row in rows]
        turned = [[head, *(row[i] for row in rows)] for i, head in enumerate(heads, 1)]
        print_table(["", *columns], turned, columns, title)
