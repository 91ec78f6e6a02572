"""metrics.jsonl: whole lines, one per round, whatever happened to the process that wrote them."""

from __future__ import annotations

import json

import pytest

from fedlab.archive.metrics import MetricsFile, finite, read_records


def record(round_num, **metrics):
    return {"round": round_num, "loss": 1.0 / round_num, **metrics}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def written(path, rounds):
    file = MetricsFile(path)
    for r in rounds:
        file.append(record(r))
    file.close()
    return path


def test_a_record_is_in_the_file_at_once_and_holds_no_nan(path):
    file = MetricsFile(path)
    file.append({"round": 1, "loss": float("nan"), "norms": [1.0, float("inf")], "accuracy": 0.25})
    lines = path.read_text().splitlines()
    file.close()
    expected = {"round": 1, "loss": None, "norms": [1.0, None], "accuracy": 0.25}
    assert [json.loads(line, parse_constant=pytest.fail) for line in lines] == [expected]


def test_what_was_written_is_read(path):
    assert read_records(written(path, range(1, 6))) == [record(r) for r in range(1, 6)]


def test_no_file_is_no_record(path):
    assert read_records(path) == []


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_torn_line_is_left_out(path, cut):
    content = written(path, [1, 2, 3]).read_bytes()
    path.write_bytes(content[:-cut])
    assert read_records(path) == [record(1), record(2)]


@pytest.mark.parametrize("rounds", [[1, 2, 4], [1, 2, 2, 3], [1, 2, 1]])
def test_records_end_where_a_round_is_missing_or_doubled(path, rounds):
    assert read_records(written(path, rounds)) == [record(1), record(2)]


def test_going_on_keeps_what_it_is_given_and_removes_the_rest(path):
    written(path, [1, 2, 3, 4])
    file = MetricsFile(path, [record(1), record(2)])
    assert read_records(path) == [record(1), record(2)]
    file.append(record(3, accuracy=0.5))
    file.close()
    assert read_records(path) == [record(1), record(2), record(3, accuracy=0.5)]


def test_finite_keeps_everything_else():
    assert finite({"a": [1, (2.5, "x")], "b": None, "c": True}) == {"a": [1, [2.5, "x"]], "b": None, "c": True}
