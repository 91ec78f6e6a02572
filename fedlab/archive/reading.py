"""Reads runs back from their folders."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from fedlab.archive import lock
from fedlab.archive.arms import arm_configs
from fedlab.archive.folder import RunFolder
from fedlab.archive.metrics import Record, read_records
from fedlab.errors import FedlabError, did_you_mean

_OF_ALL_ARMS = ("round", "num_rounds", "num_clients")


@dataclasses.dataclass(frozen=True)
class Run:
    """What a folder says of its run. `summary` is {} where the run has not finished."""

    folder: RunFolder
    manifest: dict[str, Any]
    summary: dict[str, Any]

    @property
    def path(self) -> pathlib.Path:
        return self.folder.path

    @property
    def status(self) -> str:
        """running, finished, interrupted or failed; a run whose process was killed is `interrupted`."""
        status = self.manifest["status"]
        return "interrupted" if status == "running" and not lock.is_held(self.folder.lock) else status

    @property
    def rounds_completed(self) -> int:
        """How many rounds have their line in metrics.jsonl."""
        ended = self.manifest["status"] != "running"
        return self.manifest["rounds_completed"] if ended else len(self.records())

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration: a value per option, nested by stage."""
        return self.manifest["config"]

    def records(self) -> list[Record]:
        """A record per round, see `fedlab.archive.metrics`."""
        return read_records(self.folder.metrics)

    @property
    def arms(self) -> list[str]:
        """Names of the run's arms; [] for an ordinary run."""
        return [str(name) for name in self.config.get("arms") or {}]

    def arm(self, name: str) -> Run:
        """One of the run's arms, as if it had been a run of its own. Raises `FedlabError` where there is none of that name."""
        if name not in self.arms:
            there = f"Its arms: {', '.join(self.arms)}.{did_you_mean(name, self.arms)}" if self.arms else "It has no arms."
            raise FedlabError(f"{self.path} has no arm '{name}'. {there}")
        described = (self.manifest.get("arms") or {}).get(name, {})
        manifest = {**self.manifest, "config": arm_configs(self.config)[name], **described}
        return Arm(RunFolder(self.path / "arms" / name), manifest, _of_arm(self.summary, name), self)

    def each_arm(self) -> list[Run]:
        """The run's arms; the run itself where it has none."""
        return [self.arm(name) for name in self.arms] or [self]


@dataclasses.dataclass(frozen=True)
class Arm(Run):
    """An arm of `whole`: its part of the records and the summary, its own folder."""

    whole: Run

    def records(self) -> list[Record]:
        return [_of_arm(record, str(self.folder.path.name)) for record in self.whole.records()]

    @property
    def status(self) -> str:
        return self.whole.status

    @property
    def rounds_completed(self) -> int:
        return self.whole.rounds_completed


def _of_arm(figures: Record, name: str) -> Record:
    """The figures of one arm under their own names, and those that are the same for all arms."""
    own = {metric[len(name) + 1 :]: value for metric, value in figures.items() if metric.startswith(f"{name}/")}
    return {**{metric: figures[metric] for metric in _OF_ALL_ARMS if metric in figures}, **own}


def read_run(path: str | pathlib.Path) -> Run:
    """Raises `FedlabError` where there is no run, or one whose manifest cannot be read."""
    folder = RunFolder.existing(pathlib.Path(path))
    manifest = _read(folder.manifest)
    if not {"status", "config", "num_rounds", "rounds_completed"} <= set(manifest):
        raise FedlabError(f"{folder.manifest} is not a manifest of a run.")
    return Run(folder, manifest, _read(folder.summary) if folder.summary.is_file() else {})


def scan(root: pathlib.Path) -> Iterator[Run | FedlabError]:
    """Every run below `root`, in the order of their paths; an error for each folder whose manifest is broken."""
    for folder, below, files in os.walk(root):
        below.sort()
        if "manifest.json" in files:
            below.clear()
            try:
                yield read_run(folder)
            except FedlabError as error:
                yield error


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FedlabError(f"{path} is damaged: {error}.") from error
    if not isinstance(value, dict):
        raise FedlabError(f"{path} is damaged: it holds no JSON object.")
    return value
