"""`fedlab investigate +experiment=gan/debug`: finds faults in the data of users for whom a classifier has a low accuracy."""

from __future__ import annotations

import pathlib
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedlab.console import trusting
from fedlab.console.output import writable
from fedlab.console.parsing import Parser
from fedlab.errors import ConfigError

if TYPE_CHECKING:
    from fedlab.studies.investigate.symptoms import Verdict


def parser() -> Parser:
    """Returns the parser."""
    made = Parser(
        "fedlab investigate",
        description="Trains a classifier, puts a bug into some users' data, divides users by the accuracy of the classifier, "
        "trains a GAN on the users with a low accuracy and one on those with a high accuracy, and reports how their images "
        "differ. It looks at no image of a user. The same command again continues a stopped investigation. An option with "
        "several values, key=a,b, starts an investigation for each.",
        epilog="example: fedlab investigate +experiment=gan/debug corruption.fraction=0,0.5",
    )
    made.add_argument("overrides", nargs="+", metavar="OVERRIDE", help="as for fedlab train, and investigation.by=example")
    made.add_config_dir()
    made.add_argument(
        "--out", metavar="FOLDER", type=pathlib.Path, help="the folder to write to (default: investigations/EXPERIMENT)"
    )
    made.add_argument("-q", "--quiet", action="store_true", help="print the verdict only")
    trusting.add_argument(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Runs the investigations; returns the exit code, 0 for every verdict. Raises `FedlabError`."""
    args = parser().parse(argv)
    if args.out and not args.out.is_dir():
        writable("--out", args.out)
    if args.out and args.out.is_file():
        raise ConfigError(f"--out {args.out} is a file: name a folder.")
    from rich.console import Console

    from fedlab.config.composing import each_swept
    from fedlab.console.display import lines_on
    from fedlab.studies.investigate.stages import investigate, plan

    flags = [*(["-cd", args.config_dir] if args.config_dir else []), *(["--out", str(args.out)] if args.out else [])]
    each = each_swept(args.overrides)
    plans = [plan(o, args.config_dir, args.out, shlex.join(["fedlab", "investigate", *o, *flags])) for o in each]
    verdicts = []
    for planned in plans:
        found = investigate(planned, lines_on(Console(quiet=args.quiet)))
        verdicts.append(found)
        print("\n".join(found.lines()))
        print(f"page in {planned.folder.report}")
    if len(verdicts) > 1:
        _print_table([" ".join(o for o in overrides if o not in args.overrides) for overrides in each], verdicts)
    return 0


def _print_table(swept: Sequence[str], verdicts: Sequence[Verdict]) -> None:
    """Prints a row per investigation and symptom. `swept`: the swept values of each investigation."""
    from fedlab.console.tables import print_table

    rows = []
    for values, verdict in zip(swept, verdicts):
        for symptom in verdict.findings:
            found = "undecided" if verdict.undecided else "found" if symptom.found else ""
            rows.append((values, symptom.symptom, f"{symptom.low:.1%}", f"{symptom.high:.1%}", found))
    print()
    print_table(("", "symptom", "low accuracy", "high accuracy", "verdict"), rows, ("low accuracy", "high accuracy"))
