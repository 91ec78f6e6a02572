"""`fedlab compare A B …`: compares the settings and results of runs. Runs that differ in their seed alone count as one."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fedlab.archive.folder import relative, write_text
from fedlab.archive.reading import without_inventory
from fedlab.console.output import writable
from fedlab.console.parsing import Parser
from fedlab.errors import ConfigError, printable

if TYPE_CHECKING:
    from fedlab.archive import Run


def parser() -> Parser:
    """Returns the parser."""
    made = Parser(
        "fedlab compare",
        description="Compares the settings and results of runs. Runs that differ in their seed alone count as one.",
    )
    made.add_argument("runs", nargs="+", metavar="RUN", help="the folder of a run, or a folder of runs, such as a sweep")
    made.add_argument("--all", action="store_true", help="every setting that differs and every metric, also of many groups")
    made.add_file("--html", help="also write a page with the curves")
    made.add_file("--csv", help="also write a table for programs: a row per group and metric")
    made.add_file(
        "--latex", help="also write a table for a paper: the best in bold, with a test of significance over equal seeds"
    )
    made.add_file("--markdown", help="also write the same table in Markdown")
    made.add_argument(
        "--metric",
        metavar="NAME",
        action="append",
        default=[],
        help="a column of these tables, such as bytes_up_total (default: test accuracy, loss, rounds to targets, ε)",
    )
    made.add_rounds_to()
    return made


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 1 if runs below a folder are broken. Raises `FedlabError`."""
    args = parser().parse(argv)
    from fedlab.cli.compare_tables import print_comparison
    from fedlab.report.comparison import compare, gather

    html = writable("--html", args.html)
    files = {kind: path for kind in ("csv", "latex", "markdown") if (path := writable(f"--{kind}", getattr(args, kind)))}
    outputs = [path for path in (html, *files.values()) if path]
    if len(set(outputs)) < len(outputs):
        raise ConfigError("--html, --csv, --latex and --markdown write a file each: name different files.")
    if args.metric and not files:
        raise ConfigError("--metric chooses the columns of --csv, --latex and --markdown: name one of these.")
    runs, broken = gather(args.runs)
    for error in broken:
        print(f"fedlab compare: left out: {printable(error)}", file=sys.stderr)
    if old := without_inventory(runs):
        print(f"fedlab compare: {printable(old)}.", file=sys.stderr)
    comparison = compare(runs, args.rounds_to)
    texts, left_out = _tables(runs, files, args.metric, args.rounds_to)
    print_comparison(comparison, args.all)
    if html:
        from fedlab.report.comparison_page import write_comparison

        print(f"\npage in {relative(write_comparison(comparison, html))}")
    for path, text in texts.items():
        print(f"table in {relative(write_text(path, text))}")
    for sentence in left_out:
        print(f"note: {printable(sentence)}")
    return 1 if broken else 0


def _tables(
    runs: Sequence[Run], files: Mapping[str, pathlib.Path], metrics: Sequence[str], targets: Sequence[float]
) -> tuple[dict[pathlib.Path, str], tuple[str, ...]]:
    """Returns the content of each file of `files`, by kind csv, latex or markdown, and sentences on runs that they leave out."""
    if not files:
        return {}, ()
    from fedlab.report.results import results
    from fedlab.report.results_text import FORMATS

    found = results(runs, metrics, targets)
    return {path: FORMATS[kind](found) for kind, path in files.items()}, found.left_out
