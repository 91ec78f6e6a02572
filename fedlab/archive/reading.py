"""Reads runs back from their folders."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from fedlab.archive import inventory, lock
from fedlab.archive.arms import arm_configs
from fedlab.archive.folder import RunFolder, relative
from fedlab.archive.inventory import DamagedRun, Inventory, damaged
from fedlab.archive.metrics import Record, read_records
from fedlab.errors import FedlabError, did_you_mean

# What tells how a run went: small enough to be hashed whenever a run is read
_ALWAYS_HASHED = {"manifest.json", "summary.json", "metrics.jsonl"}
_OF_ALL_ARMS = ("round", "num_rounds", "num_clients")


@dataclasses.dataclass(frozen=True)
class Run:
    """What a folder says of its run. `summary` is {} where the run has not finished.

    `inventory`: by which damage is noticed; None where the run has not ended, or was made by an older fedlab.
    """

    folder: RunFolder
    manifest: dict[str, Any]
    summary: dict[str, Any]
    inventory: Inventory | None = None

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
    def unsealed(self) -> bool:
        """Whether an inventory should be there, since the run has finished, and is not."""
        return self.manifest["status"] == "finished" and self.manifest.get("manifest_version", 1) > 1 and self.inventory is None

    @property
    def root(self) -> pathlib.Path:
        """The folder to which the inventory belongs: that of the whole run, for an arm."""
        return self.path

    def check(self, *files: pathlib.Path, suffixes: Iterable[str] = ()) -> None:
        """Raises `DamagedRun` unless `files`, and all files of these `suffixes`, have the content that the run left.

        Without arguments, all files of the run. Does nothing for a run without an inventory.
        """
        if self.inventory is None:
            return
        names, endings = {file.relative_to(self.root).as_posix() for file in files}, tuple(suffixes)
        remarks = self.inventory.damage(self.root, lambda name: name in names or name.endswith(endings) or not (names or endings))
        if remarks:
            raise damaged(self.root, remarks)

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
        return Arm(RunFolder(self.path / "arms" / name), manifest, _of_arm(self.summary, name), self.inventory, whole=self)

    def each_arm(self) -> list[Run]:
        """The run's arms; the run itself where it has none."""
        return [self.arm(name) for name in self.arms] or [self]


@dataclasses.dataclass(frozen=True)
class Arm(Run):
    """An arm of `whole`: its part of the records and the summary, its own folder."""

    whole: Run = dataclasses.field(kw_only=True)

    @property
    def root(self) -> pathlib.Path:
        return self.whole.path

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


def read_run(path: str | pathlib.Path, to_go_on: bool = False, checked: bool = True) -> Run:
    """Raises `FedlabError` where there is no run, or one whose manifest cannot be read; `DamagedRun` for damage found quickly.

    That is any to manifest, summary and records, and other files that are missing or have another size; `Run.check` reads them.

    `to_go_on`: the caller holds the run's lock, and seals it again. `checked`: whether damage matters.
    """
    folder = RunFolder.existing(pathlib.Path(path))
    if not checked:
        return _run_in(folder, None)
    try:
        return _read_run(folder, to_go_on)
    except DamagedRun:
        if to_go_on or not lock.is_held(folder.lock):  # a verb that adds to a run, or goes on with it, is about to seal it again
            raise
        return _run_in(folder, None)


def _read_run(folder: RunFolder, to_go_on: bool) -> Run:
    sealed = inventory.read(folder)
    if sealed is not None:
        remarks = sealed.damage(folder.path, _ALWAYS_HASHED.__contains__)
        if remarks:
            raise damaged(folder.path, remarks)
        return _run_in(folder, sealed)
    run = _run_in(folder, None)
    if run.manifest["status"] != "running":
        remarks = _missing(run) if not to_go_on else []
        if remarks:
            raise damaged(folder.path, remarks)
    return run


def _run_in(folder: RunFolder, sealed: Inventory | None) -> Run:
    manifest = _read(folder.manifest)
    if not {"status", "config", "num_rounds", "rounds_completed"} <= set(manifest):
        raise FedlabError(f"{folder.manifest} is not a manifest of a run.")
    return Run(folder, manifest, _read(folder.summary) if folder.summary.is_file() else {}, sealed)


def _missing(run: Run) -> list[str]:
    """What a run that has ended, and has no inventory, must have and lacks."""
    finished, done, remarks = run.manifest["status"] == "finished", run.manifest["rounds_completed"], []
    lines = _num_lines(run.folder.metrics)
    if lines < done:
        remarks.append(f"metrics.jsonl has {lines:,} of {done:,} rounds" if lines else "metrics.jsonl is empty or missing")
    if finished and not run.summary:
        remarks.append("summary.json is missing")
    if run.unsealed:
        resume = f"`fedlab train resume={relative(run.path)}` writes it, if the run was ended as it finished"
        remarks.append(f"inventory.json is missing ({resume})")
    return remarks


def _num_lines(path: pathlib.Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def without_inventory(runs: Iterable[Run]) -> str | None:
    """Says of which `runs` damage is not noticed; None where there is none."""
    old = {run.root for run in runs if run.inventory is None and run.status == "finished"}
    if not old:
        return None
    which = f"{relative(next(iter(old)))} has" if len(old) == 1 else f"{len(old):,} of the runs have"
    return f"{which} no inventory, since an older fedlab made {'it' if len(old) == 1 else 'them'}: damage may go unnoticed"


def scan(root: pathlib.Path) -> Iterator[Run | FedlabError]:
    """Every run below `root`, in the order of their paths; an error for each folder whose manifest is broken."""
    for folder, below, files in os.walk(root):
        below.sort()
        if "manifest.json" in files or "inventory.json" in files:
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
