"""Laws that hold for every source, and what each source promises of its own."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import pydantic
import pytest

from fedlab.data import Digits, Emnist, FashionMnist, Mnist, MnistByWriter, Npz
from fedlab.errors import DataError


def needs_mnist():
    source = MnistByWriter()
    try:
        source.verify()
    except DataError as error:
        pytest.skip(str(error))


def same(a, b):
    return np.array_equal(a.x, b.x) and np.array_equal(a.y, b.y) and a.num_classes == b.num_classes


@pytest.fixture
def npz(tmp_path):
    """A source of 50 examples whose x tells which example it is; 10 users."""
    path = tmp_path / "some.npz"
    np.savez(path, x=np.arange(100.0).reshape(50, 2), y=np.arange(50) % 5, user_ids=np.arange(50) // 5)
    return lambda **options: Npz(path=str(path), **options)


def test_digits_are_images_of_the_promised_kind():
    data = Digits().load(seed=0)
    assert data.train.x.shape == (1438, 28, 28, 1) and data.test.x.shape == (359, 28, 28, 1)
    assert data.train.x.dtype == np.uint8 and data.train.num_classes == 10 and data.train.user_ids is None
    assert data.train.x[:, 0].max() == 0, "the margin is black"
    assert data.train.x.max() == 255 and data.train.x.mean() < 64, "white on black"
    assert Digits().num_train_examples == 1438 and not Digits().has_user_ids


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    from fedlab.data.digits import read_digits

    images, labels = read_digits()
    assert np.array_equal(images, load_digits().images) and images.dtype == load_digits().images.dtype
    assert np.array_equal(labels, load_digits().target) and labels.dtype == load_digits().target.dtype


def test_upscaled_digits_still_tell_their_class():
    from sklearn.datasets import load_digits

    from fedlab.data.digits import upscale

    small = load_digits().images[:50]
    big = upscale(small)[..., 0].astype(float)
    block_means = big[:, 4:24, 4:24].reshape(50, 4, 5, 4, 5).mean((2, 4)).reshape(50, -1)
    small_means = small.reshape(50, 4, 2, 4, 2).mean((2, 4)).reshape(50, -1) * 255 / 16
    assert np.corrcoef(block_means.ravel(), small_means.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_split_covers_everything_once_and_is_a_function_of_the_seed(npz, seed):
    data, again, other = npz().load(seed), npz().load(seed), npz().load(seed + 1)
    assert len(data.test) == 10, "0.2 where there is no test set"
    seen = np.concatenate([data.train.x[:, 0], data.test.x[:, 0]])
    assert sorted(seen) == list(range(0, 100, 2))
    assert same(data.train, again.train) and same(data.test, again.test)
    assert not same(data.test, other.test)


def test_test_fraction_is_obeyed(npz):
    data = npz(test_fraction=0.5).load(0)
    assert len(data.train) == len(data.test) == 25
    with pytest.raises(DataError, match="neither may be 0"):
        npz(test_fraction=0.001).load(0)


def test_max_examples_is_a_seeded_subset_of_train_alone(npz):
    whole, few = npz().load(3), npz(max_examples=7).load(3)
    assert len(few.train) == 7 and same(few.test, whole.test)
    assert set(few.train.x[:, 0]) < set(whole.train.x[:, 0])
    assert same(few.train, npz(max_examples=7).load(3).train) and not same(few.train, npz(max_examples=7).load(4).train)
    assert len(npz(max_examples=1000).load(3).train) == 40, "more than there are is all there are"


def test_classes_are_renamed_in_the_order_given(npz):
    data = npz(classes=(4, 1)).load(0)
    number = data.train.x[:, 0].astype(int) // 2
    assert data.train.num_classes == data.test.num_classes == 2
    assert np.array_equal(data.train.y, np.where(number % 5 == 4, 0, 1))
    assert np.array_equal(data.train.user_ids, number // 5), "users go with their examples"
    assert len(data.train) + len(data.test) == 20


@pytest.mark.parametrize("classes", [(1,), (1, 1), (1, "1"), ()])
def test_impossible_classes_are_refused_at_construction(npz, classes):
    with pytest.raises(pydantic.ValidationError, match="two or more different labels"):
        npz(classes=classes)


def test_unknown_classes_are_refused(npz):
    with pytest.raises(pydantic.ValidationError, match="classes 0 to 9"):
        Mnist(classes=(0, 10))
    with pytest.raises(pydantic.ValidationError, match="classes 0 to 9"):
        Digits(classes=(-1, 2))
    with pytest.raises(DataError, match=r"data.classes contains \[7\], but .* only the classes 0 to 4"):
        npz(classes=(0, 7)).load(0)


@pytest.mark.parametrize("bad", [{"max_examples": 0}, {"test_fraction": 0}, {"test_fraction": 1}, {"max_exmaples": 3}])
def test_options_out_of_range_are_refused(bad):
    with pytest.raises(pydantic.ValidationError):
        Digits(**bad)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Mnist(), 60_000),
        (Mnist(max_examples=100), 100),
        (Mnist(test_fraction=0.1), 54_000),
        (Mnist(classes=(0, 1)), None),
        (FashionMnist(), 60_000),
        (Emnist(), 341_873),
        (Emnist(only_digits=False), 671_585),
        (Digits(test_fraction=0.5, max_examples=5000), 899),
    ],
)
def test_num_train_examples_is_known_without_files(source, expected):
    assert source.num_train_examples == expected


def test_num_train_examples_keeps_its_word():
    for options in ({}, {"test_fraction": 0.5}, {"test_fraction": 0.3, "max_examples": 10}):
        assert Digits(**options).num_train_examples == len(Digits(**options).load(0).train)


def test_mnist():
    needs_mnist()
    data = Mnist().load(0)
    assert data.train.x.shape == (60_000, 28, 28, 1) and data.test.x.shape == (10_000, 28, 28, 1)
    assert data.train.x.dtype == np.uint8 and data.train.user_ids is None
    assert data.train.y[:5].tolist() == [5, 0, 4, 1, 9] and data.test.y[:5].tolist() == [7, 2, 1, 0, 4]
    assert same(data.test, Mnist().load(1).test), "the published test set depends on no seed"


def test_mnist_by_writer_is_mnist_with_disjoint_writers():
    needs_mnist()
    data, mnist = MnistByWriter().load(0), Mnist().load(0)
    assert same(data.train, mnist.train) and same(data.test, mnist.test)
    train, test = set(data.train.user_ids), set(data.test.user_ids)
    assert len(train) == 539 and len(test) == 297 and not train & test
    assert np.bincount(data.train.user_ids)[sorted(train)].min() == 19


def test_qmnist_rows_match_mnist_one_by_one():
    needs_mnist()
    from fedlab.data.mnist import parse_idx

    _, train_y, _, test_y, train_rows, test_rows = (parse_idx(c) for c in MnistByWriter()._contents())
    assert np.array_equal(train_rows[:, 0], train_y) and np.array_equal(test_rows[:10_000, 0], test_y)


def test_no_tensorflow_is_imported():
    root = pathlib.Path(__file__).parents[2]
    code = (
        "import sys; from fedlab.cli.main import main\n"
        "assert main(['data', 'list']) == 0 and main(['data', 'show']) == 0\n"
        "import fedlab.data, fedlab.partition, fedlab.cohort\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'tensorflow_federated', 'keras')]\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, stdout=subprocess.DEVNULL, env={**os.environ})
