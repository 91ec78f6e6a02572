"""Loggers write a run's metrics to more than metrics.jsonl: metrics.csv always, TensorBoard and MLflow if chosen.

A run needs metrics.jsonl and stops if it cannot write it. A logger is optional: if it fails, one warning names it and the run
continues without it.
"""

from __future__ import annotations

import abc
import csv
import json
import pathlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from fedlab.archive import RunFolder, make_folder, replacing
from fedlab.archive.differences import flat
from fedlab.archive.folder import finite
from fedlab.archive.metrics import Record
from fedlab.archive.tables import write_rows
from fedlab.errors import one_line
from fedlab.spec import Spec, absolute
from fedlab.stopping import STOPS


@runtime_checkable
class Logger(Protocol):
    """A logger receives the record of each round and is closed at the end."""

    def log(self, record: Record) -> None: ...

    def close(self) -> None: ...


class LoggerSpec(Spec):
    """A logger that a configuration can choose."""

    makes: ClassVar[Mapping[str, tuple[str, ...]]] = {"open": ("fedlab.run.loggers.Logger",)}

    @abc.abstractmethod
    def open(self, folder: RunFolder, name: str, config: Mapping[str, Any], records: Sequence[Record]) -> Logger:
        """Returns the logger of the run `name` in `folder`. `records`: the earlier rounds of a resumed run; the logger discards
        its data of later rounds."""


class Csv:
    """Writes metrics.csv: a row per round and a column per metric. A metric that first appears later gets a new column then."""

    def __init__(self, path: pathlib.Path, records: Sequence[Record] = ()):
        self._path, self._rows = path, list(records)
        self._columns: list[str] = []
        self._widen(records)
        self._rewrite()

    def log(self, record: Record) -> None:
        self._rows.append(record)
        if self._widen([record]):
            self._file.close()
            self._rewrite()
        else:
            self._writer.writerow(self._cells(record))
            self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _widen(self, records: Sequence[Record]) -> bool:
        new = list(dict.fromkeys(name for record in records for name in record if name not in self._columns))
        self._columns += new
        return bool(new)

    def _rewrite(self) -> None:
        write_rows(self._path, self._columns, map(self._cells, self._rows))
        self._file = open(self._path, "a", newline="")  # noqa: SIM115  (closed by `close`)
        self._writer = csv.writer(self._file)

    def _cells(self, record: Record) -> list[Any]:
        values = (finite(record.get(name)) for name in self._columns)
        return ["" if v is None else json.dumps(v) if isinstance(v, (list, dict)) else v for v in values]


class TensorBoard(LoggerSpec):
    """Writes TensorBoard events into the run folder: a scalar per metric; the step is the round."""

    def open(self, folder: RunFolder, name: str, config: Mapping[str, Any], records: Sequence[Record]) -> Logger:
        shutil.rmtree(folder.tensorboard, ignore_errors=True)
        logger = _TensorBoard(make_folder(folder.tensorboard))
        for record in records:
            logger.log(record)
        return logger


class _TensorBoard:
    """Writes an event file: a TFRecord file whose first record states the version. One record per round, with all of its metrics;
    `tf.summary.scalar` runs an operation and writes a record for each metric. A round that is logged survives a kill."""

    def __init__(self, folder: pathlib.Path):
        import time

        import tensorflow as tf

        v1 = tf.compat.v1
        self._folder, self._now, self._new_event = folder, time.time, v1.Event
        self._new_value, self._number, self._scalar = v1.Summary.Value, tf.make_tensor_proto, tf.float32
        plugin = v1.SummaryMetadata.PluginData(plugin_name="scalars")
        self._metadata = v1.SummaryMetadata(plugin_data=plugin, data_class="DATA_CLASS_SCALAR")
        self._file = tf.io.TFRecordWriter(str(folder / f"events.out.tfevents.{int(self._now())}.v2"))
        self._write(file_version="brain.Event:2")

    def log(self, record: Record) -> None:
        values = [
            self._new_value(tag=name, metadata=self._metadata, tensor=self._number(value, self._scalar))
            for name, value in _numbers(record).items()
        ]
        self._write(step=record["round"], summary={"value": values})

    def close(self) -> None:
        self._file.close()
        for path in self._folder.iterdir():  # files for their owner only, like the run folder
            path.chmod(0o600)

    def _write(self, **fields: Any) -> None:
        self._file.write(self._new_event(wall_time=self._now(), **fields).SerializeToString())
        self._file.flush()


