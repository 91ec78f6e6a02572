"""`fedlab runs [DIR …] [KEY=VALUE …]`: lists the runs there are, newest last."""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Sequence

from fedlab.archive import Run, scan
from fedlab.archive.figures import REPLAYABLE
from fedlab.archive.reading import without_inventory
from fedlab.cli.parsing import Parser
from fedlab.cli.runs_table import COLUMNS, Listed, differences, filtered, listed, ordered
from fedlab.cli.tables import print_table
from fedlab.errors import ConfigError, FedlabError
from fedlab.report.composition import EACH_ALONE

_PLACES = ("outputs", "multirun")  # where `fedlab train` leaves runs


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0 also where there are no runs, 1 where some are broken, which are named. Raises `FedlabError`."""
    parser = Parser(
        "fedlab runs",
        description="Lists the runs there are, newest last.",
        epilog="KEY: status, name, or an option such as client_optimizer.learning_rate. The VALUE of a stage is the class or "
        "choice it has, such as aggregator=krum; name=mnist/* matches a pattern.",
    )
    parser.add_argument("words", nargs="*", metavar="DIR | KEY=VALUE", help="where to look (outputs and multirun), what to keep")
    parser.add_argument("--sort", metavar="KEY", default="started", help=f"{', '.join(COLUMNS)}, or an option")
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    parser.add_argument("--json", action="store_true", help="as a JSON array, with the whole configuration of each")
    args = parser.parse(argv)
    filters = [w for w in args.words if "=" in w and not pathlib.Path(w).is_dir()]
    roots = _roots([w for w in args.words if w not in filters])
    rows: list[Listed] = []
    runs: list[Run] = []
    broken: list[FedlabError] = []
    for found in (f for root in roots for f in scan(root)):
        if isinstance(found, FedlabError):
            broken.append(found)
        else:
            runs.append(found)
            rows += map(listed, found.each_arm())
    kept = ordered(filtered(rows, [_pair(f) for f in filters]), args.sort, args.reverse) if rows else []
    if args.json:
        print(json.dumps([row.as_json() for row in kept], indent=1))
    elif kept:
        _print(kept)
    elif rows:
        print(f"None of {len(rows)} runs has {' '.join(filters)}.")
    else:
        print(f"No runs {_below(roots)}: fedlab train +experiment=digits/fedavg makes one.")
    for error in broken:
        print(f"fedlab runs: left out: {error}", file=sys.stderr)
    if old := without_inventory(runs):
        print(f"fedlab runs: {old}.", file=sys.stderr)
    return 1 if broken else 0


def _roots(given: Sequence[str]) -> list[pathlib.Path]:
    """Raises `ConfigError` for a path that is no folder."""
    for path in given:
        if not pathlib.Path(path).is_dir():
            raise ConfigError(f"no folder {path}: name one that holds runs, or give a filter as key=value.")
    return [path for path in map(pathlib.Path, given or _PLACES) if path.is_dir()]


def _below(roots: Sequence[pathlib.Path]) -> str:
    return f"below {' or '.join(map(str, roots))}" if roots else "here"


def _pair(word: str) -> tuple[str, str]:
    key, _, value = word.lstrip("+").partition("=")
    return key, value


def _print(rows: Sequence[Listed]) -> None:
    """A column that no run fills is left out."""
    table: list[tuple[str, list[str], bool]] = []
    for name, column in COLUMNS.items():
        cells = [column.text(row) for row in rows]
        if any(cells):
            table.append((name, cells, column.numeric))
    if any(differing := differences(rows)):
        table.append(("differs", differing, False))
    names = [name for name, _, _ in table]
    numeric = [name for name, _, is_numeric in table if is_numeric]
    print_table(names, list(zip(*(cells for _, cells, _ in table))), numeric, clip=("name", "status", "started"))
    if "epsilon" in names:
        weak = f"; {REPLAYABLE}" if any(row.noise for row in rows) else ""
        print(f"fedlab runs: {EACH_ALONE}{weak}.", file=sys.stderr)  # the table is for other programs, too
