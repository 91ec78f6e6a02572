"""`fedlab forget RUN …`: deletes noise.key and the checkpoints, so that nobody can remove the noise of the runs."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from fedlab.archive.folder import relative
from fedlab.console.parsing import Parser


def parser() -> Parser:
    """Returns the parser."""
    made = Parser(
        "fedlab forget",
        description="Deletes noise.key and the checkpoints of runs. Then nobody can remove the noise of the runs, and the runs "
        "can be neither resumed nor verified. Copies that a backup or a file system keeps are not deleted.",
    )
    made.add_argument("runs", metavar="RUN", nargs="+", help="a run, a sweep (all its jobs) or an investigation")
    return made


def main(argv: Sequence[str]) -> int:
    """Deletes the keys; returns 0. Raises `FedlabError` if no run had a noise.key, or a process writes to a run."""
    args = parser().parse(argv)
    from fedlab.run.forgetting import forget

    for run, done in forget(list(map(pathlib.Path, args.runs))):
        print(f"{relative(run.path)}: {done}")
    return 0
