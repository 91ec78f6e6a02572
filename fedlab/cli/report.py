"""`fedlab report RUN`: writes the page of a run, or of a sweep, one file that needs no network."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterable, Sequence

from fedlab.archive import Run, read_run
from fedlab.archive.folder import relative
from fedlab.archive.inventory import DamagedRun
from fedlab.archive.reading import without_inventory
from fedlab.console.output import writable
from fedlab.console.parsing import Parser
from fedlab.errors import FedlabError, printable


def parser() -> Parser:
    """Returns the parser."""
    made = Parser("fedlab report", description="Writes the page of a run, or of a sweep: one file that needs no network.")
    made.add_argument("run", metavar="RUN", help="the folder of a run, or of a sweep")
    made.add_file("-o", "--output", help="the page (default: report.html in that folder)")
    return made


def main(argv: Sequence[str]) -> int:
    """Writes the page. Returns the exit code: 1 if a job of a sweep is damaged.

    Raises `FedlabError` if there is no run, the run is damaged, or the file cannot be written.
    """
    args = parser().parse(argv)
    from fedlab import registry
    from fedlab.report.page import write_report

    path, output = pathlib.Path(args.run), writable("--output", args.output)
    written, folders = registry.page(path, output) or (write_report(path, output), [path])
    print(f"report: {relative(written)}")
    runs, damage = _read(folders)
    for line in [*map(str, damage), *filter(None, [without_inventory(runs)])]:
        print(f"fedlab report: {printable(line)}", file=sys.stderr)
    return 1 if damage else 0


def _read(folders: Iterable[pathlib.Path]) -> tuple[list[Run], list[DamagedRun]]:
    """Returns the runs of the page, and the errors of damaged ones. The page names jobs that left no run."""
    runs, damage = [], []
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except DamagedRun as error:
            damage.append(error)
        except FedlabError:
            continue
    return runs, damage
