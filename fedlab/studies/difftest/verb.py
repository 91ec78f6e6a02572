"""`fedlab difftest RUN_A RUN_B`: tests whether the models of two finished runs differ, client by client."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedlab.archive.folder import relative
from fedlab.console import trusting
from fedlab.console.output import writable
from fedlab.console.parsing import Parser, whole_number
from fedlab.errors import ConfigError

if TYPE_CHECKING:
    from fedlab.studies.difftest.options import Difftest

_EPILOG = """\
RUN may be RUN:ARM for an arm of a run. Each model gets the examples of the data stage of its own run.

exit codes: 0 equal, 4 different, 5 undecided; 1, 2 and 3 are errors, as for every verb. --tolerance 0 requires equal scores."""


def parser() -> Parser:
    """Returns the parser."""
    made = Parser(
        "fedlab difftest",
        description="Tests whether the models of two finished runs differ, client by client. The exit code is for CI.",
        epilog=_EPILOG,
    )
    made.add_argument("runs", nargs=2, metavar="RUN", help="the folder of a finished run; the first is the reference")
    made.add_argument(
        "--data",
        default="clients",
        metavar="clients|test|FILE.npz",
        help="every client's own examples (default), the test set, or x, y and optionally user_ids from a file",
    )
    trusting.add_argument(made)
    made.add_argument(
        "--tolerance", metavar="SHARE", help="share of a client's examples on which equal models may differ (default: 0.02)"
    )
    made.add_argument("--score-tolerance", metavar="P", help="scores that differ by at most P count as equal (default: 0.001)")
    made.add_argument("--alpha", metavar="P", help="probability of reporting a difference where there is none (default: 0.05)")
    made.add_argument("--bootstrap", metavar="N", help="number of resamples for each interval (default: 2000)")
    made.add_argument("--seed", type=whole_number(0), default=0, metavar="N", help="seed of the resampling (default: 0)")
    made.add_file("--csv", help="also write a row per client")
    made.add_file("--html", help="also write a page")
    return made


def main(argv: Sequence[str]) -> int:
    """Compares the runs; returns the exit code of the verdict. Raises `FedlabError`."""
    args = parser().parse(argv)
    csv, html = writable("--csv", args.csv), writable("--html", args.html)
    spec, (a, b) = _spec(args), _names(args.runs)
    from fedlab.studies.difftest.finished import compare_runs
    from fedlab.studies.difftest.record import write_differences
    from fedlab.studies.difftest.table import print_clients
    from fedlab.studies.difftest.verdict import EXIT_CODES

    differences, scores = compare_runs(args.runs, spec, args.data, args.seed)
    print_clients(differences)
    print(differences.told(a, b))
    if csv:
        write_differences(csv, differences.rows)
    if html:
        from fedlab.studies.difftest.page import write_difftest

        write_difftest(html, tuple(args.runs), (a, b), args.data, spec.model_dump(), differences.rows, scores)
        print(f"page in {relative(html)}")
    return EXIT_CODES[differences.verdict]


def _spec(args: argparse.Namespace) -> Difftest:
    """Returns the options as a `Difftest`, which validates them."""
    import pydantic

    from fedlab.studies.difftest.options import Difftest

    given = {name: getattr(args, name) for name in ("tolerance", "score_tolerance", "alpha", "bootstrap")}
    try:
        return Difftest(**{name: value for name, value in given.items() if value is not None})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        flag = f"--{str(first['loc'][0]).replace('_', '-')}"
        raise ConfigError(f"{flag} {first['input']}: {first['msg'][0].lower()}{first['msg'][1:]}.") from error


def _names(paths: Sequence[str]) -> tuple[str, str]:
    """Returns the shortest names that distinguish the two runs."""
    short = [pathlib.Path(path).name or path for path in paths]
    return (short[0], short[1]) if short[0] != short[1] else (paths[0], paths[1])
