"""Saves a run's state at intervals, and finds the round from which the run continues."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

from pydantic import PositiveInt

from fedlab.archive import RunFolder, checkpoint
from fedlab.archive.checkpoint import Checkpoint, DamagedCheckpoint
from fedlab.archive.metrics import Record, read_records
from fedlab.spec import Spec

_SHARE = 0.01  # upper limit of the fraction of time spent on checkpoints if `every` is null


class Checkpointing(Spec):
    """The interval of checkpoints. The state of the last round, and of an interrupted run, is always saved."""

    every: PositiveInt | None = None  # rounds; null: as often as possible in less than 1 % of the time
    keep: PositiveInt = 2  # number of checkpoints kept; if the newest is damaged, the one before it is used


class Checkpoints:
    """Saves the state of one run according to `spec`."""

    def __init__(self, spec: Checkpointing, folder: RunFolder, last_saved: int, seconds: dict[str, float]):
        """`last_saved`: the round of the newest checkpoint, or 0. Updates `seconds["checkpoints"]`."""
        self._spec, self._folder, self._last_saved, self._seconds = spec, folder, last_saved, seconds
        self._cost, self._ended = 0.0, time.perf_counter()

    def is_due(self, round_num: int) -> bool:
        """Returns True if the state after this round should be saved."""
        if self._spec.every is not None:
            return round_num % self._spec.every == 0
        return time.perf_counter() - self._ended >= self._cost / _SHARE

    def save(self, round_num: int, state: Sequence) -> None:
        """Saves the state after `round_num` rounds, unless it is already saved."""
        if round_num == self._last_saved:
            return
        started = time.perf_counter()
        checkpoint.save(self._folder.checkpoints, Checkpoint(round_num, list(state)), self._spec.keep)
        self._ended, self._last_saved = time.perf_counter(), round_num
        self._cost = self._ended - started
        self._seconds["checkpoints"] = self._seconds.get("checkpoints", 0.0) + self._cost


@dataclasses.dataclass(frozen=True)
class Beginning:
    """The start of a continued run: a checkpoint, the records up to it, and remarks for the user."""

    checkpoint: Checkpoint | None
    records: Sequence[Record]
    remarks: Sequence[str] = ()

    @property
    def round(self) -> int:
        """Returns the last round that need not be computed again."""
        return self.checkpoint.round if self.checkpoint else 0


def where_to_go_on(folder: RunFolder) -> Beginning:
    """Returns the newest checkpoint that is intact and has all its records; round 0 if there is none.

    Raises `FedlabError` if this machine cannot read one that may be intact.
    """
    records, remarks = read_records(folder.metrics), []
    paths = checkpoint.newest_first(folder.checkpoints)
    for path in paths:
        instead = "The run starts at round 1." if path == paths[-1] else "The one before it is used."
        try:
            found = checkpoint.load(path)
        except DamagedCheckpoint as error:
            remarks.append(f"{error} {instead}")
            continue
        if found.round <= len(records):
            return Beginning(found, records[: found.round], remarks)
        remarks.append(f"{path.name} is left out: metrics.jsonl ends with round {len(records)}. {instead}")
    return Beginning(None, [], remarks)
