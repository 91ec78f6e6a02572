"""`fedlab report RUN`: writes the page of a run, or of a sweep, one file that needs no network."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

from fedlab.archive import Run, read_run
from fedlab.archive.folder import relative
from fedlab.archive.inventory import DamagedRun
from fedlab.archive.reading import without_inventory
from fedlab.cli.output import writable
from fedlab.cli.parsing import Parser
from fedlab.errors import FedlabError
from fedlab.report.page import write_report
from fedlab.report.sweep import is_sweep, read_sweep
from fedlab.report.sweep_page import write_sweep_report


def main(argv: Sequence[str]) -> int:
    """Returns the exit code, 1 where a job of a sweep is damaged.

    Raises `FedlabError` where there is no run, where it is damaged, or where the file cannot be written.
    """
    parser = Parser("fedlab report", description=__doc__.partition(": ")[2])
    parser.add_argument("run", metavar="RUN", help="the folder of a run, or of a sweep")
    parser.add_argument("-o", "--output", metavar="FILE", type=pathlib.Path, help="default: report.html in that folder")
    args = parser.parse(argv)
    path, output = pathlib.Path(args.run), writable("--output", args.output)
    written = write_sweep_report(path, output) if is_sweep(path) else write_report(path, output)
    print(f"report: {relative(written)}")
    runs, damage = _read(path)
    for line in [*map(str, damage), *filter(None, [without_inventory(runs)])]:
        print(f"fedlab report: {line}", file=sys.stderr)
    return 1 if damage else 0


def _read(path: pathlib.Path) -> tuple[list[Run], list[DamagedRun]]:
    """The runs that the page is about, and what is damaged among them. Jobs that left no run are named by the page."""
    runs, damage = [], []
    for folder in [job.folder for job in read_sweep(path).jobs] if is_sweep(path) else [path]:
        try:
            runs.append(read_run(folder))
        except DamagedRun as error:
            damage.append(error)
        except FedlabError:
            continue
    return runs, damage
