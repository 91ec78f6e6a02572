"""A user's arrays: what is accepted, and one line for everything that is not."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.data import Npz
from fedlab.errors import DataError

X, Y = np.zeros((6, 3)), np.array([0, 1, 2, 0, 1, 2])


def write(tmp_path, **arrays) -> Npz:
    np.savez(tmp_path / "a.npz", **arrays)
    return Npz(path=str(tmp_path / "a.npz"))


@pytest.mark.parametrize(
    ("given", "kept"), [("u1", "u1"), ("f8", "f4"), ("f4", "f4"), ("f2", "f4"), ("i8", "f4"), ("u4", "f4"), ("?", "f4")]
)
def test_dtypes(tmp_path, given, kept):
    assert write(tmp_path, x=X.astype(given), y=Y).load(0).train.x.dtype == np.dtype(kept)


@pytest.mark.parametrize("dtype", ["i4", "i8", "u4", "u8", ">i4"])
def test_integers_that_are_accepted_stay_exact(tmp_path, dtype):
    x = np.array([[0], [1], [2**24 - 1], [2**24]], dtype) * np.ones((1, 3), dtype)
    kept = write(tmp_path, x=x, y=np.array([0, 1, 0, 1])).examples()
    assert np.array_equal(kept.x.astype(np.int64), x.astype(np.int64))


def test_user_ids_up_to_the_largest_int64_stay_apart(tmp_path):
    users = np.array([2**63 - 1, 2**63 - 2, 0, 0, 0, 0], np.uint64)
    kept = write(tmp_path, x=X, y=Y, user_ids=users).examples()
    assert kept.user_ids.tolist() == users.tolist()


def test_its_own_test_set_is_used_unless_a_fraction_is_asked_for(tmp_path):
    source = write(tmp_path, x=X, y=Y, x_test=X[:2] + 1, y_test=Y[:2] + 3)
    data = source.load(0)
    assert len(data.train) == 6 and len(data.test) == 2 and data.test.x.min() == 1
    assert data.train.num_classes == data.test.num_classes == 5
    assert source.model_copy(update={"test_fraction": 0.5}).load(0).test.x.max() == 0


@pytest.mark.parametrize("users", [np.arange(6, dtype=np.int32), np.array(list("abcabc"))])
def test_user_ids(tmp_path, users):
    source = write(tmp_path, x=X, y=Y, user_ids=users)
    data = source.load(0)
    assert source.has_user_ids and set(data.train.user_ids) | set(data.test.user_ids) == set(users)
    assert not write(tmp_path, x=X, y=Y).has_user_ids


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"x": X}, "must have the arrays x and y, and has"),
        ({"x": X, "y": Y[:5]}, "one label or number per example"),
        ({"x": X, "y": np.eye(3)[Y]}, r"y must have shape \(6,\), one label or number per example, not \(6, 3\)"),
        (
            {"x": X, "y": Y * 0.5},
            r"no classes \(0.5\): give whole numbers or strings, or .*task=regression",
        ),
        ({"x": X, "y": np.array([0, 1, 0, 1, 0, np.inf])}, r"no classes \(inf\)"),
        ({"x": X, "y": Y * 1j}, "integers, strings, booleans or whole numbers, not complex128"),
        ({"x": X, "y": np.array(["a", "b", ""] * 2)}, "empty strings: give every example a label"),
        ({"x": X, "y": Y, "x_test": X, "y_test": Y.astype(str)}, "y has integers and y_test has strings: use one kind"),
        ({"x": X, "y": np.arange(6)}, r"6 different labels \(0, 1, 2, …\), so no class has two examples"),
        ({"x": X * np.nan, "y": Y}, "has NaN"),
        ({"x": X + 1e300, "y": Y}, "too large for float32"),
        ({"x": X.astype("u2"), "y": Y}, "x is uint16, which may be images or counts"),
        ({"x": X.astype(">u2"), "y": Y}, "x is uint16"),
        ({"x": X, "y": Y, "x_test": X.astype("u2"), "y_test": Y}, "x_test is uint16"),
        ({"x": X.astype("i8") + 2**24 + 1, "y": Y}, "x has integers from 16777217 to 16777217, and float32 rounds"),
        ({"x": np.full((6, 3), -(2**63)), "y": Y}, "x has integers from -9223372036854775808"),
        ({"x": X.astype("u8") + np.uint64(2**64 - 1), "y": Y}, "x has integers from 18446744073709551615"),
        ({"x": X.astype("u4") + np.uint32(2**32 - 1), "y": Y}, "x has integers from 4294967295"),
        ({"x": X, "y": Y.astype("u8") + np.uint64(2**64 - 3)}, r"beyond int64: store them as y\.astype\(str\)"),
        ({"x": X, "y": Y, "user_ids": Y.astype("u8") + np.uint64(2**63)}, r"beyond int64: store them as user_ids\.astype\(str\)"),
        ({"x": X[:0], "y": Y[:0]}, "without a 0"),
        ({"x": X[:, 0], "y": Y}, r"shape \[examples"),
        ({"x": X.astype(str), "y": Y}, "must contain numbers"),
        ({"x": X, "y": Y, "x_test": X}, "both x_test and y_test, or neither"),
        ({"x": X, "y": Y, "x_test": X[:, :2], "y_test": Y}, "only the first axis may differ"),
        ({"x": X, "y": Y, "x_test": X.astype("u1"), "y_test": Y}, "x_test is uint8"),
        ({"x": X, "y": Y, "user_ids": Y[:3]}, "user_ids must have shape"),
        ({"x": X, "y": Y, "user_ids": Y * 0.5}, "integers or strings"),
        ({"x": X, "y": Y, "user_ids": np.array([{}] * 6)}, "user_ids holds Python objects"),
    ],
)
def test_wrong_arrays_are_one_line(tmp_path, arrays, problem):
    with pytest.raises(DataError, match=problem) as caught:
        write(tmp_path, **arrays).load(0)
    assert "\n" not in str(caught.value) and "a.npz" in str(caught.value)


LABELS = {
    "from one up": (np.array([10, 1, 2, 10, 1, 2]), ("1", "2", "10")),
    "negative": (np.array([-1, 1, 1, -1, 1, 1]), ("-1", "1")),
    "with gaps": (np.array([7, 3, 7, 3, 2**40, 3], np.int64), ("3", "7", str(2**40))),
    "whole floats": (np.array([2.0, 0.0, 2.0, 1.0, 0.0, 1.0]), None),
    "booleans": (np.array([True, False, True, False, False, True]), ("False", "True")),
    "strings": (np.array(["dog", "cat", "Ähre", "dog", "cat", "Ähre"]), ("cat", "dog", "Ähre")),
    "a column": (np.array([[5], [4], [5], [4], [5], [4]]), ("4", "5")),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind_become_classes_and_keep_their_names(tmp_path, kind):
    given, names = LABELS[kind]
    kept = write(tmp_path, x=X, y=given, x_test=X[:2], y_test=given[:2])._read()
    for examples, y in zip(kept, (given, given[:2])):
        task = examples.task
        assert task.labels == names and examples.y.dtype == np.int32
        shown = [(task.labels or ("0", "1", "2"))[c] for c in examples.y]
        assert shown == [str(v) if y.dtype.kind != "f" else str(int(v)) for v in y.ravel()]


def test_int64_and_uint64_labels_share_one_exact_mapping(tmp_path):
    """NumPy joins them to float64, in which 2^60 and 2^60 + 1 are one number."""
    y = np.array([2**60, 2**60 + 1] * 3)
    train, test = write(tmp_path, x=X, y=y, x_test=X, y_test=y.astype(np.uint64))._read()
    assert train.y.tolist() == test.y.tolist() == [0, 1] * 3


def test_classes_are_chosen_by_the_labels_of_the_data(tmp_path):
    y = np.array(["cat", "dog", "cow"] * 6)
    source = write(tmp_path, x=np.arange(18.0)[:, None], y=y).model_copy(update={"classes": ("dog", "cat")})
    data = source.load(0)
    assert data.train.task.labels == ("dog", "cat")
    assert [y[int(x)] for x in data.train.x[:, 0]] == [("dog", "cat")[c] for c in data.train.y]
    with pytest.raises(DataError, match=r"contains \['horse'\], but npz has only the classes cat, cow, dog\."):
        source.model_copy(update={"classes": ("dog", "horse")}).load(0)
    numbered = write(tmp_path, x=np.arange(18.0)[:, None], y=np.array([1, 5, 9] * 6))
    assert numbered.model_copy(update={"classes": (9, 1)}).load(0).train.task.labels == ("9", "1")


def regression(tmp_path, y, **options) -> Npz:
    np.savez(tmp_path / "a.npz", x=np.arange(20.0)[:, None], y=y)
    return Npz(path=str(tmp_path / "a.npz"), task="regression", **options)


def test_targets_that_are_numbers_are_scaled_by_the_training_targets(tmp_path):
    y = np.random.default_rng(0).normal(1000.0, 30.0, (20, 1))
    data = regression(tmp_path, y).load(0)
    task = data.train.task
    assert (task.center, task.scale) == pytest.approx((data.train.y.mean(dtype=float), data.train.y.std(dtype=float)))
    assert data.test.task == task and np.allclose(data.test.y, y[data.test.x[:, 0].astype(int), 0])
    assert regression(tmp_path, y, scale_target=False).load(0).train.task.scale == 1.0
    assert regression(tmp_path, np.abs(y), loss="poisson").load(0).train.task.scale == 1.0


@pytest.mark.parametrize(
    ("y", "options", "problem"),
    [
        (np.full(20, 3.0), {}, "all training targets are 3, so there is nothing to learn"),
        (np.array(["a", "b"] * 10), {}, "y must contain numbers for task=regression, not 'a'"),
        (1.7e9 + np.arange(20), {}, "y has numbers around 1.7e.09 that float32 rounds by up to .*: subtract a constant"),
        (np.full(20, 0.1), {}, "all training targets are 0.1, so there is nothing to learn"),
        (np.array([1.0, np.nan] * 10), {}, "y has NaN, infinity"),
        (np.array([1.0, 1e300] * 10), {}, "too large for float32"),
        (np.array([1.0, -2.0] * 10), {"loss": "poisson"}, "y goes down to -2; loss=poisson needs counts"),
    ],
)
def test_wrong_targets_are_one_line(tmp_path, y, options, problem):
    with pytest.raises(DataError, match=problem) as caught:
        regression(tmp_path, y, **options).load(0)
    assert "\n" not in str(caught.value) and "a.npz" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"task": "regression", "classes": (0, 1)}, "classes chooses labels, and task=regression has none"),
        ({"loss": "mae"}, "loss=mae is for task=regression"),
    ],
)
def test_options_of_another_task_are_refused(options, problem):
    with pytest.raises(ValueError, match=problem):
        Npz(path="a.npz", **options)


def test_unreadable_files(tmp_path):
    (tmp_path / "text.npz").write_text("x, y")
    np.save(tmp_path / "single.npy", X)
    np.savez(tmp_path / "cut.npz", x=X, y=Y)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:300])
    np.savez_compressed(tmp_path / "flipped.npz", x=np.random.default_rng(0).random((99, 9)), y=np.arange(99))
    content = bytearray((tmp_path / "flipped.npz").read_bytes())
    content[500:600] = bytes(100)
    (tmp_path / "flipped.npz").write_bytes(content)
    with pytest.raises(DataError, match="no such file"):
        Npz(path=str(tmp_path / "gone.npz")).load(0)
    for name in ("text.npz", "single.npy", "cut.npz", "flipped.npz"):
        with pytest.raises(DataError, match="not a readable"):
            Npz(path=str(tmp_path / name)).load(0)
    for name in ("gone.npz", "text.npz", "cut.npz"):
        with pytest.raises(DataError):
            Npz(path=str(tmp_path / name)).has_user_ids  # noqa: B018


@pytest.mark.parametrize("label", [0, 5])
def test_data_of_a_single_class_is_refused_before_training(label, tmp_path, monkeypatch, capfd, tensorflow):
    """A model of one class has a loss of 0 from the start, and would be reported with an accuracy of 100 %."""
    from fedlab.cli.main import main

    monkeypatch.chdir(tmp_path)
    np.savez("one.npz", x=np.zeros([20, 3], np.float32), y=np.full(20, label))
    assert main(["train", "data=npz", "data.path=one.npz", "partition.num_clients=2", "cohort.clients_per_round=2", "-q"]) == 3
    error = capfd.readouterr().err
    assert f"all labels are {label}, so there is one class and nothing to learn: give two or more." in error
    assert error.count("\n") == 1


def test_names_of_arrays_as_in_keras(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(12, 3)), np.arange(12) % 3
    np.savez(tmp_path / "a.npz", x_train=x[:8], y_train=y[:8], x_test=x[8:], y_test=y[8:])
    np.savez(tmp_path / "b.npz", x=x[:8], y=y[:8], x_test=x[8:], y_test=y[8:])
    found, expected = (Npz(path=str(tmp_path / name)).load(0) for name in ("a.npz", "b.npz"))
    for part in ("train", "test"):
        assert np.array_equal(getattr(found, part).x, getattr(expected, part).x)
        assert np.array_equal(getattr(found, part).y, getattr(expected, part).y)


def test_one_hot_labels_are_told_from_classes(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((6, 2)), y=np.eye(3)[[0, 1, 2, 0, 1, 2]])
    with pytest.raises(DataError, match=r"not \(6, 3\): of one-hot labels, store y\.argmax\(axis=1\)"):
        Npz(path=str(tmp_path / "a.npz")).load(0)
