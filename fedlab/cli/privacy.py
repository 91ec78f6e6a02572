"""`fedlab privacy`: computes ε for a noise level, or the noise for a target ε, before anything is trained."""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedlab.composition import ALONE
from fedlab.console.output import writable
from fedlab.console.parsing import Parser, number, whole_number
from fedlab.errors import ConfigError

if TYPE_CHECKING:
    from fedlab.privacy.accounting import Spending
    from fedlab.privacy.estimate import AccountOf, Estimate

_DESCRIPTION = """\
Computes ε for a noise level, or the noise for a target ε, before anything is trained. Whole users are protected by noise on the
sum of their updates (--population), single examples by noise on the gradients of their client (--examples). For the cost of
encryption: fedlab privacy he-cost --help."""
_EPILOG = """\
examples:
  fedlab privacy --population 100000 --cohort 1000 --rounds 500 --noise 1.0 --table
  fedlab privacy --population 100000 --cohort 1000 --rounds 500 --epsilon 2 --delta 1e-6
  fedlab privacy --population 100000 --cohort 1000 --rounds 500 --noise 4 --sampling tree --participations 5 --separation 99
  fedlab privacy --examples 60000 --batch 256 --epochs 60 --noise 1.1 --delta 1e-5"""

_OF_USERS, _OF_EXAMPLES, _OF_TREES = ("cohort",), ("batch", "epochs"), ("participations", "separation", "restart_every")
_SAMPLINGS = {"population": ("poisson", "fixed", "all", "tree"), "examples": ("poisson", "shuffled")}


def parser() -> Parser:
    """Returns the parser."""
    made = Parser("fedlab privacy", description=_DESCRIPTION, epilog=_EPILOG)
    users, examples, both = (made.add_argument_group(t) for t in ("whole users", "single examples", "both"))
    count, tree = whole_number(1), "with --sampling tree: "
    users.add_argument("--population", metavar="N", type=count, help="number of users")
    users.add_argument("--cohort", metavar="M", type=count, help="users in a round; with --sampling poisson, on average")
    users.add_argument("--participations", metavar="K", type=count, help=tree + "the most rounds that a user takes part in")
    apart = whole_number(0)
    users.add_argument("--separation", metavar="S", type=apart, help=tree + "the least number of rounds between two of them")
    users.add_argument("--restart-every", metavar="R", type=count, help=tree + "rounds until a new tree")
    examples.add_argument("--examples", metavar="N", type=count, help="examples of one client, or of a central data set")
    examples.add_argument("--batch", metavar="B", type=count, help="examples in a batch")
    examples.add_argument("--epochs", metavar="E", type=count, help="epochs, of each round that the client takes part in")
    both.add_argument("--rounds", metavar="T", type=count, help="number of rounds (default with --examples: 1)")
    level = number(lambda z: z >= 0, "a number of at least 0")
    both.add_argument("--noise", metavar="Z", type=level, help="noise multiplier: standard deviation / clip norm")
    positive = number(lambda e: e > 0, "a number above 0")
    both.add_argument("--epsilon", metavar="E", type=positive, help="instead of --noise: compute the noise for this ε")
    share = number(lambda d: 0 < d < 1, "a number between 0 and 1")
    both.add_argument("--delta", metavar="D", type=share, help="δ of the guarantee (default: 1 / N^1.1)")
    both.add_argument(
        "--sampling",
        choices=list(dict.fromkeys(name for names in _SAMPLINGS.values() for name in names)),
        default="poisson",
        help="poisson: each independently (default); of users also fixed: cohorts of M, all: everyone in each round, tree: any, "
        "with noise from a tree (DP-FTRL); of examples also shuffled: each once an epoch, as fedlab's clients visit them",
    )
    both.add_argument("--table", action="store_true", help="also print ε after fewer rounds")
    both.add_argument("--png", metavar="FILE", type=pathlib.Path, help="also write a picture of ε over the rounds")
    both.add_argument("--json", action="store_true", help='print JSON; an infinite ε is "inf"')
    return made


