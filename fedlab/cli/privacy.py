"""`fedlab privacy`: what noise earns, and how much of it a target takes, before anything is trained.

Whole users are protected by noise on the sum of their updates (--population), single examples by noise on the gradients that
their owner trains with (--examples). What encryption costs instead: fedlab privacy he-cost --help.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fedlab.cli.parsing import Parser
from fedlab.errors import ConfigError
from fedlab.report.composition import ALONE

if TYPE_CHECKING:
    from fedlab.privacy.accounting import Ledger, Spending
    from fedlab.privacy.accounts import Account

EPILOG = """\
examples:
  fedlab privacy --population 100000 --cohort 1000 --rounds 500 --noise 1.0 --table
  fedlab privacy --population 100000 --cohort 1000 --rounds 500 --epsilon 2 --delta 1e-6
  fedlab privacy --population 100000 --cohort 1000 --rounds 500 --noise 4 --sampling tree --participations 5 --separation 99
  fedlab privacy --examples 60000 --batch 256 --epochs 60 --noise 1.1 --delta 1e-5"""

OF_USERS, OF_EXAMPLES, OF_TREES = ("cohort",), ("batch", "epochs"), ("participations", "separation", "restart_every")
SAMPLINGS = {"population": ("poisson", "fixed", "all", "tree"), "examples": ("poisson", "shuffled")}


def main(argv: Sequence[str]) -> int:
    """Prints ε, or the noise. Returns the exit code; raises `ConfigError`."""
    if argv and argv[0] == "he-cost":
        from fedlab.cli import he_cost

        return he_cost.main(argv[1:])
    args = _parse(argv)
    from fedlab.privacy.accounting import Ledger
    from fedlab.privacy.calibration import noise_for
    from fedlab.privacy.plan import default_delta

    account_of, size = _account_of(args), args.population or args.examples
    if args.delta is None and size == 1:
        raise ConfigError("--delta is by default 1 / N^1.1, which for N = 1 is 1: give --delta.")
    delta = args.delta or default_delta(size)
    noise = args.noise
    if noise is None:
        noise = noise_for(args.epsilon, delta, args.rounds, account_of, name="--epsilon")
    ledger = Ledger(account_of(noise), delta, args.rounds)
    total = ledger.spent(args.rounds)
    table = [ledger.spent(r) for r in _milestones(args.rounds)] if args.table else []
    if args.json:
        report = {"noise_multiplier": noise, "population" if args.population else "examples": size, **total.as_dict()}
        rows = {"table": [row.as_dict() for row in table]} if table else {}
        print(json.dumps({**report, "covers": ALONE, **rows}, indent=2, ensure_ascii=False))
    else:
        print("\n".join([*_lines(total, noise, size), *_table(table)]))
    if args.png:
        _plot(ledger, args, noise)
    return 0


def _number(kind: Callable[[str], Any], allowed: Callable[[Any], bool], words: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text.replace("_", "") if kind is int else text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and allowed(value)):
            raise argparse.ArgumentTypeError(f"'{text}' is not {words}")
        return value

    return parse


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    count = _number(int, lambda n: n >= 1, "a whole number of at least 1")
    parser = Parser("fedlab privacy", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter)
    users, examples, both = (parser.add_argument_group(t) for t in ("whole users", "single examples", "both"))
    users.add_argument("--population", metavar="N", type=count, help="users there are")
    users.add_argument("--cohort", metavar="M", type=count, help="users in a round; with --sampling poisson, on average")
    tree = "with --sampling tree: "
    users.add_argument("--participations", metavar="K", type=count, help=tree + "the most rounds that a user takes part in")
    apart = _number(int, lambda n: n >= 0, "a whole number of at least 0")
    users.add_argument("--separation", metavar="S", type=apart, help=tree + "the least number of rounds between two of them")
    users.add_argument("--restart-every", metavar="R", type=count, help=tree + "rounds until a new tree")
    examples.add_argument("--examples", metavar="N", type=count, help="examples of one client, or of a central data set")
    examples.add_argument("--batch", metavar="B", type=count, help="examples in a batch")
    examples.add_argument("--epochs", metavar="E", type=count, help="epochs, of each round that the client takes part in")
    both.add_argument("--rounds", metavar="T", type=count, help="rounds; 1 by default with --examples")
    level = _number(float, lambda z: z >= 0, "a number of at least 0")
    both.add_argument("--noise", metavar="Z", type=level, help="noise multiplier: standard deviation / clip norm")
    positive = _number(float, lambda e: e > 0, "a number above 0")
    both.add_argument("--epsilon", metavar="E", type=positive, help="instead: find the noise that spends this")
    share = _number(float, lambda d: 0 < d < 1, "a number between 0 and 1")
    both.add_argument("--delta", metavar="D", type=share, help="by default 1 / N^1.1")
    names = list(dict.fromkeys(name for group in SAMPLINGS.values() for name in group))
    both.add_argument(
        "--sampling",
        choices=names,
        default="poisson",
        help="poisson: each by itself (default); of users also fixed: cohorts of M, all: everyone in each round,\n"
        "tree: any, with noise from a tree (DP-FTRL); of examples also shuffled: each once an epoch, as fedlab's\n"
        "clients visit them",
    )
    both.add_argument("--table", action="store_true", help="also ε after fewer rounds")
    both.add_argument("--png", metavar="FILE", type=pathlib.Path, help="also a picture of ε over the rounds")
    both.add_argument("--json", action="store_true", help='print JSON; an infinite ε is "inf"')
    args = parser.parse(argv)
    _check(args)
    return args


def _check(args: argparse.Namespace) -> None:
    """Refuses what is missing, and what would have no effect."""
    given = {name for name in ("population", "examples") if getattr(args, name) is not None}
    if len(given) != 1:
        raise ConfigError("whose privacy? Give either --population (users) or --examples. See fedlab privacy --help.")
    if (args.noise is None) == (args.epsilon is None):
        raise ConfigError("give either --noise, to learn ε, or --epsilon, to learn the noise.")
    [unit] = given
    if args.sampling not in SAMPLINGS[unit]:
        raise ConfigError(f"--sampling {args.sampling} is not for --{unit}, which takes {', '.join(SAMPLINGS[unit])}.")
    needed = ["rounds", *(OF_USERS if args.sampling != "all" else ())] if unit == "population" else list(OF_EXAMPLES)
    useless = [*(OF_EXAMPLES if unit == "population" else OF_USERS), *(OF_TREES if args.sampling != "tree" else ())]
    for name in needed:
        if getattr(args, name) is None:
            raise ConfigError(f"--{unit} needs --{name} too.")
    for name in useless:
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')} means nothing with --{unit} and --sampling {args.sampling}.")
    if args.sampling == "all" and args.cohort not in (None, args.population):
        raise ConfigError(f"--sampling all takes everyone: leave out --cohort {args.cohort}.")
    if args.population and args.cohort and args.cohort > args.population:
        raise ConfigError(f"--cohort {args.cohort} exceeds --population {args.population}.")
    if args.png and not args.png.absolute().parent.is_dir():
        raise ConfigError(f"--png {args.png}: there is no folder {args.png.parent}.")
    args.rounds = args.rounds or 1


def _account_of(args: argparse.Namespace) -> Callable[[float], Account]:
    """Noise multiplier → what is accounted."""
    from fedlab.privacy import Everyone, FixedSize, Poisson, Schedule, accounts, examples

    if args.examples:
        return lambda noise: examples.local_dp_sgd(noise, args.examples, args.batch, args.epochs, args.sampling)
    if args.sampling == "tree":
        schedule = Schedule(args.population, args.cohort, args.participations, args.separation or 0)
        return lambda noise: accounts.tree(noise, schedule, args.restart_every or 0)
    if args.sampling == "all":
        return lambda noise: accounts.gaussian(noise, Everyone(args.population))
    if args.sampling == "fixed":
        return lambda noise: accounts.gaussian(noise, FixedSize(args.population, args.cohort))
    return lambda noise: accounts.gaussian(noise, Poisson(args.population, args.cohort / args.population))


def _milestones(rounds: int) -> list[int]:
    """1, 2, 5, 10, … and the last."""
    steps = (m * 10**k for k in range(len(str(rounds))) for m in (1, 2, 5))
    return [*(r for r in steps if r < rounds), rounds]


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
        notes.append(f"δ is not below 1 / {size:,}: it allows for laying one {total.unit} open")
    return lines + [f"  note        {note}" for note in notes]


def _table(rows: Sequence[Spending]) -> list[str]:
    from fedlab.privacy.accounting import rounded_up

    cells: list[tuple[str, ...]] = [("rounds", "ε", "RDP", "PLD")] if rows else []
    cells += [(f"{r.rounds:,}", *(rounded_up(e) for e in (r.epsilon, r.epsilon_rdp, r.epsilon_pld))) for r in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(4)] if rows else []
    return ["", *("  ".join(cell.rjust(w) for cell, w in zip(row, widths)) for row in cells)] if rows else []


def _plot(ledger: Ledger, args: argparse.Namespace, noise: float) -> None:
    from fedlab.report.privacy_plot import plot_privacy

    steps = min(args.rounds, 24)
    rounds = [-(-args.rounds * (i + 1) // steps) for i in range(steps)]
    spent = [ledger.spent(r) for r in rounds]
    by_pld: list[float] | None = [s.epsilon_pld for s in spent if s.epsilon_pld is not None]
    title = f"{spent[0].unit}-level privacy at δ = {ledger.delta:.4g}, noise multiplier {noise:.4g}"
    plot_privacy(rounds, [s.epsilon_rdp for s in spent], by_pld if by_pld and len(by_pld) == steps else None, args.png, title)
    if not args.json:
        print(f"picture in {args.png}")
