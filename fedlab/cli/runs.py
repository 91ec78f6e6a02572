"""`fedlab runs [DIR …] [KEY=VALUE …]`: lists runs, newest last."""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Sequence

from fedlab.archive.reading import PLACES
from fedlab.console.parsing import Parser
from fedlab.errors import ConfigError, printable

_COLUMNS = "run, name, status, rounds, accuracy, loss, score, epsilon, duration, started"


def parser() -> Parser:
    """Returns the parser."""
    made = Parser(
        "fedlab runs",
        description="Lists runs, the newest last.",
        epilog="KEY: status, name, or an option such as client_optimizer.learning_rate. The VALUE of a stage is its class or "
        "choice, such as aggregator=krum; name=mnist/* matches a pattern.",
    )
    made.add_argument(
        "words",
        nargs="*",
        default=[],
        metavar="DIR | KEY=VALUE",
        help=f"folders to search (default: {' and '.join(PLACES)}), and filters",
    )
    made.add_argument("--sort", metavar="KEY", default="started", help=f"{_COLUMNS}, or an option (default: started)")
    made.add_argument("--reverse", action="store_true", help="reverse the order")
    made.add_argument("--json", action="store_true", help="print a JSON array, with the whole configuration of each run")
    made.add_rounds_to()
    return made


def main(argv: Sequence[str]) -> int:
    """Lists runs and names broken ones. Returns the exit code: 1 if runs are broken, else 0. Raises `FedlabError`."""
    args = parser().parse(argv)
    from fedlab.cli.runs_table import print_runs
    from fedlab.report import listing

    filters = [w for w in args.words if "=" in w and not pathlib.Path(w).is_dir()]
    roots = _roots([w for w in args.words if w not in filters])
    found = listing.read(roots, [_pair(f) for f in filters], args.sort, args.reverse, args.rounds_to)
    if args.json:
        print(json.dumps([row.as_json() for row in found.rows], indent=1))
    elif found.rows:
        print_runs(found.rows)
    elif found.total:
        which = f"None of {found.total:,} runs has" if found.total > 1 else "The only run does not have"
        print(f"{which} {' '.join(filters)}.")
    else:
        where = f"below {' or '.join(map(str, roots))}" if roots else "here"
        print(f"No runs {where}: fedlab train +experiment=digits/fedavg starts one.")
    for line in [*(f"left out: {error}" for error in found.left_out), *([f"{found.remark}."] if found.remark else [])]:
        print(f"fedlab runs: {printable(line)}", file=sys.stderr)
    return 1 if found.broken else 0


def _roots(given: Sequence[str]) -> list[pathlib.Path]:
    """Returns the folders to search. Raises `ConfigError` for a path that is not a folder."""
    for path in given:
        if not pathlib.Path(path).is_dir():
            raise ConfigError(f"no folder {path}: name one that holds runs, or give a filter as key=value.")
    return [path for path in map(pathlib.Path, given or PLACES) if path.is_dir()]


def _pair(word: str) -> tuple[str, str]:
    """Returns the key and the value of a filter. Raises `ConfigError` for one without a key."""
    key, _, value = word.lstrip("+").partition("=")
    if not key:
        raise ConfigError(f"'{word}' has no key before the =: give a filter as key=value, such as status=finished.")
    return key, value
