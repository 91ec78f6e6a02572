"""The page of `fedlab difftest`: the section of a run's report, for two runs."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from fedlab.report.page import Page
from fedlab.report.section import render
from fedlab.studies.difftest.record import ClientDifference
from fedlab.studies.difftest.section import Scores, difftest_section


def write_difftest(
    path: pathlib.Path,
    runs: tuple[str, str],
    names: tuple[str, str],
    data: str,
    options: Mapping[str, Any],
    rows: Sequence[ClientDifference],
    scores: Scores,
) -> pathlib.Path:
    """Writes the page to `path`. Raises `FedlabError` if it cannot be written."""
    lead = render("difftest/lead.html", runs=runs, data=data)
    built = difftest_section(*names, options, rows, scores)
    return Page("difftest", f"{names[1]} against {names[0]}", lead, (built,) if built else ()).write(path)
