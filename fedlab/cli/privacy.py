"""`fedlab privacy`: computes ε for a noise level, or the noise for a target ε, before anything is trained."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence

from fedlab.cli import privacy_options
from fedlab.console.output import writable
from fedlab.console.parsing import Parser, number, whole_number

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
        choices=privacy_options.SAMPLINGS,
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
    privacy_options.check(args)
    png = writable("--png", args.png)
    from fedlab.privacy import estimate_text
    from fedlab.privacy.estimate import estimate

    unit, size = ("population", args.population) if args.population else ("examples", args.examples)
    found = estimate(privacy_options.accounts(args), size, args.rounds or 1, args.noise, args.epsilon, args.delta)
    if args.json:
        print(json.dumps(estimate_text.as_json(found, unit, size, args.table), indent=2, ensure_ascii=False))
    else:
        print(estimate_text.as_text(found, size, args.table))
    if png:
        from fedlab.report.privacy_plot import plot_privacy

        plot_privacy(*found.bounds(), png, found.title)
        if not args.json:
            print(f"picture in {png}")
    return 0
