"""`fedlab report RUN`: writes the page of a run, or of a sweep, one file that needs no network."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from fedlab.archive.folder import relative
from fedlab.cli.output import writable
from fedlab.cli.parsing import Parser
from fedlab.report.page import write_report
from fedlab.report.sweep import is_sweep
from fedlab.report.sweep_page import write_sweep_report


def main(argv: Sequence[str]) -> int:
    """Returns the exit code; raises `FedlabError` where there is no run, or the file cannot be written."""
    parser = Parser("fedlab report", description=__doc__.partition(": ")[2])
    parser.add_argument("run", metavar="RUN", help="the folder of a run, or of a sweep")
    parser.add_argument("-o", "--output", metavar="FILE", type=pathlib.Path, help="default: report.html in that folder")
    args = parser.parse(argv)
    path, output = pathlib.Path(args.run), writable("--output", args.output)
    written = write_sweep_report(path, output) if is_sweep(path) else write_report(path, output)
    print(f"report: {relative(written)}")
    return 0
