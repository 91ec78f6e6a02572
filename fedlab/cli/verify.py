"""`fedlab verify RUN`: repeats a run from its manifest alone and compares the weights of every round, and the checkpoints."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from fedlab.archive import read_run
from fedlab.archive.folder import relative
from fedlab.console import trusting
from fedlab.console.parsing import Parser, whole_number
from fedlab.errors import printable


def parser() -> Parser:
    """Returns the parser."""
    made = Parser(
        "fedlab verify",
        description="Repeats a run, using only its manifest, and compares the weights of every round and the checkpoints.",
    )
    made.add_argument("run", metavar="RUN", help="the folder of a run")
    made.add_argument(
        "moved", metavar="KEY=PATH", nargs="*", default=[], help="the new path of a file of the run: data.path=FILE"
    )
    made.add_argument("--rounds", type=whole_number(1), metavar="N", help="repeat the first N rounds only")
    made.add_argument("-q", "--quiet", action="store_true", help="no progress display")
    trusting.add_argument(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Returns 0 if every round gave the same bits. Raises `FedlabError` at the first round that differs."""
    args = parser().parse(argv)
    from rich.console import Console

    from fedlab.config.rebuilding import rebuilt
    from fedlab.console.display import lines_on, rounds_on
    from fedlab.run.verifying import verify

    run, console = read_run(pathlib.Path(args.run)), Console(quiet=args.quiet)
    found = verify(run, lambda run: rebuilt(run, args.moved, "verify"), args.rounds, lines_on(console), rounds_on(console))
    print(f"{relative(run.path)}: all {found.rounds} rounds gave the same bits in every weight ({found.weights_hash})")
    for remark in found.remarks:
        print(f"  note: {printable(remark)}")
    return 0
