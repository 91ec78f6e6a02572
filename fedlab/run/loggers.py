"""Where a run's numbers go besides metrics.jsonl: metrics.csv always, TensorBoard and MLflow where chosen.

metrics.jsonl is the run's own memory, and a run that cannot write it stops. A logger here is a convenience: one that fails is
named once, and the run goes on without it.
"""

from __future__ import annotations

import abc
import csv
import json
import pathlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from fedlab.archive import RunFolder, make_folder, replacing
from fedlab.archive.differences import flat
from fedlab.archive.metrics import Record, finite
from fedlab.errors import one_line
from fedlab.spec import Spec


class Logger(Protocol):
    """Takes the record of each round as it comes, and is closed at the end."""

    def log(self, record: Record) -> None: ...

    def close(self) -> None: ...


class LoggerSpec(Spec):
    """A logger that a configuration can choose."""

    @abc.abstractmethod
    def open(self, folder: RunFolder, name: str, config: Mapping[str, Any], records: Sequence[Record]) -> Logger:
        """The logger of the run `name` in `folder`. `records`: of its earlier part; whatever it has of later rounds is void."""


class Csv:
    """metrics.csv: a row per round and a column per metric. A metric that comes up later gets its column then."""

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
        with replacing(self._path) as partial, open(partial, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(self._columns)
            writer.writerows(map(self._cells, self._rows))
        self._file = open(self._path, "a", newline="")  # noqa: SIM115  (closed by `close`)
        self._writer = csv.writer(self._file)

    def _cells(self, record: Record) -> list[Any]:
        values = (finite(record.get(name)) for name in self._columns)
        return ["" if v is None else json.dumps(v) if isinstance(v, (list, dict)) else v for v in values]


class TensorBoard(LoggerSpec):
    """TensorBoard events in the run folder: a scalar per metric, the step is the round."""

    def open(self, folder: RunFolder, name: str, config: Mapping[str, Any], records: Sequence[Record]) -> Logger:
        shutil.rmtree(folder.tensorboard, ignore_errors=True)
        logger = _TensorBoard(make_folder(folder.tensorboard))
        for record in records:
            logger.log(record)
        return logger


class _TensorBoard:
    def __init__(self, folder: pathlib.Path):
        import tensorflow as tf

        self._tf = tf
        self._folder, self._writer = folder, tf.summary.create_file_writer(str(folder))

    def log(self, record: Record) -> None:
        with self._writer.as_default(step=record["round"]):
            for name, value in _numbers(record).items():
                self._tf.summary.scalar(name, value)

    def close(self) -> None:
        self._writer.close()
        for path in self._folder.iterdir():  # in a folder that its owner alone may enter
            path.chmod(0o600)


class Mlflow(LoggerSpec):
    """MLflow: parameters, metrics by round. A resumed run goes on in the MLflow run it had."""

    reaches_out: ClassVar[tuple[str, ...]] = ("tracking_uri",)

    experiment: str = "fedlab"
    tracking_uri: str | None = None  # null: MLFLOW_TRACKING_URI where it is set, else the folder mlruns here

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
            for begin in range(0, len(params), 100):  # as many as MLflow takes at once
                self._client.log_batch(self._run_id, params=params[begin : begin + 100])
        known = self._client.get_run(self._run_id).data.metrics
        steps = [metric.step for name in known for metric in self._client.get_metric_history(self._run_id, name)]
        self._logged = max(steps, default=0)  # rounds that are computed again give the same metrics
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
    """A logger that warns once when it fails, and is not asked again."""

    def __init__(self, name: str, opened: Any):
        """`opened`: () → Logger."""
        self._name, self._logger = name, None
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
        except Exception as error:
            self._logger = None
            hint = f": pip install 'fedlab-runner[{self._name}]'" if isinstance(error, ModuleNotFoundError) else ""
            print(
                f"fedlab train: the {self._name} logger failed and is left out: {type(error).__name__}: {one_line(error)}{hint}",
                file=sys.stderr,
            )


def _numbers(record: Record) -> dict[str, float]:
    return {k: v for k, v in record.items() if k != "round" and isinstance(v, (int, float))}
