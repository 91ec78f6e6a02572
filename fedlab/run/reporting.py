"""`Report`: draws and writes what a run that has ended shows. Callers of a run hand it in: `run` knows no pages and pictures."""

from __future__ import annotations

from typing import Protocol

from fedlab.archive import RunFolder
from fedlab.errors import one_line
from fedlab.run.progress import Failure, OnLine


class Report(Protocol):
    """Reads only the files in the run's folder. `fedlab.report.run_report.RunReport` is one."""

    def draw(self, folder: RunFolder) -> None:
        """Draws the pictures for which the files are there. Called with all results in the folder, before the run counts as
        finished, and for a run that was interrupted or has failed.
        """

    def write(self, folder: RunFolder) -> None:
        """Writes the page. Called after `draw`, when the manifest says how the run has ended."""


def attempt(report: Report, folder: RunFolder, draws: bool, on_line: OnLine) -> None:
    """Writes the page of a run that has ended, and with `draws` its pictures; `on_line` receives a line for each that fails."""
    steps = [("pictures", report.draw)] if draws else []
    for what, step in [*steps, ("report", report.write)]:
        try:
            step(folder)
        except Exception as error:
            on_line(Failure(f"the {what} of the run could not be written: {one_line(error)}"))
