"""Several labels per example: from arrays, from columns of 0 and 1, and from cells that list labels."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.cli.main import main
from fedlab.data import HuggingFace, Npz, Table
from fedlab.errors import DataError

Y = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 0, 0]])
X = np.arange(8.0).reshape(4, 2)


def npz(tmp_path, **arrays) -> Npz:
    np.savez(tmp_path / "a.npz", **{"x": X, "y": Y, **arrays})
    return Npz(path=str(tmp_path / "a.npz"), task="multi_label")


@pytest.mark.parametrize("dtype", ["i8", "u1", "f4", "?"])
def test_arrays_of_0_and_1(tmp_path, dtype):
    train, test = npz(tmp_path, y=Y.astype(dtype), x_test=X[:2], y_test=Y[:2].astype(dtype))._read()
    assert train.y.dtype == test.y.dtype == np.uint8 and np.array_equal(train.y, Y) and np.array_equal(test.y, Y[:2])
    assert train.task.label_names == ("0", "1", "2") and train.task == test.task
    named = npz(tmp_path, label_names=np.array(["a", "b", "c"])).load(0)
    assert named.test.task.label_names == ("a", "b", "c")


def table(tmp_path, text: str, test: str | None = None, **options) -> Table:
    (tmp_path / "a.csv").write_text(text)
    if test is not None:
        (tmp_path / "b.csv").write_text(test)
        options["test_path"] = str(tmp_path / "b.csv")
    return Table(path=str(tmp_path / "a.csv"), task="multi_label", **options)


def test_columns_of_0_and_1_or_true_and_false(tmp_path):
    source = table(tmp_path, "x,sea,sun,sand\n1,1,true,Yes\n2,0.0,False,no\n3,1.0,TRUE,no\n", target=("sea", "sun", "sand"))
    train, _ = source._read()
    assert train.y.tolist() == [[1, 1, 1], [0, 0, 0], [1, 1, 0]] and train.task.label_names == ("sea", "sun", "sand")
    assert train.x.shape == (3, 1), "targets are no inputs"


def test_cells_that_list_labels(tmp_path):
    rows, other = "x,tags\n1,sun | sea\n2,\n3,sea|sea|\n", "x,tags\n1,snow\n2,sun\n"
    train, test = table(tmp_path, rows, other, target="tags", separator="|")._read()
    assert train.task.label_names == ("sea", "snow", "sun"), "of both files"
    assert train.y.tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 0]] and test.y.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert "the names of the labels" in table(tmp_path, rows, target="tags", separator="|").statistics


def test_numbers_are_labels_too_and_no_decimal_commas(tmp_path):
    train, _ = table(tmp_path, "x;tags\n1;1,10\n2;2,5\n3;2,10\n", target="tags", separator=",")._read()
    assert train.task.label_names == ("1", "2", "5", "10")
    assert train.y.tolist() == [[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1]]


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"y": Y[:, 0]}, r"y must have shape \(4, number of labels\) for task=multi_label, not \(4,\)"),
        ({"y": Y[:3]}, r"not \(3, 3\)"),
        ({"y": Y[:, :0]}, r"not \(4, 0\)"),
        ({"y": 2 * Y}, "y must contain 0 and 1 for task=multi_label, and has 2"),
        ({"y": Y - 0.5}, "and has -0.5"),
        ({"y": Y * np.nan}, "and has nan"),
        ({"y": Y.astype(str)}, "must contain 0 and 1 for task=multi_label, not <U"),
        ({"y": np.ones_like(Y)}, "all training examples have the same labels, so there is nothing to learn"),
        ({"x_test": X, "y_test": Y[:, :2]}, "y has 3 labels, and y_test has 2"),
        ({"label_names": np.array(["a", "b"])}, "label_names must be 3 different strings"),
        ({"label_names": np.array(["a", "b", "a"])}, "label_names must be 3 different strings"),
    ],
)
def test_wrong_arrays_are_one_line(tmp_path, arrays, problem):
    with pytest.raises(DataError, match=problem) as caught:
        npz(tmp_path, **arrays).load(0)
    assert "\n" not in str(caught.value) and "a.npz" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "options", "problem"),
    [
        ("x,a,b\n1,1,0\n2,,1\n", {"target": ("a", "b")}, "column a of .*, a target, is missing in row 2"),
        ("x,a,b\n1,1,0\n2,2,1\n", {"target": ("a", "b")}, "column a of .* must contain 0 and 1, or true and false, .* has '2'"),
        ("x,a,b\n1,1,0\n2,cat,1\n", {"target": ("a", "b")}, "column a of .* has 'cat'"),
        ("x,a\n1,1\n2,0\n", {"target": ("a", "c")}, r"no column c \(data.target\)"),
        ("x,tags\n1,\n2,\n", {"target": "tags", "separator": "|"}, "has no label in any row"),
        ("x,tags\n1,a|b\n2,c\n", {"target": "tags", "separator": "|", "max_categories": 2}, "column tags has 3 labels"),
    ],
)
def test_wrong_tables_are_one_line(tmp_path, text, options, problem):
    with pytest.raises(DataError, match=problem) as caught:
        table(tmp_path, text, **options).load(0)
    assert "\n" not in str(caught.value) and "a.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "options", "problem"),
    [
        (Table, {"target": "a"}, "task=multi_label needs a list of columns of 0 and 1, such as target=.a,…., or the separator"),
        (Table, {"target": ("a",), "separator": "|"}, "separator is for task=multi_label with one column"),
        (Table, {"target": ("a", "b"), "task": "classification"}, "is a list, and task=classification has one target"),
        (Table, {"target": "a", "separator": "|", "task": "regression"}, "separator is for task=multi_label"),
        (Table, {"target": ()}, "names no column"),
        (Table, {"target": ("a", "a")}, "column a has two uses"),
        (Npz, {"classes": (0, 1)}, "task=multi_label has none"),
        (Npz, {"loss": "mae"}, "multi_label uses the cross-entropy"),
        (HuggingFace, {"input": "x", "target": "y"}, r"task=multi_label reads arrays \(data=npz\) and tables"),
    ],
)
def test_options_that_contradict_each_other_are_refused(kind, options, problem):
    with pytest.raises(ValueError, match=problem):
        kind(path="a", **{"task": "multi_label", **options})


def test_data_show_counts_the_examples_of_each_label(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    table(tmp_path, "x,tags\n" + "1,sun|sea\n2,sun\n3,\n" * 4, "x,tags\n1,sun\n", target="tags", separator="|")
    words = ["data=table", "data.path=a.csv", "data.test_path=b.csv", "data.target=tags", "data.separator='|'"]
    assert main(["data", "show", *words, "data.task=multi_label", "partition=iid", "partition.num_clients=2"]) == 0
    said = capsys.readouterr().out
    assert "2 labels, with their number of training examples: sea 4, sun 8" in said and "classes" not in said
