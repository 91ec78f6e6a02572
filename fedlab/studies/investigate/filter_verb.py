"""`fedlab data filter RUN`: writes a file of users, or of examples, chosen by the accuracy of a run's classifier on them."""

from __future__ import annotations

import argparse
import pathlib
import shlex
from collections.abc import Sequence

from fedlab.console.output import writable
from fedlab.console.parsing import Parser
from fedlab.errors import ConfigError
from fedlab.studies.investigate.subject_parser import subject_parser, tested


def parser() -> Parser:
    """Returns the parser."""
    made = subject_parser(
        "fedlab data filter",
        "Writes a filter file for filter=users or filter=examples, and a .json file that describes its source.",
        "outputs/RUN corruption=inversion --by user --below p25 --out low.csv",
    )
    made.add_argument("--by", choices=("user", "example"), required=True, help="whole users, or some of their examples")
    made.add_argument("--below", metavar="A", help="by user: users with an accuracy below A; p25: at most the 25th percentile")
    made.add_argument("--above", metavar="A", help="by user: users with an accuracy of at least A")
    made.add_argument("--wrong", action="store_true", help="by example: misclassified examples")
    made.add_argument("--right", action="store_true", help="by example: correctly classified examples")
    made.add_argument(
        "--min-examples", metavar="N", type=int, help="by example: leave out users with fewer such examples (default: 5)"
    )
    made.add_file("--out", help="the file (default: a name made from the other options)")
    return made


def main(argv: Sequence[str]) -> int:
    """Writes the file; returns the exit code. Raises `FedlabError`."""
    args = parser().parse(argv)
    by_user, bound = args.by == "user", args.below or args.above
    _check(args, by_user)
    from fedlab.filter import Threshold
    from fedlab.studies.investigate.filtering import DEFAULT_MIN_EXAMPLES, write_by_example, write_by_user

    side = ("below" if args.below else "above") if by_user else ("wrong" if args.wrong else "right")
    try:
        threshold = Threshold.parse(bound) if by_user else None
    except ValueError as error:
        raise ConfigError(f"--{side}: {error}.") from None
    out = args.out or pathlib.Path(f"{args.by}s_{side}{f'_{bound}' if by_user else ''}.csv")
    writable("--out", out)
    if out.suffix != ".csv":
        raise ConfigError(f"--out {out}: a filter file ends in .csv; the .json file of the same name describes its source.")
    subject, command = tested(args), shlex.join(["fedlab", "data", "filter", *argv])
    if threshold is not None:
        line = write_by_user(subject, threshold, bool(args.below), out, command)
    else:
        fewest = DEFAULT_MIN_EXAMPLES if args.min_examples is None else args.min_examples
        line = write_by_example(subject, args.wrong, fewest, out, command)
    print(line)
    print(f"to train on them: fedlab train filter={args.by}s filter.path={out} … with the same data, corruption and seed")
    return 0


def _check(args: argparse.Namespace, by_user: bool) -> None:
    """Raises `ConfigError` for flags that conflict."""
    mine, others = ("below", "above"), ("wrong", "right")
    if not by_user:
        mine, others = others, mine
    for flag in (*others, *(("min_examples",) if by_user else ())):
        if getattr(args, flag) not in (None, False):
            raise ConfigError(f"--{flag.replace('_', '-')} does not go with --by {args.by}: use --{mine[0]} or --{mine[1]}.")
    given = [flag for flag in mine if getattr(args, flag) not in (None, False)]
    if len(given) != 1:
        raise ConfigError(f"--by {args.by} takes one of --{mine[0]} and --{mine[1]}, got {' and '.join(given) or 'neither'}.")
    if args.min_examples is not None and args.min_examples < 1:
        raise ConfigError(f"--min-examples {args.min_examples}: must be at least 1.")
