"""metrics.jsonl: a JSON object per round, the only file of a run that grows."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from fedlab.archive.folder import finite, replacing
from fedlab.archive.tables import GrowingFile
from fedlab.fingerprint import parsed_json

Summary = dict[str, Any]  # metric → value, as in summary.json
Record = dict[str, Any]  # "round", from 1, and one value per metric; NaN is null


def read_records(path: pathlib.Path) -> list[Record]:
    """Returns the records of rounds 1, 2, … up to the first torn line. [] if there is no file."""
    records: list[Record] = []
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # a complete line ends with a line break
    except FileNotFoundError:
        return records
    for line in lines:
        try:
            record = parsed_json(line)
        except ValueError:
            break
        if not isinstance(record, dict) or record.get("round") != len(records) + 1:
            break
        records.append(record)
    return records


class MetricsFile(GrowingFile):
    """Appends records. A record is in the file when `append` returns, and on disk when `sync` returns."""

    def __init__(self, path: pathlib.Path, records: Sequence[Record] = ()):
        """Continues after `records`, the kept records of an earlier part of the run. Removes all others from the file."""
        with replacing(path) as partial, open(partial, "w") as file:
            file.writelines(map(_line, records))
        super().__init__(path)

    def append(self, record: Record) -> None:
        self._append(_line(record))


def _line(record: Record) -> str:
    return json.dumps(finite(record), allow_nan=False) + "\n"
