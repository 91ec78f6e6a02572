"""The folder of an investigation: two filter files, the run of its GANs, its results. A stage is done if its last file exists.

real.npz        stage filter: 36 real images without the bug ("clean") and with it ("bug"), for the picture; none without a bug
trial.json      stage filter: the accuracy of the classifier on users with the bug in their data, the users that the filters
                keep, the share of each symptom in real images without and with the bug, and the truth: the users with the bug
verdict.json    the symptoms in generated images and the conclusion; verdict.txt the same in words
"""

from __future__ import annotations

import contextlib
import pathlib
from typing import Any

from fedlab.archive.folder import RunFolder, read_json, replacing, write_json

ARMS = ("low", "high")  # users of low and high accuracy; by example: incorrectly and correctly classified examples


class InvestigationFolder:
    """The paths of the files of an investigation."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.filters = {arm: path / f"{arm}.csv" for arm in ARMS}
        self.trial = path / "trial.json"
        self.real = path / "real.npz"
        self.histogram = path / "accuracies.png"
        self.gans = RunFolder(path / "gans")
        self.grids = path / "grids.png"  # real images and the images of both arms, side by side
        self.verdict = path / "verdict.json"
        self.text = path / "verdict.txt"
        self.report = path / "report.html"

    def read(self, path: pathlib.Path) -> dict[str, Any]:
        """Reads one of the JSON files. Raises `FedlabError` if it is damaged."""
        return read_json(path, "Remove it, and the stage is done again.")

    def write(self, path: pathlib.Path, value: dict[str, Any]) -> None:
        write_json(path, value)

    def write_text(self, lines: list[str]) -> None:
        with replacing(self.text) as partial:
            partial.write_text("\n".join(lines) + "\n")


def runs_in(folder: pathlib.Path, stack: contextlib.ExitStack) -> list[pathlib.Path] | None:
    """Returns the folder of the run of an investigation's GANs; None if `folder` is not an investigation."""
    gans = InvestigationFolder(folder).gans
    return [gans.path] if gans.manifest.is_file() else None
