"""`fedlab compare A B …`: compares the settings and results of runs. Runs that differ in their seed alone count as one."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fedlab.archive.folder import relative
from fedlab.archive.reading import without_inventory
from fedlab.console.output import writable
from fedlab.console.parsing import Parser


def parser() -> Parser:
    """Returns the parser."""
    made = Parser(
        "fedlab compare",
        description="Compares the settings and results of runs. Runs that differ in their seed alone count as one.",
    )
    made.add_argument("runs", nargs="+", metavar="RUN", help="the folder of a run, or a folder of runs, such as a sweep")
    made.add_argument("--all", action="store_true", help="every setting that differs and every metric, also of many groups")
    made.add_file("--html", help="also write a page with the curves")
    made.add_rounds_to()
    return made


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 1 if runs below a folder are broken. Raises `FedlabError`."""
    args = parser().parse(argv)
    from fedlab.cli.compare_tables import print_comparison
    from fedlab.report.comparison import compare, gather

    html = writable("--html", args.html)
    runs, broken = gather(args.runs)
    for error in broken:
        print(f"fedlab compare: left out: {error}", file=sys.stderr)
    if old := without_inventory(runs):
        print(f"fedlab compare: {old}.", file=sys.stderr)
    comparison = compare(runs, args.rounds_to)
    print_comparison(comparison, args.all)
    if html:
        from fedlab.report.comparison_page import write_comparison

        print(f"\npage in {relative(write_comparison(comparison, html))}")
    return 1 if broken else 0
