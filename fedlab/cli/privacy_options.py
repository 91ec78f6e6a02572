"""The options of `fedlab privacy`: their check, and the accounts that they describe. Imports no accounting at its top."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fedlab.errors import ConfigError

if TYPE_CHECKING:
    from fedlab.privacy.estimate import AccountOf

_OF_USERS, _OF_EXAMPLES, _OF_TREES = ("cohort",), ("batch", "epochs"), ("participations", "separation", "restart_every")
_SAMPLINGS = {"population": ("poisson", "fixed", "all", "tree"), "examples": ("poisson", "shuffled")}
SAMPLINGS = tuple(dict.fromkeys(name for names in _SAMPLINGS.values() for name in names))


def check(args: argparse.Namespace) -> None:
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


def accounts(args: argparse.Namespace) -> AccountOf:
    """Returns the privacy account for each noise multiplier."""
    from fedlab.privacy import estimate

    if args.examples:
        return estimate.of_examples(args.examples, args.batch, args.epochs, args.sampling)
    if args.sampling == "tree":
        tree = (args.participations, args.separation or 0, args.restart_every or 0)
        return estimate.of_tree(args.population, args.cohort, args.rounds, *tree)
    return estimate.of_users(args.population, args.cohort, args.sampling)
