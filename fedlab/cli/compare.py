"""`fedlab compare A B …`: where runs differ, and what came of it. Runs that differ in their seed alone count as one."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

from fedlab.archive.folder import relative
from fedlab.cli.output import writable
from fedlab.cli.parsing import Parser
from fedlab.cli.tables import print_table
from fedlab.report import words
from fedlab.report.comparison import Comparison, Group, compare, difference_rows, gather

_TITLE = "Final figures, mean ± standard deviation over seeds"
_MAX_COLUMNS = 4
_MAX_METRICS = 4


def main(argv: Sequence[str]) -> int:
    """Returns the exit code; raises `FedlabError`."""
    parser = Parser("fedlab compare", description=__doc__.partition(": ")[2])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the folder of a run, or a folder of runs, such as a sweep")
    parser.add_argument("--html", metavar="FILE", type=pathlib.Path, help="also writes a page with the curves")
    args = parser.parse(argv)
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
    """A column per group where they fit; else a row per group, with the first few figures."""
    if not comparison.keys:
        print(f"Nothing differs but the seed: {', '.join(map(str, comparison.groups[0].seeds))}.\n")
    if len(comparison.groups) <= _MAX_COLUMNS:
        _print_columns(comparison)
    else:
        _print_rows(comparison)
    for remark in comparison.remarks:
        print(f"note: {remark}")


def _print_columns(comparison: Comparison) -> None:
    groups = comparison.groups
    heads = [str(i) for i in range(1, len(groups) + 1)]
    if comparison.keys:
        print_table(["setting", *heads], [[key, *values] for key, values in difference_rows(comparison)], heads, "What differs")
        print()
    rows = [["runs", *(str(len(g.runs)) for g in groups)], ["seeds", *(" ".join(map(str, g.seeds)) for g in groups)]]
    rows += [[words.metric_label(name), *(_text(g, name) for g in groups)] for name in comparison.metrics]
    print_table(["figure", *heads], rows, heads, _TITLE)


def _print_rows(comparison: Comparison) -> None:
    metrics = comparison.metrics[:_MAX_METRICS]
    keys = list(dict.fromkeys(key for group in comparison.groups for key in group.marks))
    numeric = [*keys, "runs", *map(words.metric_label, metrics)]
    rows = [
        [str(i), *(g.marks.get(key, words.NONE) for key in keys), str(len(g.runs)), *(_text(g, name) for name in metrics)]
        for i, g in enumerate(comparison.groups, 1)
    ]
    print_table(["", *numeric], rows, numeric, _TITLE)


def _text(group: Group, name: str) -> str:
    return group.metrics[name].text(name) if name in group.metrics else words.NONE
