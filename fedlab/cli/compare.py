"""`fedlab compare A B …`: where runs differ, and what came of it. Runs that differ in their seed alone count as one."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

from fedlab.archive.folder import relative
from fedlab.archive.reading import without_inventory
from fedlab.cli.output import writable
from fedlab.cli.parsing import Parser
from fedlab.cli.tables import print_table
from fedlab.report import words
from fedlab.report.comparison import Comparison, Group, compare, difference_rows, gather

_TITLE = "Final metrics, mean ± standard deviation over seeds"
_MAX_COLUMNS = 4
_MAX_METRICS = 4


def main(argv: Sequence[str]) -> int:
    """Returns the exit code, 1 where runs below a folder are broken; raises `FedlabError`."""
    parser = Parser("fedlab compare", description=__doc__.partition(": ")[2])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the folder of a run, or a folder of runs, such as a sweep")
    parser.add_argument("--all", action="store_true", help="every setting that differs and every metric, also of many groups")
    parser.add_argument("--html", metavar="FILE", type=pathlib.Path, help="also writes a page with the curves")
    args = parser.parse(argv)
    html = writable("--html", args.html)
    runs, broken = gather(args.runs)
    for error in broken:
        print(f"fedlab compare: left out: {error}", file=sys.stderr)
    if old := without_inventory(runs):
        print(f"fedlab compare: {old}.", file=sys.stderr)
    comparison = compare(runs)
    _print(comparison, args.all)
    if html:
        from fedlab.report.comparison_page import write_comparison

        print(f"\npage in {relative(write_comparison(comparison, html))}")
    return 1 if broken else 0


def _print(comparison: Comparison, everything: bool) -> None:
    """A column per group where they are few or all is asked for; else a row per group, and what these rows leave out."""
    groups = range(len(comparison.groups))
    if not comparison.keys:
        print(f"Nothing differs but the seed: {', '.join(map(str, comparison.groups[0].seeds))}.\n")
    if len(groups) <= _MAX_COLUMNS or everything:
        for i, group in enumerate(comparison.groups, 1) if comparison.keys else ():
            print(f"{i}: {group.label}")
        for start in groups[::_MAX_COLUMNS]:
            print()
            _print_columns(comparison, groups[start : start + _MAX_COLUMNS])
    else:
        _print_rows(comparison)
    for remark in comparison.remarks:
        print(f"note: {remark}")


def _print_columns(comparison: Comparison, chosen: Sequence[int]) -> None:
    """`chosen`: the groups, counted from 0."""
    groups = [comparison.groups[i] for i in chosen]
    heads = [str(i + 1) for i in chosen]
    if comparison.keys:
        rows = [[key, *(values[i] for i in chosen)] for key, values in difference_rows(comparison)]
        print_table(["setting", *heads], rows, heads, "What differs")
        print()
    rows = [["runs", *(str(len(g.runs)) for g in groups)], ["seeds", *(" ".join(map(str, g.seeds)) for g in groups)]]
    rows += [[words.metric_label(name), *(_text(g, name) for g in groups)] for name in comparison.metrics]
    print_table(["metric", *heads], rows, heads, _TITLE)


def _print_rows(comparison: Comparison) -> None:
    metrics = comparison.metrics[:_MAX_METRICS]
    keys = list(dict.fromkeys(key for group in comparison.groups for key in group.marks))
    numeric = [*keys, "runs", *map(words.metric_label, metrics)]
    rows = [
        [str(i), *(g.marks.get(key, words.NONE) for key in keys), str(len(g.runs)), *(_text(g, name) for name in metrics)]
        for i, g in enumerate(comparison.groups, 1)
    ]
    print_table(["group", *numeric], rows, numeric, _TITLE)
    hidden = [key for key, _ in difference_rows(comparison) if key not in keys]
    left_out = [words.metric_label(name) for name in comparison.metrics[_MAX_METRICS:]]
    parts = [f"{words.counted(len(left_out), 'metric')} ({', '.join(left_out)})"] if left_out else []
    parts += [f"{words.counted(len(hidden), 'setting')} ({', '.join(hidden)})"] if hidden else []
    if parts:
        print(f"left out: {' and '.join(parts)}. fedlab compare --all shows everything.")


def _text(group: Group, name: str) -> str:
    return group.metrics[name].text(name) if name in group.metrics else words.NONE
