"""`RunReport`: the pictures and the page of a run that ends. Imports what makes them when they are made."""

from __future__ import annotations

from fedlab.archive import RunFolder


class RunReport:
    """A `fedlab.run.reporting.Report`."""

    def draw(self, folder: RunFolder) -> None:
        """Draws the pictures for which the files are in `folder`, see `fedlab.report.pictures`."""
        from fedlab.report import pictures  # imports matplotlib, which takes half a second

        pictures.draw(folder)

    def write(self, folder: RunFolder) -> None:
        """Writes report.html. Raises `FedlabError` if it cannot be written."""
        from fedlab.report.page import write_report  # takes a tenth of a second

        write_report(folder.path)
