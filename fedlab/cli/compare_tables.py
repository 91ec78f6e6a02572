"""The tables of `fedlab compare`."""

from __future__ import annotations

from collections.abc import Sequence

from fedlab.console.tables import print_table
from fedlab.errors import printable
from fedlab.report import words
from fedlab.report.comparison import Comparison, Group, difference_rows

_TITLE = "Final metrics, mean ± standard deviation over seeds"
_MAX_COLUMNS = 4
_MAX_METRICS = 4


def print_comparison(comparison: Comparison, everything: bool) -> None:
    """Prints a column per group if there are few groups or --all is given; else a row per group, and a list of omissions."""
    groups = range(len(comparison.groups))
    if not comparison.keys:
        print(f"Nothing differs but the seed: {', '.join(map(str, comparison.groups[0].seeds))}.\n")
    if len(groups) <= _MAX_COLUMNS or everything:
        for i, group in enumerate(comparison.groups, 1) if comparison.keys else ():
            print(f"{i}: {printable(group.label)}")
        for start in groups[::_MAX_COLUMNS]:
            print()
            _print_columns(comparison, groups[start : start + _MAX_COLUMNS])
    else:
        _print_rows(comparison)
    if comparison.best:
        print(f"{printable(comparison.best)}.")
    for remark in comparison.remarks:
        print(f"note: {printable(remark)}")


def _print_columns(comparison: Comparison, chosen: Sequence[int]) -> None:
    """Prints one column per group. `chosen`: indices of groups, from 0."""
    groups = [comparison.groups[i] for i in chosen]
    heads = [str(i + 1) for i in chosen]
    if comparison.keys:
        rows = [[key, *(values[i] for i in chosen)] for key, values in difference_rows(comparison)]
        print_table(["setting", *heads], rows, heads, "What differs")
        print()
    rows = [["runs", *(str(len(g.runs)) for g in groups)], ["seeds", *(" ".join(map(str, g.seeds)) for g in groups)]]
    rows += [[words.task_label(name, comparison.task), *(_text(g, name) for g in groups)] for name in comparison.metrics]
    print_table(["metric", *heads], rows, heads, _TITLE)


def _print_rows(comparison: Comparison) -> None:
    metrics = comparison.metrics[:_MAX_METRICS]
    keys = list(dict.fromkeys(key for group in comparison.groups for key in group.marks))
    numeric = [*keys, "runs", *(words.task_label(name, comparison.task) for name in metrics)]
    rows = [
        [str(i), *(g.marks.get(key, words.NONE) for key in keys), str(len(g.runs)), *(_text(g, name) for name in metrics)]
        for i, g in enumerate(comparison.groups, 1)
    ]
    print_table(["group", *numeric], rows, numeric, _TITLE)
    hidden = [key for key, _ in difference_rows(comparison) if key not in keys]
    left_out = [words.task_label(name, comparison.task) for name in comparison.metrics[_MAX_METRICS:]]
    parts = [f"{words.counted(len(left_out), 'metric')} ({'; '.join(left_out)})"] if left_out else []
    parts += [f"{words.counted(len(hidden), 'setting')} ({'; '.join(hidden)})"] if hidden else []
    if parts:
        print(f"left out: {printable(' and '.join(parts))}. fedlab compare --all shows everything.")


def _text(group: Group, name: str) -> str:
    return group.metrics[name].text(name) if name in group.metrics else words.NONE
