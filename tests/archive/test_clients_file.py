"""clients.csv and partition.csv come back as they were written."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.archive import columns
from fedlab.archive.clients import ClientLabels, ClientScore, read_labels, read_scores, write_labels, write_ledger, write_scores
from fedlab.archive.differences import compared, flat
from fedlab.errors import FedlabError
from fedlab.ragged import Names

AWKWARD = ['with, comma and "quotes"', "line\nbreak", "7", ""]


def test_scores_come_back(tmp_path):
    path = tmp_path / "clients.csv"
    scores = [ClientScore(name, i, 1 / (i + 3), 0.1 * i) for i, name in enumerate(AWKWARD)]
    write_scores(path, scores)
    assert read_scores(path) == scores


def test_further_metrics_come_back_and_undefined_ones_are_empty(tmp_path):
    scores = [ClientScore("a", 1, 0.5, 0.1, (0.7, 0.2)), ClientScore("b", 2, 0.5, None, (None, 0.3))]
    write_scores(tmp_path / "clients.csv", scores, "accuracy", ("auc", "ece"))
    assert read_scores(tmp_path / "clients.csv") == scores


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), None])
def test_a_loss_that_is_no_number_comes_back_as_none(tmp_path, loss):
    write_scores(tmp_path / "clients.csv", [ClientScore("a", 1, 0.5, loss)])
    assert read_scores(tmp_path / "clients.csv") == [ClientScore("a", 1, 0.5, None)]


def test_labels_come_back(tmp_path):
    path, counts = tmp_path / "partition.csv", np.arange(12).reshape(4, 3)
    write_labels(path, AWKWARD, counts)
    assert read_labels(path) == [ClientLabels(name, tuple(row)) for name, row in zip(AWKWARD, counts.tolist())]
    assert path.read_text().splitlines()[0] == "client,class_0,class_1,class_2"


def test_no_file_is_no_client(tmp_path):
    assert read_scores(tmp_path / "none.csv") == [] and read_labels(tmp_path / "none.csv") == []


@pytest.mark.parametrize("content", ["client,examples,accuracy,loss\na,1\n", "h\na,x,0.5,1\n", "h\na,1,\xff,1\n"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "clients.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(FedlabError, match=r"clients\.csv (is damaged|cannot be read)"):
        read_scores(tmp_path / "clients.csv")


def test_differences_are_dotted():
    a = {"model": {"hidden": [8], "dropout": 0.1}, "seed": 0}
    b = {"model": {"hidden": [8], "dropout": 0.2, "name": "x"}, "data": {}}
    assert compared(a, b) == [("model.dropout", 0.1, 0.2), ("model.name", None, "x"), ("seed", 0, None), ("data", None, {})]
    assert compared(a, a) == [] and flat(a) == {"model.hidden": [8], "model.dropout": 0.1, "seed": 0}


@pytest.fixture
def long(monkeypatch):
    monkeypatch.setattr(columns, "MOST_ROWS", 1)


@pytest.mark.parametrize("names", [("a", "é,\n"), Names(np.array([7, -2]))], ids=["text", "integers"])
def test_long_tables_come_back(tmp_path, long, names):
    nan, inf = float("nan"), float("inf")
    scores = [ClientScore(names[0], 3, 0.5, inf, (0.7,)), ClientScore(names[1], 1, None, nan, (None,))]
    write_scores(tmp_path / "clients.csv", scores, "accuracy", ("auc",))
    assert [path.name for path in tmp_path.iterdir()] == ["clients.npz"]
    expected = [ClientScore(names[0], 3, 0.5, None, (0.7,)), ClientScore(names[1], 1, None, None, (None,))]
    assert read_scores(tmp_path / "clients.csv") == expected
    write_labels(tmp_path / "partition.csv", names, np.array([[1, 0, 300], [0, 0, 2]]))
    assert read_labels(tmp_path / "partition.csv") == [ClientLabels(names[0], (1, 0, 300)), ClientLabels(names[1], (0, 0, 2))]
    write_ledger(tmp_path / "privacy.csv", [(names[0], 5, 2, inf), (names[1], 6, 1, 0.25)], 1e-5)
    with np.load(tmp_path / "privacy.npz") as arrays:
        assert list(arrays) == ["client", "examples", "rounds", "epsilon", "delta"] and arrays["epsilon"].tolist() == [inf, 0.25]


@pytest.mark.parametrize(
    "arrays",
    [
        {"client": np.array(["a"]), "examples": np.array([1])},
        {"client": np.array(["a"]), "examples": np.array([1]), "accuracy": np.zeros(2), "loss": np.zeros(1)},
        {"client": np.array(["a"]), "examples": np.array([1]), "accuracy": np.array(["x"]), "loss": np.zeros(1)},
        {"client": np.zeros(1), "examples": np.array([1]), "accuracy": np.zeros(1), "loss": np.zeros(1)},
        {"client": np.array(["a"], object), "examples": np.array([1]), "accuracy": np.zeros(1), "loss": np.zeros(1)},
        {"client": np.array("a"), "examples": np.array(1), "accuracy": np.array(0.0), "loss": np.array(0.0)},
        {},
    ],
    ids=["columns", "lengths", "kinds", "names", "objects", "scalars", "nothing"],
)
def test_a_damaged_binary_table_is_named(tmp_path, arrays):
    np.savez(tmp_path / "clients.npz", **arrays)
    with pytest.raises(FedlabError, match=r"clients\.npz is damaged"):
        read_scores(tmp_path / "clients.csv")


def test_a_binary_table_that_is_none_is_named(tmp_path):
    (tmp_path / "clients.npz").write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(FedlabError, match=r"clients\.npz is damaged"):
        read_scores(tmp_path / "clients.csv")
