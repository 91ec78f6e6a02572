"""scorecard.html: the verdict of each row beside the paper's figure, then the rules, the runs, and the rows that were not run."""

from __future__ import annotations

import os
import pathlib
import urllib.parse

from fedlab.archive import RunFolder
from fedlab.report.page import Page
from fedlab.report.section import Section, render, section
from fedlab.studies.reproduce import text
from fedlab.studies.reproduce.results import FAILED, NOT_RUN, PASSED, Card, CardFolder, CardRow, is_card, read_card

_STATUS = {PASSED: "finished", FAILED: "failed", NOT_RUN: "note"}  # their colours


def write_page(card: Card, folder: CardFolder, target: pathlib.Path) -> pathlib.Path:
    """Writes the page to `target`; returns it. Raises `FedlabError` if it cannot be written."""
    rows = [(row, _links(row, folder, target)) for row in card.rows]
    values = {"card": card, "text": text, "status": _STATUS, "rows": rows}
    sections: list[Section] = [section("rows", "Paper and runs", "reproduce/rows.html", **values)]
    sections.append(section("rules", "Rules", "reproduce/rules.html", noted=any(row.note for row in card.rows), **values))
    left = card.of(NOT_RUN)
    if left:
        minutes = sum({tuple(row.runs): row.minutes for row in left}.values())
        sections.append(section("left", "Not run", "reproduce/left.html", left=left, minutes=minutes, **values))
    lead = render("reproduce/lead.html", outcome=text.outcome(card), failed=card.of(FAILED, asked=True), **values)
    return Page("scorecard", card.title, lead, tuple(sections)).write(target)


def write(path: pathlib.Path, output: pathlib.Path | None) -> tuple[pathlib.Path, list[pathlib.Path]] | None:
    """Writes the page again; returns its path and the folders of the runs, or None if `path` is not that of a scorecard."""
    if not is_card(path):
        return None
    folder, card = CardFolder(path), read_card(path)
    written = write_page(card, folder, output or folder.page)
    runs = [path / run for row in card.rows if row.verdict != NOT_RUN for run in row.runs]
    return written, [manifest.parent for run in dict.fromkeys(runs) for manifest in sorted(run.rglob("manifest.json"))]


def _links(row: CardRow, folder: CardFolder, page: pathlib.Path) -> list[tuple[str, str, str | None]]:
    """Returns (label, folder, link from `page` to the run's report, or None) of each run of a row."""
    found = []
    for label, run in zip(row.labels, row.runs):
        report = RunFolder(folder.path / run).report
        link = urllib.parse.quote(os.path.relpath(report.resolve(), page.resolve().parent)) if report.is_file() else None
        found.append((label, run, link))
    return found
