"""metrics.jsonl: a JSON object per round, the only file of a run that grows."""

from __future__ import annotations

import json
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from fedlab.archive.folder import replacing

Record = dict[str, Any]  # "round", from 1, and a value per metric; not-a-number is null


def read_records(path: pathlib.Path) -> list[Record]:
    """The records of rounds 1, 2, … as far as they go: a torn line, and what follows it, is left out. [] without a file."""
    records: list[Record] = []
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # a whole line ends with a line break
    except FileNotFoundError:
        return records
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            break
        if not isinstance(record, dict) or record.get("round") != len(records) + 1:
            break
        records.append(record)
    return records


class MetricsFile:
    """Appends records; each is in the file when `append` returns, and on disk when `sync` does."""

    def __init__(self, path: pathlib.Path, records: Sequence[Record] = ()):
        """Goes on after `records`, those to keep of an earlier part of the run. Whatever else the file holds is removed."""
        with replacing(path) as partial, open(partial, "w") as file:
            file.writelines(map(_line, records))
        self._file = open(path, "a")  # noqa: SIM115  (closed by `close`)

    def append(self, record: Record) -> None:
        self._file.write(_line(record))
        self._file.flush()

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _line(record: Record) -> str:
    return json.dumps(finite(record), allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """`value` with null for every NaN and infinity in it, for which JSON has no words."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
