"""`fedlab investigate +experiment=gan/debug`: finds out what is wrong with the data of users for whom a classifier does badly."""

from __future__ import annotations

import itertools
import pathlib
import shlex
from collections.abc import Iterator, Sequence

from rich.console import Console

from fedlab.cli import trusting
from fedlab.cli.output import writable
from fedlab.cli.parsing import Parser
from fedlab.errors import ConfigError


def main(argv: Sequence[str]) -> int:
    """Returns the exit code, 0 whatever is found; raises `FedlabError`."""
    parser = Parser(
        "fedlab investigate",
        description="Trains a classifier, puts a bug into some users' data, filters users by how the classifier does, trains a "
        "GAN for those of low and one for those of high accuracy, and says what sets their images apart. Nobody looks at an "
        "image of a user. The same command again goes on where it was stopped. An option with several values, key=a,b, gives an "
        "investigation for each.",
        epilog="example: fedlab investigate +experiment=gan/debug corruption.fraction=0,0.5",
    )
    parser.add_argument("overrides", nargs="+", metavar="OVERRIDE", help="as for fedlab train, and investigation.by=example")
    parser.add_argument("-cd", "--config-dir", metavar="FOLDER", help="your own configuration folder, as for fedlab train")
    parser.add_argument("--out", metavar="FOLDER", type=pathlib.Path, help="where (default: investigations/EXPERIMENT)")
    parser.add_argument("-q", "--quiet", action="store_true", help="print the verdict only")
    trusting.add_argument(parser)
    args = parser.parse(argv)
    if args.out and not args.out.is_dir():
        writable("--out", args.out)
    if args.out and args.out.is_file():
        raise ConfigError(f"--out {args.out} is a file: name a folder.")
    from fedlab.cli.investigation import investigate, plan

    console = Console(quiet=args.quiet)
    flags = [*(["-cd", args.config_dir] if args.config_dir else []), *(["--out", str(args.out)] if args.out else [])]
    plans = [
        plan(overrides, args.config_dir, args.out, shlex.join(["fedlab", "investigate", *overrides, *flags]))
        for overrides in _each(args.overrides)
    ]
    verdicts = []
    for planned in plans:
        found = investigate(planned, console)
        verdicts.append(found)
        print("\n".join(found.lines()))
        print(f"page in {planned.folder.report}")
    if len(verdicts) > 1:
        from fedlab.cli.tables import print_table

        rows = []
        for overrides, found in zip(_each(args.overrides), verdicts):
            swept = " ".join(o for o in overrides if o not in args.overrides)
            for f in found.findings:
                rows.append(
                    (
                        swept,
                        f.symptom,
                        f"{f.low:.1%}",
                        f"{f.high:.1%}",
                        "undecided" if found.undecided else "found" if f.found else "",
                    )
                )
        print()
        print_table(("", "symptom", "low accuracy", "high accuracy", "verdict"), rows, ("low accuracy", "high accuracy"))
    return 0


def _each(overrides: Sequence[str]) -> Iterator[list[str]]:
    """The overrides of each investigation: every combination of the values of those that have several. Raises `ConfigError`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from fedlab.cli import config as configuration

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ConfigError(configuration.why(error, overrides)) from error
    choices = [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()] if o.is_sweep_override() else [text]
        for o, text in zip(parsed, overrides)
    ]
    return (list(chosen) for chosen in itertools.product(*choices))
