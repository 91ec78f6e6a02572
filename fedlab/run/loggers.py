"""Where a run's numbers go, round by round. A logger takes records as they come and is closed at the end."""

from __future__ import annotations

import json
import math
import pathlib
from typing import Any, Protocol

Record = dict[str, Any]  # "round", and a number per metric


class Logger(Protocol):
    """Takes the record of each round, and at the end the summary of the run (None where it failed)."""

    def log(self, record: Record) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """metrics.jsonl: a line per round, on disk as soon as the round is over. Not-a-number is written as null."""

    def __init__(self, path: pathlib.Path):
        self._file = open(path, "w")  # noqa: SIM115  (closed by `close`)

    def log(self, record: Record) -> None:
        self._file.write(json.dumps(_finite(record), allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _finite(value: Any) -> Any:
    """`value` with null for every NaN and infinity in it, for which JSON has no words."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class TensorBoard:
    """TensorBoard events: a scalar per metric, the step is the round."""

    def __init__(self, folder: pathlib.Path):
        import tensorflow as tf

        self._tf = tf
        self._writer = tf.summary.create_file_writer(str(folder))

    def log(self, record: Record) -> None:
        with self._writer.as_default(step=record["round"]):
            for name, value in record.items():
                if name != "round" and isinstance(value, (int, float)):
                    self._tf.summary.scalar(name, value)

    def close(self) -> None:
        self._writer.close()
