"""Reads runs back from their folders."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from fedlab.archive import inventory, lock
from fedlab.archive.arms import arm_configs
from fedlab.archive.folder import RunFolder, read_json, relative
from fedlab.archive.inventory import DamagedRun, Inventory, damaged
from fedlab.archive.metrics import Record, read_records
from fedlab.errors import FedlabError, did_you_mean
from fedlab.moved import with_present_names

# The files with a run's results: small enough to be hashed at every reading of a run
_ALWAYS_HASHED = {"manifest.json", "summary.json", "metrics.jsonl"}
_OF_ALL_ARMS = ("round", "num_rounds", "num_clients", "stopped")
PLACES = ("outputs", "multirun")  # the folders into which `fedlab train` writes runs by default


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as its folder records it. `summary` is {} if the run has not finished.

    `inventory`: reveals damage; None if the run has not ended, or an older fedlab made it.
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
        """Returns running, finished, interrupted or failed; a run whose process was killed is `interrupted`."""
        status = self.manifest["status"]
        return "interrupted" if status == "running" and not lock.is_held(self.folder.lock) else status

    @property
    def rounds_completed(self) -> int:
        """Returns the number of rounds that have a line in metrics.jsonl."""
        ended = self.manifest["status"] != "running"
        return self.manifest["rounds_completed"] if ended else len(self.records())

    @property
    def has_computed_nothing(self) -> bool:
        """Returns True if the run was stopped before the end of its first round."""
        return not self.records() and not any(self.folder.checkpoints.glob("*"))

    @property
    def config(self) -> dict[str, Any]:
        """Returns the resolved configuration: one value per option, nested by stage; components have their present names."""
        return with_present_names(self.manifest["config"])

    def records(self) -> list[Record]:
        """Returns one record per round, see `fedlab.archive.metrics`."""
        return read_records(self.folder.metrics)

    @property
    def unsealed(self) -> bool:
        """Returns True if the run has finished but has no inventory, although its version of fedlab writes one."""
        return self.manifest["status"] == "finished" and self.manifest.get("manifest_version", 1) > 1 and self.inventory is None

    @property
    def root(self) -> pathlib.Path:
        """Returns the folder with the inventory: for an arm, that of the whole run."""
        return self.path

    def check(self, *files: pathlib.Path, suffixes: Iterable[str] = ()) -> None:
        """Raises `DamagedRun` unless `files`, and all files with these `suffixes`, have the content that the run wrote.

        Without arguments, checks all files of the run. Does nothing for a run without an inventory.
        """
        if self.inventory is None:
            return
        names, endings = {file.relative_to(self.root).as_posix() for file in files}, tuple(suffixes)
        remarks = self.inventory.damage(self.root, lambda name: name in names or name.endswith(endings) or not (names or endings))
        if remarks:
            raise damaged(self.root, remarks)

    @property
    def arms(self) -> list[str]:
        """Returns the names of the run's arms; [] for a run without arms."""
        return [str(name) for name in self.config.get("arms") or {}]

    def arm(self, name: str) -> Run:
        """Returns one of the run's arms, with the interface of a run. Raises `FedlabError` for an unknown name."""
        if name not in self.arms:
            there = f"Its arms: {', '.join(self.arms)}.{did_you_mean(name, self.arms)}" if self.arms else "It has no arms."
            raise FedlabError(f"{self.path} has no arm '{name}'. {there}")
        described = (self.manifest.get("arms") or {}).get(name, {})
        manifest = {**self.manifest, "config": arm_configs(self.config)[name], **described}
        return Arm(RunFolder(self.path / "arms" / name), manifest, _of_arm(self.summary, name), self.inventory, whole=self)

    def each_arm(self) -> list[Run]:
        """Returns the run's arms; the run itself if it has none."""
        return [self.arm(name) for name in self.arms] or [self]


def folder_and_arm(text: str) -> tuple[pathlib.Path, str | None]:
    """Splits RUN:ARM. The arm is None for RUN alone, also if a folder's name contains a colon."""
    folder, _, arm = text.rpartition(":")
    return (pathlib.Path(folder), arm) if folder and not pathlib.Path(text).exists() else (pathlib.Path(text), None)


