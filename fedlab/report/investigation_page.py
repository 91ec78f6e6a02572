"""The page of an investigation: the verdict, what both GANs generate, how the users' accuracies lie."""

from __future__ import annotations

import base64
import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from fedlab.archive import Run, replacing, scan
from fedlab.archive.investigation import InvestigationFolder
from fedlab.report.composition import together
from fedlab.report.page import Page
from fedlab.report.section import render, section

_SIDE = 6  # images of a grid, either way
_TITLES = {"low": "low accuracy", "high": "high accuracy"}


def save_side_by_side(images: Mapping[str, np.ndarray], path: pathlib.Path) -> None:
    """Writes a PNG with a grid of 36 of each arm's `images`, uint8 [n, height, width, channels]."""
    figure = Figure(figsize=(3.1 * len(images), 3.4), layout="constrained")
    for axes, (name, mine) in zip(figure.subplots(1, len(images), squeeze=False)[0], images.items()):
        axes.imshow(_grid(mine), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(_TITLES.get(name, name), fontsize=10)
        axes.set_axis_off()
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def _grid(images: np.ndarray) -> np.ndarray:
    """uint8 [rows, columns] or [rows, columns, 3], with a grey line between images."""
    chosen = images[: _SIDE**2]
    rows = [chosen[i : i + _SIDE] for i in range(0, len(chosen), _SIDE) if len(chosen[i : i + _SIDE]) == _SIDE]
    padded = [np.pad(row, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=96) for row in rows]
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in padded], axis=0)
    return sheet[..., 0] if sheet.shape[-1] == 1 else sheet


def write_investigation(folder: InvestigationFolder, name: str) -> pathlib.Path:
    """Writes report.html from the other files. Raises `FedlabError` where one of them is damaged."""
    trial, verdict = folder.read(folder.trial), folder.read(folder.verdict)
    lead = render("investigation/lead.html", lines=[*verdict["lines"], *_privacy(folder)], command=verdict["command"])
    pictures = {path.stem: base64.b64encode(path.read_bytes()).decode() for path in (folder.grids, folder.histogram)}
    affected = sum(user[3] for user in trial["users"])
    sections = (
        section(
            "images", "What the GANs generate", "investigation/grids.html", grid=pictures[folder.grids.stem], verdict=verdict
        ),
        section(
            "users",
            "Users",
            "investigation/users.html",
            trial=trial,
            affected=affected,
            histogram=pictures[folder.histogram.stem],
        ),
    )
    return Page("investigation", name, lead, sections).write(folder.report)


def _privacy(folder: InvestigationFolder) -> list[str]:
    """What the trainings of its GANs cost together, where they claim an ε."""
    total = together([run for run in scan(folder.path) if isinstance(run, Run)])
    return [f"{total[0].upper()}{total[1:]}. The classifier by which users were chosen comes on top."] if total else []
