"""`fedlab reproduce NAME`: trains the runs of a scorecard and compares their figures with those of the paper."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedlab.console import trusting
from fedlab.console.output import writable
from fedlab.console.parsing import Parser, whole_number
from fedlab.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from fedlab.studies.reproduce.plan import ScorecardPlan

EXIT_CODE = 4  # if a row that was asked for has not passed


def parser() -> Parser:
    """Returns the parser."""
    made = Parser(
        "fedlab reproduce",
        description="Trains the runs of a scorecard (conf/reproduce/NAME.yaml), or computes figures without training, and "
        "compares each figure with that of the paper by a rule that the file states. Writes scorecard.html, scorecard.md and "
        "scorecard.json. The same command again continues, and repeats no run that has finished. Without a name, lists the "
        "scorecards. Exit code 0 if every row that was asked for passed, 4 if one did not, 2 for a mistake in the scorecard, "
        "which is found before any run.",
        epilog="example: fedlab reproduce mcmahan2017 --quick",
    )
    made.add_argument("names", nargs="*", default=[], metavar="NAME", help="the scorecards")
    made.add_argument("--all", action="store_true", help="run all scorecards, except experiments")
    made.add_argument("--row", metavar="ROW", action="append", default=[], help="run this row only; may be repeated")
    made.add_argument("--quick", action="store_true", help="run the quick rows instead of the full ones")
    made.add_argument("--out", metavar="FOLDER", type=pathlib.Path, help="the folder to write to (default: reproductions/NAME)")
    made.add_argument(
        "--jobs", metavar="N", type=whole_number(1), default=1, help="train N runs at a time, which share the cores (default: 1)"
    )
    made.add_config_dir()
    made.add_argument("-q", "--quiet", action="store_true", help="print the verdict only")
    trusting.add_argument(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Runs the scorecards; returns the exit code: 0 if every row that was asked for passed, 4 if not. Raises `FedlabError`."""
    args = parser().parse(argv)
    if args.names and args.all:
        raise ConfigError("--all runs all scorecards: leave the names out.")
    if args.row and args.quick:
        raise ConfigError("--row names the rows to run: leave --quick out.")
    if (args.row or args.out) and len(args.names) != 1:
        raise ConfigError(f"{'--row' if args.row else '--out'} goes with one scorecard: name it.")
    if args.out and not args.out.is_dir():
        writable("--out", args.out)
    if args.out and args.out.is_file():
        raise ConfigError(f"--out {args.out} is a file: name a folder.")
    from fedlab.studies.reproduce import scorecard

    names = list(dict.fromkeys(args.names))
    if args.all:
        cards = {name: scorecard.read(name, args.config_dir) for name in scorecard.names(args.config_dir)}
        names = [name for name, card in cards.items() if card.of_size(args.quick)]
    if not names:
        _print_list(args.config_dir)
        return 0
    from rich.console import Console

    from fedlab.studies.reproduce.library import command
    from fedlab.studies.reproduce.plan import plan

    commands = [command(name, args.quick, args.row, args.out, args.config_dir) for name in names]
    plans = [plan(n, c, args.quick, args.row, args.out, args.config_dir) for n, c in zip(names, commands)]
    results = [_run(planned, args.jobs, Console(quiet=args.quiet)) for planned in plans]
    return 0 if all(results) else EXIT_CODE


def completions(words: Sequence[str], flag: str | None, own: str | None) -> list[str]:
    """Returns the names of scorecards, and after --row the rows of those in `words`. `own`: a user's configuration folder."""
    from fedlab.studies.reproduce import experiments, scorecard

    if flag is None:
        return [*scorecard.names(own), experiments.NAME]
    if flag != "--row":
        return []
    known = [word for word in words if word in scorecard.names(own)]
    return [row for name in known for row in scorecard.read(name, own).rows]


def _run(planned: ScorecardPlan, jobs: int, console: Console) -> bool:
    """Runs one scorecard, with `jobs` runs at a time, and prints it; returns True if every row that was asked for has passed."""
    from fedlab.archive.folder import relative
    from fedlab.console.display import say
    from fedlab.console.tables import print_table
    from fedlab.report import words
    from fedlab.studies.reproduce import text
    from fedlab.studies.reproduce.results import FAILED
    from fedlab.studies.reproduce.running import reproduce

    counts = f"{words.counted(len(planned.asked), 'row')}, {words.counted(len(planned.todo), 'run')}"
    shown = f"{counts}, about {planned.card.minutes(planned.asked):,.3g} minutes on two cores"
    say(console, f"scorecard {planned.name}: {shown}")
    card = reproduce(planned, lambda line: console.print(line, highlight=False, soft_wrap=True, markup=False), jobs)
    if not console.quiet:
        print_table(text.COLUMNS, [text.cells(row) for row in card.rows], ("paper", "here", "difference"))
    for line in text.reasons(card.of(FAILED, asked=True)):
        print(f"fedlab reproduce: {line}", file=sys.stderr)
    print(f"{planned.name}: {text.outcome(card)}")
    say(console, f"scorecard in {relative(planned.folder.page)}")
    return card.passed


def _print_list(own: str | None) -> None:
    """Prints a row per scorecard."""
    from fedlab.console.tables import print_table
    from fedlab.studies.reproduce import experiments, scorecard
    from fedlab.studies.reproduce.plan import known

    rows = []
    for name in [*scorecard.names(own), experiments.NAME]:
        card = known(name, own)
        minutes = [f"{card.minutes(keys):,.3g} min" if (keys := card.of_size(quick)) else "" for quick in (True, False)]
        rows.append((name, card.paper, card.title, str(len(card.rows)), *minutes))
    print_table(("scorecard", "paper", "title", "rows", "quick", "full"), rows, ("rows", "quick", "full"))