@dataclasses.dataclass(frozen=True)
class Arm(Run):
    """An arm of `whole`: its part of the records and the summary, and its own folder."""

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
    """Returns the metrics of one arm under their own names, and those common to all arms."""
    own = {metric[len(name) + 1 :]: value for metric, value in figures.items() if metric.startswith(f"{name}/")}
    return {**{metric: figures[metric] for metric in _OF_ALL_ARMS if metric in figures}, **own}


def read_run(path: str | pathlib.Path, to_go_on: bool = False, checked: bool = True) -> Run:
    """Reads a run. Raises `FedlabError` if there is no run, or its manifest cannot be read; `DamagedRun` for damage that is quick
    to find.

    Quick to find is damage to manifest, summary or records, and other files that are missing or have another size; `Run.check`
    reads the others.

    `to_go_on`: the caller has the run's lock, and seals it again. `checked`: whether damage raises an error.
    """
    folder = RunFolder.existing(pathlib.Path(path))
    if not checked:
        return _run_in(folder, None)
    try:
        return _read_run(folder, to_go_on)
    except DamagedRun:
        if to_go_on or not lock.is_held(folder.lock):  # else a verb adds to the run or continues it, and seals it again
            raise
        return _run_in(folder, None)


def _read_run(folder: RunFolder, to_go_on: bool) -> Run:
    sealed = inventory.read(folder)
    if sealed is not None:
        remarks = sealed.damage(folder.path, _ALWAYS_HASHED.__contains__)
        if remarks:
            raise damaged(folder.path, remarks)
        run = _run_in(folder, sealed)
        remarks = _not_as_counted(run, sealed)
        if remarks:
            raise damaged(folder.path, remarks)
        return run
    run = _run_in(folder, None)
    if run.manifest["status"] != "running":
        remarks = _missing(run) if not to_go_on else []
        if remarks:
            raise damaged(folder.path, remarks)
    return run


def _run_in(folder: RunFolder, sealed: Inventory | None) -> Run:
    manifest = read_json(folder.manifest)
    if not {"status", "config", "num_rounds", "rounds_completed"} <= set(manifest):
        raise FedlabError(f"{folder.manifest} is not a manifest of a run.")
    return Run(folder, manifest, read_json(folder.summary) if folder.summary.is_file() else {}, sealed)


def _not_as_counted(run: Run, sealed: Inventory) -> list[str]:
    """Returns the contradictions between records, summary and inventory, as in a run combined from several."""
    records, remarks = run.records(), []
    last = records[-1].get("weights_hash") if records else None
    if (len(records), _num_lines(run.folder.metrics)) != (sealed.records, sealed.records):
        remarks.append(f"metrics.jsonl has {_num_lines(run.folder.metrics):,} rounds, and had {sealed.records:,}")
    elif last != sealed.weights_hash:
        remarks.append(f"metrics.jsonl ends with the weights {last}, and ended with {sealed.weights_hash}")
    if run.manifest["status"] == "finished" and last and run.summary.get("weights_hash", last) != last:
        remarks.append(f"summary.json is of the weights {run.summary['weights_hash']}, and metrics.jsonl ends with {last}")
    return remarks


def _missing(run: Run) -> list[str]:
    """Returns the files that a run without an inventory must have once it has ended, and lacks."""
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
    """Names those of `runs` whose damage goes unnoticed; None if there are none."""
    old = {run.root for run in runs if run.inventory is None and run.status == "finished"}
    if not old:
        return None
    which = f"{relative(next(iter(old)))} has" if len(old) == 1 else f"{len(old):,} of the runs have"
    return f"{which} no inventory, since an older fedlab made {'it' if len(old) == 1 else 'them'}: damage may go unnoticed"


class NeverBegan(FedlabError):
    """A folder of a run that was killed before it had computed anything."""


def scan(root: pathlib.Path) -> Iterator[Run | FedlabError]:
    """Yields every run below `root`, in the order of their paths; an error for each folder whose run cannot be read or never
    began.
    """
    for folder, below, files in os.walk(root):
        below.sort()
        if (found := RunFolder(pathlib.Path(folder))).never_began:
            yield NeverBegan(found.why_never_began())
        elif "manifest.json" in files or "inventory.json" in files:
            below.clear()
            try:
                yield read_run(folder)
            except FedlabError as error:
                yield error