class Mlflow(LoggerSpec):
    """Logs parameters, and metrics by round, to MLflow. A resumed run continues its MLflow run."""

    reaches_out: ClassVar[tuple[str, ...]] = ("tracking_uri",)
    locations: ClassVar[tuple[str, ...]] = ("tracking_uri",)

    experiment: str = "fedlab"
    tracking_uri: str | None = None  # null: MLFLOW_TRACKING_URI if set, else ./mlruns

    @classmethod
    def recorded_location(cls, option: str, value: Any) -> Any:
        scheme, _, path = value.partition(":") if isinstance(value, str) else ("", "", "")
        if not path:
            return super().recorded_location(option, value)
        if scheme == "sqlite" and re.match(r"///[^/]", path):  # three slashes: a relative path; an absolute path has four
            return f"sqlite:///{absolute(path[3:])}"
        return f"file:{absolute(path)}" if scheme == "file" and not path.startswith("/") else value

    def open(self, folder: RunFolder, name: str, config: Mapping[str, Any], records: Sequence[Record]) -> Logger:
        return _Mlflow(self, folder, name, config)


class _Mlflow:
    def __init__(self, spec: Mlflow, folder: RunFolder, name: str, config: Mapping[str, Any]):
        import mlflow

        self._client = mlflow.MlflowClient(spec.tracking_uri or mlflow.get_tracking_uri())
        noted = folder.path / "mlflow_run_id"
        if noted.is_file():
            self._run_id = noted.read_text().strip()
        else:
            found = self._client.get_experiment_by_name(spec.experiment)
            experiment = found.experiment_id if found else self._client.create_experiment(spec.experiment)
            self._run_id = self._client.create_run(experiment, run_name=name).info.run_id
            with replacing(noted) as partial:
                partial.write_text(self._run_id + "\n")
            params = [mlflow.entities.Param(k, str(v)[:500]) for k, v in flat(config).items()]
            for begin in range(0, len(params), 100):  # MLflow accepts 100 at once
                self._client.log_batch(self._run_id, params=params[begin : begin + 100])
        known = self._client.get_run(self._run_id).data.metrics
        steps = [metric.step for name in known for metric in self._client.get_metric_history(self._run_id, name)]
        self._logged = max(steps, default=0)  # rounds that are computed again have the same metrics
        self._metric = mlflow.entities.Metric

    def log(self, record: Record) -> None:
        step = record["round"]
        if step > self._logged:
            import time

            now = int(time.time() * 1000)
            self._client.log_batch(self._run_id, [self._metric(k, v, now, step) for k, v in _numbers(record).items()])

    def close(self) -> None:
        self._client.set_terminated(self._run_id)


class Guarded:
    """A logger that reports its first failure in one line, and is not used again."""

    def __init__(self, name: str, opened: Any, on_failure: Callable[[str], None]):
        """`opened`: () → Logger. `on_failure` receives the line."""
        self._name, self._logger, self._on_failure = name, None, on_failure
        self._try(lambda: setattr(self, "_logger", opened()))

    def log(self, record: Record) -> None:
        if self._logger is not None:
            self._try(lambda: self._logger.log(record))

    def close(self) -> None:
        if self._logger is not None:
            self._try(lambda: self._logger.close())

    def _try(self, act: Any) -> None:
        try:
            act()
        except STOPS:
            raise
        except BaseException as error:
            self._logger = None
            hint = f": pip install 'fedlab-runner[{self._name}]'" if isinstance(error, ModuleNotFoundError) else ""
            self._on_failure(
                f"the {self._name} logger failed; the run continues without it: {type(error).__name__}: {one_line(error)}{hint}"
            )


def _numbers(record: Record) -> dict[str, float]:
    return {k: v for k, v in record.items() if k != "round" and isinstance(v, (int, float))}
