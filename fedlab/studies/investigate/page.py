"""The page of an investigation: the verdict, the images of both GANs, and the users' accuracies."""

from __future__ import annotations

import base64
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fedlab.archive import Run, scan
from fedlab.archive.claims import together
from fedlab.report import words
from fedlab.report.page import Page
from fedlab.report.plot import Axis, Plot, histogram
from fedlab.report.scale import linear
from fedlab.report.section import render, section
from fedlab.studies.investigate.conclusion import read_real
from fedlab.studies.investigate.record import InvestigationFolder

_BINS = 20  # of a histogram


def write_investigation(folder: InvestigationFolder, name: str) -> pathlib.Path:
    """Writes report.html from the other files. Raises `FedlabError` if one of them is damaged."""
    trial, verdict = folder.read(folder.trial), folder.read(folder.verdict)
    lead = render("investigate/lead.html", lines=[*verdict["lines"], *_privacy(folder)], command=verdict["command"])
    grid = base64.b64encode(folder.grids.read_bytes()).decode()
    real = sorted(read_real(folder))  # the kinds of real images in the picture
    affected = sum(user[3] for user in trial["users"])
    sections = (
        section("images", "What the GANs generate", "investigate/grids.html", grid=grid, verdict=verdict, real=real),
        section(
            "users",
            "Users",
            "investigate/users.html",
            trial=trial,
            affected=affected,
            plots=_histograms(trial["users"]),
        ),
    )
    return Page("investigation", name, lead, sections).write(folder.report)


def _histograms(users: Sequence[Sequence[Any]]) -> list[Plot]:
    """Plots users over accuracy, without and with the bug. `users`: (name, accuracy without, accuracy with, bug)."""
    plots = []
    for i, name in ((1, "without the bug"), (2, "with the bug")):
        values = [float(user[i]) for user in users]
        low, high = (words.percent(float(quartile)) for quartile in np.percentile(values, (25, 75)))
        counts = np.histogram(values, np.linspace(0, 1, _BINS + 1) - 1e-9)[0].tolist()
        counts[-1] = len(values) - sum(counts[:-1])
        alt = f"Histogram of the accuracy on {words.counted(len(values), 'user')}, {name}: quartiles {low} and {high}."
        x = Axis(linear(0, 1, nice=False), f"accuracy on a user's own examples: quartiles {low} and {high}", "percent")
        edges = [k / _BINS for k in range(_BINS + 1)]
        plots.append(histogram(f"Users over the classifier's accuracy, {name}", alt, x, counts, edges, "users"))
    return plots


def _privacy(folder: InvestigationFolder) -> list[str]:
    """Returns a line with the total privacy cost of training the GANs, if they claim an ε."""
    total = together([run for run in scan(folder.path) if isinstance(run, Run)])
    return [f"{total[0].upper()}{total[1:]}. The classifier by which users were chosen comes on top."] if total else []
