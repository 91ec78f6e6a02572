"""The folder of an investigation: its two filter files, its GANs' run, what it found. A stage whose last file is there is done.

trial.json      stage filter: how the classifier does on the users with the bug in their data, whom the filters keep, how often
                each symptom is seen in real images without the bug and with it, and whom the bug befell: the truth
verdict.json    the symptoms in generated images and what follows; verdict.txt the same in words
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

from fedlab.archive.folder import RunFolder, replacing, write_json
from fedlab.errors import FedlabError

ARMS = ("low", "high")  # users of low and of high accuracy; by example: examples classified wrongly, and rightly


class InvestigationFolder:
    """Names what an investigation leaves."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.filters = {arm: path / f"{arm}.csv" for arm in ARMS}
        self.trial = path / "trial.json"
        self.histogram = path / "accuracies.png"
        self.gans = RunFolder(path / "gans")
        self.grids = path / "grids.png"  # what both arms generate, side by side
        self.verdict = path / "verdict.json"
        self.text = path / "verdict.txt"
        self.report = path / "report.html"

    def read(self, path: pathlib.Path) -> dict[str, Any]:
        """One of the JSON files. Raises `FedlabError` where it is damaged."""
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise FedlabError(f"{path} is damaged: {error}. Remove it, and the stage is done again.") from error

    def write(self, path: pathlib.Path, value: dict[str, Any]) -> None:
        write_json(path, value)

    def write_text(self, lines: list[str]) -> None:
        with replacing(self.text) as partial:
            partial.write_text("\n".join(lines) + "\n")
