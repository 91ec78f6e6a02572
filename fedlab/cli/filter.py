"""`fedlab data filter RUN`: writes a file of users, or of examples, chosen by how a run's classifier does on them."""

from __future__ import annotations

import argparse
import pathlib
import shlex
from collections.abc import Sequence
from typing import Any

from fedlab.cli import judging
from fedlab.cli.judging import Subject
from fedlab.cli.output import writable
from fedlab.cli.parsing import Parser
from fedlab.errors import ConfigError, DataError


def filter_data(argv: Sequence[str]) -> int:
    """Returns the exit code; raises `FedlabError`."""
    from fedlab.filter import Threshold

    parser = Parser(
        "fedlab data filter",
        description="Writes a filter file for filter=users or filter=examples, and beside it, in .json, what it was made from.",
        epilog="example: fedlab data filter outputs/RUN corruption=inversion --by user --below p25 --out low.csv",
    )
    judging.add_arguments(parser)
    parser.add_argument("--by", choices=("user", "example"), required=True, help="whole users, or some of their examples")
    parser.add_argument("--below", metavar="A", help="by user: of an accuracy below A; p25: up to the users' 25th percentile")
    parser.add_argument("--above", metavar="A", help="by user: of an accuracy of A or above")
    parser.add_argument("--wrong", action="store_true", help="by example: those that are classified wrongly")
    parser.add_argument("--right", action="store_true", help="by example: those that are classified rightly")
    parser.add_argument("--min-examples", metavar="N", type=int, help="by example: leaves out users with fewer such (default: 5)")
    parser.add_argument("--out", metavar="FILE", type=pathlib.Path, help="the file (default: named for what is kept)")
    args = parser.parse(argv)
    by_user = args.by == "user"
    _check(args, by_user)
    side = ("below" if args.below else "above") if by_user else ("wrong" if args.wrong else "right")
    try:
        threshold = Threshold.parse(args.below or args.above) if by_user else None
    except ValueError as error:
        raise ConfigError(f"--{side}: {error}.") from None
    out = args.out or pathlib.Path(f"{args.by}s_{side}{f'_{args.below or args.above}' if by_user else ''}.csv")
    writable("--out", out)
    if out.suffix != ".csv":
        raise ConfigError(f"--out {out}: a filter file ends in .csv; what it was made from goes beside it, in .json.")
    tried = judging.subject(args)
    command = shlex.join(["fedlab", "data", "filter", *argv])
    if by_user:
        line = write_by_user(tried, threshold, bool(args.below), out, command)
    else:
        line = write_by_example(tried, args.wrong, 5 if args.min_examples is None else args.min_examples, out, command)
    print(line)
    print(f"to train on them: fedlab train filter={args.by}s filter.path={out} … with the same data, corruption and seed")
    return 0


def _check(args: argparse.Namespace, by_user: bool) -> None:
    """Raises `ConfigError` for flags that do not go together."""
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


def write_by_user(tried: Subject, threshold: Any, below: bool, out: pathlib.Path, command: str) -> str:
    """Writes the users on one side of `threshold`; says how many they are. Raises `DataError` where they are none."""
    from fedlab.filter import select_users, write_users

    accuracies, population = tried.judged.accuracies, tried.population
    accuracy = threshold.accuracy(accuracies)
    chosen = [population.partition.client_ids[i] for i in select_users(accuracies, threshold, below)]
    side = ("at most" if threshold.is_percentile else "below") if below else "at least"
    selection = f"users of accuracy {side} {accuracy:.4g}"
    _require(chosen, selection, f"the users' accuracies reach from {accuracies.min():.4g} to {accuracies.max():.4g}")
    users = {user: population.affected.get(user, False) for user in chosen}
    write_users(out, users, _provenance(tried, selection, accuracy, command))
    return f"{out}: {len(users):,} of {len(accuracies):,} {selection}"


def write_by_example(tried: Subject, wrong: bool, min_examples: int, out: pathlib.Path, command: str) -> str:
    """Writes the examples that are classified wrongly, or rightly, and in NAME.clients.csv whose they are.

    Says how many they are. Raises `DataError` where they are none.
    """
    from fedlab.filter import select_examples, write_examples, write_users

    population = tried.population
    chosen = select_examples(tried.judged.correct, population.partition, wrong, min_examples)
    kind = "wrongly" if wrong else "rightly"
    selection = f"examples classified {kind}, of users with at least {min_examples} such"
    _require(chosen, selection, "lower --min-examples")
    provenance = _provenance(tried, selection, None, command)
    users = {user: population.affected.get(user, False) for user in chosen}
    write_users(out.with_suffix(".clients.csv"), users, provenance)  # the original reads both
    write_examples(out, {user: places.tolist() for user, places in chosen.items()}, provenance)
    count, total = sum(map(len, chosen.values())), len(population.partition)
    return f"{out}: {count:,} {selection}: {len(chosen):,} of {total:,}"


def _require(chosen: Any, selection: str, hint: str) -> None:
    if not len(chosen):
        raise DataError(f"there are no {selection}: {hint}.")


def _provenance(tried: Subject, selection: str, threshold: float | None, command: str) -> Any:
    from fedlab.filter import Provenance
    from fedlab.run.fingerprint import fingerprints

    data, clients = fingerprints(tried.population.dataset, tried.population.partition)
    return Provenance(data, clients, tried.sha256, selection, threshold, command)
