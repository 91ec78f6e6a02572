"""Loggers: what goes where, once per round also after a resume, and a failing one that stops nothing."""

from __future__ import annotations

import csv

import pytest
import tensorflow as tf

from fedlab.archive import RunFolder, make_folder
from fedlab.run.loggers import Csv, Guarded, Mlflow, TensorBoard


def records(*rounds):
    """Every other round is evaluated."""
    return [
        {
            "round": r,
            "loss": 1 / r,
            "weights_hash": f"{r:x}",
            "norms": [r, 2.5],
            **({"test_accuracy": r / 10} if r % 2 == 0 else {}),
        }
        for r in rounds
    ]


@pytest.fixture
def folder(tmp_path):
    return RunFolder(make_folder(tmp_path / "run"))


def rows(folder):
    with open(folder.metrics_csv, newline="") as file:
        return list(csv.DictReader(file))


class TestCsv:
    def test_a_row_per_round_at_once_and_a_column_for_a_metric_that_comes_later(self, folder):
        log = Csv(folder.metrics_csv)
        for record in records(1, 2, 3):
            log.log(record)
            assert [row["round"] for row in rows(folder)] == [str(r) for r in range(1, record["round"] + 1)]
        log.close()
        assert list(rows(folder)[0]) == ["round", "loss", "weights_hash", "norms", "test_accuracy"]
        assert [row["test_accuracy"] for row in rows(folder)] == ["", "0.2", ""]
        assert rows(folder)[1]["norms"] == "[2, 2.5]" and float(rows(folder)[2]["loss"]) == 1 / 3

    def test_going_on_writes_no_round_twice(self, folder):
        log = Csv(folder.metrics_csv)
        for record in records(1, 2, 3, 4):
            log.log(record)
        log.close()
        log = Csv(folder.metrics_csv, records(1, 2))
        assert [row["round"] for row in rows(folder)] == ["1", "2"]
        log.log(records(3)[0])
        log.close()
        assert [row["round"] for row in rows(folder)] == ["1", "2", "3"]

    def test_not_a_number_is_an_empty_cell(self, folder):
        log = Csv(folder.metrics_csv)
        log.log({"round": 1, "loss": float("nan")})
        log.close()
        assert rows(folder) == [{"round": "1", "loss": ""}]


def test_tensorboard_has_each_round_once_also_after_a_resume(folder):
    first = TensorBoard().open(folder, "run", {}, [])
    for record in records(1, 2, 3):
        first.log(record)
    first.close()
    again = TensorBoard().open(folder, "run", {}, records(1, 2))
    again.log(records(3)[0])
    again.close()
    found = []
    for path in folder.tensorboard.iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            found += [(event.step, v.tag, float(tf.make_ndarray(v.tensor))) for v in event.summary.value]
    assert sorted(found) == [
        (1, "loss", 1.0),
        (2, "loss", 0.5),
        (2, "test_accuracy", pytest.approx(0.2)),
        (3, "loss", pytest.approx(1 / 3)),
    ]


def scalars(folder):
    """The metrics in the event files of `folder`, as TensorBoard's own reader finds them: tag → [(step, value)]."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    reader.Reload()
    assert set(reader.PluginTagToContent("scalars")) == set(reader.Tags()["tensors"])
    return {
        tag: [(e.step, tf.make_ndarray(e.tensor_proto).item()) for e in reader.Tensors(tag)] for tag in reader.Tags()["tensors"]
    }


def test_tensorboard_reads_the_same_as_from_tensorflows_own_writer(folder, tmp_path):
    log = TensorBoard().open(folder, "run", {}, [])
    numbers = {"loss": 1 / 3, "count": 3, "right": True, "no_number": float("nan"), "large": 1e30, "group/inner": 2.0}
    record = {"round": 7, "weights_hash": "ab", **numbers}
    log.log(record)
    log.close()
    with tf.summary.create_file_writer(str(tmp_path / "own")).as_default(step=7):
        for name, value in numbers.items():
            tf.summary.scalar(name, value)
        tf.summary.flush()
    assert str(scalars(folder.tensorboard)) == str(scalars(tmp_path / "own"))  # as text, because NaN is not equal to itself


def test_tensorboard_shows_a_round_before_the_file_is_closed(folder):
    log = TensorBoard().open(folder, "run", {}, records(1, 2))
    assert scalars(folder.tensorboard)["loss"] == [(1, 1.0), (2, 0.5)]
    log.log(records(3)[0])
    assert scalars(folder.tensorboard)["loss"][-1] == (3, pytest.approx(1 / 3))
    log.close()


class Failing:
    def __init__(self, at):
        self.at, self.calls = at, 0

    def log(self, record):
        self.calls += 1
        if record["round"] == self.at:
            raise OSError("the server\nis gone")

    def close(self):
        raise AssertionError("a logger that has failed is not asked again")


def test_a_failing_logger_warns_once_and_is_left_out():
    failing, lines = Failing(at=2), []
    log = Guarded("tracker", lambda: failing, lines.append)
    for record in records(1, 2, 3, 4):
        log.log(record)
    log.close()
    assert failing.calls == 2
    assert lines == ["the tracker logger failed; the run continues without it: OSError: the server is gone"]


def test_a_logger_that_cannot_be_opened_is_left_out_too():
    lines = []

    def opened():
        raise ModuleNotFoundError("No module named 'mlflow'")

    log = Guarded("mlflow", opened, lines.append)
    log.log(records(1)[0])
    log.close()
    assert len(lines) == 1 and lines[0].endswith("pip install 'fedlab-runner[mlflow]'")


@pytest.mark.slow
def test_mlflow_has_each_round_once_also_after_a_resume(folder, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    spec = Mlflow(tracking_uri=(tmp_path / "mlruns").as_uri())
    for earlier, later in (([], [1, 2, 3]), (records(1, 2), [3, 4])):
        log = spec.open(folder, "name", {"seed": 3, "model": {"hidden": [8]}}, earlier)
        for record in records(*later):
            log.log(record)
        log.close()
    client = mlflow.MlflowClient(spec.tracking_uri)
    (run,) = client.search_runs([client.get_experiment_by_name("fedlab").experiment_id])
    assert run.info.run_name == "name" and run.data.params == {"seed": "3", "model.hidden": "[8]"}
    assert [m.step for m in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3, 4]
