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
        ({"x": X, "y": Y[:5]}, "one label per example"),
        ({"x": X, "y": Y[:, None]}, "one label per example"),
        ({"x": X, "y": Y * 0.5}, "must contain integers, not float64"),
        ({"x": X, "y": Y - 1}, "y has labels from -1 to 1; they must start at 0"),
        ({"x": X, "y": Y + 2**31}, "the largest allowed is 2147483647"),
        ({"x": X * np.nan, "y": Y}, "has NaN"),
        ({"x": X + 1e300, "y": Y}, "too large for float32"),
        ({"x": X.astype("u2"), "y": Y}, "x is uint16, which may be images or counts"),
        ({"x": X.astype(">u2"), "y": Y}, "x is uint16"),
        ({"x": X, "y": Y, "x_test": X.astype("u2"), "y_test": Y}, "x_test is uint16"),
        ({"x": X.astype("i8") + 2**24 + 1, "y": Y}, "x has integers from 16777217 to 16777217, and float32 rounds"),
        ({"x": np.full((6, 3), -(2**63)), "y": Y}, "x has integers from -9223372036854775808"),
        ({"x": X.astype("u8") + np.uint64(2**64 - 1), "y": Y}, "x has integers from 18446744073709551615"),
        ({"x": X.astype("u4") + np.uint32(2**32 - 1), "y": Y}, "x has integers from 4294967295"),
        ({"x": X, "y": Y.astype("u8") + np.uint64(2**64 - 3)}, "the largest allowed is 2147483647"),
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
