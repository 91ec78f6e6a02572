"""`fedlab attack RUN attack=model_inversion …`: attacks a finished run from its folder, and updates its report."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from fedlab.archive.folder import relative
from fedlab.archive.reading import folder_and_arm
from fedlab.console import trusting
from fedlab.console.parsing import Parser


def parser() -> Parser:
    """Returns the parser."""
    made = Parser("fedlab attack", description="Attacks a finished run from its folder, and updates its report.")
    made.add_argument("run", metavar="RUN", help="the folder of a finished run, or RUN:ARM for one of its arms")
    made.add_argument(
        "options",
        metavar="KEY=VALUE",
        nargs="*",
        default=[],
        help="of the attack (default: attack=model_inversion), or the new path of a file of the run",
    )
    made.add_argument("--arm", metavar="NAME", help="one of the run's arms (default: all of them)")
    made.add_argument("-q", "--quiet", action="store_true", help="print nothing")
    trusting.add_argument(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Attacks the run; returns the exit code. Raises `FedlabError` if this attack on the run is impossible."""
    args = parser().parse(argv)
    from rich.console import Console

    from fedlab.console.display import lines_on, say
    from fedlab.report import words
    from fedlab.studies.attacks.finished import attack

    path, arm = folder_and_arm(args.run) if args.arm is None else (pathlib.Path(args.run), args.arm)
    console = Console(quiet=args.quiet)
    metrics, page = attack(path, arm, args.options, lines_on(console))
    for metric, value in metrics.items():
        say(console, f"{words.metric_label(metric)}: {words.metric_value(metric, value)}")
    say(console, f"report: {relative(page)}")
    return 0