def main(argv: Sequence[str]) -> int:
    """Prints ε, or the noise multiplier. Returns the exit code; raises `ConfigError`."""
    args = parser().parse(argv)
    _check(args)
    png = writable("--png", args.png)
    from fedlab.privacy.estimate import estimate

    size = args.population or args.examples
    found = estimate(_accounts(args), size, args.rounds or 1, args.noise, args.epsilon, args.delta)
    total, table = found.total, found.table() if args.table else []
    if args.json:
        unit, rows = "population" if args.population else "examples", [row.as_dict() for row in table]
        report = {"noise_multiplier": found.noise_multiplier, unit: size, **total.as_dict(), "covers": ALONE}
        print(json.dumps({**report, **({"table": rows} if rows else {})}, indent=2, ensure_ascii=False))
    else:
        print("\n".join([*_lines(total, found.noise_multiplier, size), *_table(table)]))
    if png:
        _plot(found, png)
        if not args.json:
            print(f"picture in {png}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raises `ConfigError` for a missing option, and for an option without effect."""
    given = {name for name in ("population", "examples") if getattr(args, name) is not None}
    if len(given) != 1:
        raise ConfigError("give either --population, for users, or --examples. See fedlab privacy --help.")
    if (args.noise is None) == (args.epsilon is None):
        raise ConfigError("give either --noise, to compute ε, or --epsilon, to compute the noise.")
    [unit] = given
    if args.sampling not in _SAMPLINGS[unit]:
        raise ConfigError(f"--sampling {args.sampling} does not go with --{unit}, which takes {', '.join(_SAMPLINGS[unit])}.")
    needed = ["rounds", *(_OF_USERS if args.sampling != "all" else ())] if unit == "population" else list(_OF_EXAMPLES)
    useless = [*(_OF_EXAMPLES if unit == "population" else _OF_USERS), *(_OF_TREES if args.sampling != "tree" else ())]
    for name in needed:
        if getattr(args, name) is None:
            raise ConfigError(f"--{unit} needs --{name} too.")
    for name in useless:
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')} has no effect with --{unit} and --sampling {args.sampling}.")
    if args.sampling == "all" and args.cohort not in (None, args.population):
        raise ConfigError(f"--sampling all samples every user: leave out --cohort {args.cohort}.")
    if args.population and args.cohort and args.cohort > args.population:
        raise ConfigError(f"--cohort {args.cohort} exceeds --population {args.population}.")
    if args.delta is None and 1 in (args.population, args.examples):
        raise ConfigError("--delta is by default 1 / N^1.1, which for N = 1 is 1: give --delta.")


def _accounts(args: argparse.Namespace) -> AccountOf:
    """Returns the privacy account for each noise multiplier."""
    from fedlab.privacy import estimate

    if args.examples:
        return estimate.of_examples(args.examples, args.batch, args.epochs, args.sampling)
    if args.sampling == "tree":
        tree = (args.participations, args.separation or 0, args.restart_every or 0)
        return estimate.of_tree(args.population, args.cohort, args.rounds, *tree)
    return estimate.of_users(args.population, args.cohort, args.sampling)


def _lines(total: Spending, noise: float, size: int) -> list[str]:
    from fedlab.privacy.accounting import rounded_up

    after = f"{total.rounds:,} round{'s' * (total.rounds != 1)}"
    lines = [
        f"ε = {rounded_up(total.epsilon)} at δ = {total.delta:.4g} after {after}, noise multiplier {noise:.6g}",
        f"  RDP         {rounded_up(total.epsilon_rdp)}",
        f"  PLD         {'not available for this' if total.epsilon_pld is None else rounded_up(total.epsilon_pld)}",
        f"  unit        {total.unit}",
        f"  neighbours  {total.neighbours}",
        f"  sampling    {total.sampling}",
        f"  conversion  {total.conversion}",
    ]
    notes = [ALONE, *([f"ε is infinite: {total.reason}"] if total.reason else []), *total.notes]
    if total.delta * size >= 1:
        notes.append(f"δ is not below 1 / {size:,}: a mechanism with this δ may reveal one {total.unit} completely")
    return lines + [f"  note        {note}" for note in notes]


def _table(rows: Sequence[Spending]) -> list[str]:
    from fedlab.privacy.accounting import rounded_up

    cells: list[tuple[str, ...]] = [("rounds", "ε", "RDP", "PLD")] if rows else []
    cells += [(f"{r.rounds:,}", *(rounded_up(e) for e in (r.epsilon, r.epsilon_rdp, r.epsilon_pld))) for r in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(4)] if rows else []
    return ["", *("  ".join(cell.rjust(w) for cell, w in zip(row, widths)) for row in cells)] if rows else []


def _plot(found: Estimate, path: pathlib.Path) -> None:
    from fedlab.report.privacy_plot import plot_privacy

    spent, total = found.curve(), found.total
    by_pld = [s.epsilon_pld for s in spent if s.epsilon_pld is not None]
    title = f"{total.unit}-level privacy at δ = {total.delta:.4g}, noise multiplier {found.noise_multiplier:.4g}"
    rounds, by_rdp = [s.rounds for s in spent], [s.epsilon_rdp for s in spent]
    plot_privacy(rounds, by_rdp, by_pld if by_pld and len(by_pld) == len(spent) else None, path, title)
