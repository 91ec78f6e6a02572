"""When a run saves its state, and from where it goes on."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import numpy as np
from pydantic import PositiveInt

from fedlab.archive import RunFolder, checkpoint
from fedlab.archive.checkpoint import Checkpoint, DamagedCheckpoint
from fedlab.archive.metrics import Record, read_records
from fedlab.spec import Spec

_SHARE = 0.01  # of the time, at most, goes into checkpoints when `every` is null


class Checkpointing(Spec):
    """How often the state is saved. The last round's state, and that of an interrupted run, always are."""

    every: PositiveInt | None = None  # rounds; null: as often as it takes less than a hundredth of the time
    keep: PositiveInt = 2  # how many checkpoints are kept; the one before the newest stands in if that is damaged


class Checkpoints:
    """Saves the state of one run as `spec` says."""

    def __init__(self, spec: Checkpointing, folder: RunFolder, last_saved: int, seconds: dict[str, float]):
        """`last_saved`: the round whose state is there already, or 0. `seconds["checkpoints"]` is kept up to date."""
        self._spec, self._folder, self._last_saved, self._seconds = spec, folder, last_saved, seconds
        self._cost, self._ended = 0.0, time.perf_counter()

    def is_due(self, round_num: int) -> bool:
        """Whether the state after this round should be saved."""
        if self._spec.every is not None:
            return round_num % self._spec.every == 0
        return time.perf_counter() - self._ended >= self._cost / _SHARE

    def save(self, round_num: int, state: Sequence) -> None:
        """Saves the state after `round_num` rounds, if it is not there already."""
        if round_num == self._last_saved:
            return
        started = time.perf_counter()
        checkpoint.save(self._folder.checkpoints, Checkpoint(round_num, [np.asarray(t) for t in state]), self._spec.keep)
        self._ended, self._last_saved = time.perf_counter(), round_num
        self._cost = self._ended - started
        self._seconds["checkpoints"] = self._seconds.get("checkpoints", 0.0) + self._cost


@dataclasses.dataclass(frozen=True)
class Beginning:
    """From where a run goes on: a checkpoint, the records up to it, and what the user should be told."""

    checkpoint: Checkpoint | None
    records: Sequence[Record]
    remarks: Sequence[str] = ()

    @property
    def round(self) -> int:
        """The last round that need not be computed again."""
        return self.checkpoint.round if self.checkpoint else 0


def where_to_go_on(folder: RunFolder) -> Beginning:
    """The newest checkpoint that is whole and whose records are all there; the very beginning where there is none."""
    records, remarks = read_records(folder.metrics), []
    for path in checkpoint.newest_first(folder.checkpoints):
        try:
            found = checkpoint.load(path)
        except DamagedCheckpoint as error:
            remarks.append(f"{error} The one before it is used.")
            continue
        if found.round <= len(records):
            return Beginning(found, records[: found.round], remarks)
        remarks.append(f"{path.name} is left out: metrics.jsonl ends with round {len(records)}.")
    return Beginning(None, [], remarks)
