"""Whom a bug befalls, and what it does to their examples."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.corruption import Blur, FeatureNoise, Function, Inversion, LabelFlip, NoCorruption, Occlusion, Rotation
from fedlab.errors import DataError
from fedlab.types import Dataset, ExampleSet, Partition


def noisy(x, y, rng, scale=0.5):
    return np.where(x > 0, x * (1 - scale * rng.random(x.shape)), 0).astype(x.dtype), y


def halved(x, y, rng):
    return x[: len(x) // 2], y


def endless(x, y, rng):
    return np.full_like(x, np.inf), y


def beyond(x, y, rng):
    return x, y + 4


NUM_USERS, PER_USER = 600, 3
KINDS = [
    Inversion(),
    LabelFlip(),
    Blur(sigma=1.5),
    Occlusion(),
    Occlusion(place="random"),
    FeatureNoise(variance=0.5, fraction=0.5),
    Rotation(angle=180, degree="drawn", fraction=0.5),
    Function(function=f"{__name__}.noisy"),
]


def examples(dtype=np.uint8, num_users=NUM_USERS, first_user=0, with_users=True, seed=0) -> ExampleSet:
    rng = np.random.default_rng(seed)
    n = num_users * PER_USER
    x = rng.integers(0, 256, (n, 6, 5, 1)).astype(np.uint8)
    users = rng.permutation(np.repeat(np.arange(first_user, first_user + num_users), PER_USER))
    x = x if dtype == np.uint8 else x.astype(np.float32) / 255
    return ExampleSet(x, rng.integers(0, 4, n).astype(np.int32), 4, users if with_users else None)


def dataset(dtype=np.uint8, **options) -> Dataset:
    """The users of the test set are others than those of the training set, as in MNIST by writer."""
    return Dataset("made", examples(dtype, **options), examples(dtype, 50, NUM_USERS, seed=1, **options))


def clients(num_clients: int) -> Partition:
    """Takes all examples but the first ten."""
    parts = np.array_split(np.arange(10, NUM_USERS * PER_USER), num_clients)
    return Partition(tuple(f"c{i}" for i in range(num_clients)), tuple(parts))


@pytest.mark.parametrize("corruption", KINDS, ids=[f"{i}-{type(kind).__name__}" for i, kind in enumerate(KINDS)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_examples_of_those_affected_are_changed_and_no_others(corruption, dtype):
    data, partition = dataset(dtype), clients(5)
    before = data.train.x.copy(), data.train.y.copy()
    affected = corruption.affected(data, partition, seed=1)
    result = corruption(data, partition, seed=1)
    assert np.array_equal(data.train.x, before[0]) and np.array_equal(data.train.y, before[1])  # never in place
    for old, new in ((data.train, result.train), (data.test, result.test)):
        has_it = np.array([affected[str(user)] for user in old.user_ids])
        changed = (old.x != new.x).any(axis=(1, 2, 3)) | (old.y != new.y)
        assert not changed[~has_it].any()
        assert changed[has_it].mean() > 0.9
        assert new.x.dtype == old.x.dtype and new.y.dtype == old.y.dtype and 0.3 < has_it.mean() < 0.7
    again = corruption(data, partition, seed=1)
    assert np.array_equal(again.train.x, result.train.x) and np.array_equal(again.train.y, result.train.y)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("kind", [Inversion, LabelFlip])
def test_twice_is_not_at_all(kind, dtype):
    data = dataset(dtype)
    twice = kind(fraction=1)(kind(fraction=1)(data, clients(5), 0), clients(5), 0)
    assert np.array_equal(twice.train.y, data.train.y)
    if dtype == np.uint8:
        assert np.array_equal(twice.train.x, data.train.x) and np.array_equal(twice.test.x, data.test.x)
    else:  # 1 − x rounds to float32
        assert np.abs(twice.train.x - data.train.x).max() <= 2**-24


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 1.0])
def test_about_the_fraction_of_users_is_affected(fraction):
    affected = Inversion(fraction=fraction).affected(dataset(), clients(5), seed=2)
    share = np.mean(list(affected.values()))
    assert len(affected) == NUM_USERS + 50
    assert abs(share - fraction) <= 4 * np.sqrt(fraction * (1 - fraction) / len(affected))


def test_whether_a_user_is_affected_depends_on_the_seed_and_that_user_alone():
    everybody = Inversion().affected(dataset(), clients(5), seed=3)
    few = Dataset("few", examples(num_users=20), examples(num_users=5, first_user=9))
    some = Inversion().affected(few, clients(2), seed=3)
    assert some and some == {user: everybody[user] for user in some}
    assert some != Inversion().affected(few, clients(2), seed=4)
    fewer = Inversion(fraction=0.2).affected(dataset(), clients(5), seed=3)
    assert {u for u, has_it in fewer.items() if has_it} < {u for u, has_it in everybody.items() if has_it}


def test_named_users_are_affected_and_nobody_else():
    affected = Inversion(users=[7, "603"]).affected(dataset(), clients(5), seed=0)
    assert {user for user, has_it in affected.items() if has_it} == {"7", "603"}
    with pytest.raises(DataError, match=r"corruption\.users: there is no user '6033'\. Did you mean '633'\?"):
        Inversion(users=["6033"])(dataset(), clients(5), 0)


def test_without_user_ids_the_clients_are_the_users_and_the_test_set_stays():
    data, partition = dataset(with_users=False), clients(8)
    affected = Inversion(users=["c2"]).affected(data, partition, 0)
    result = Inversion(users=["c2"])(data, partition, 0)
    changed = np.flatnonzero((result.train.x != data.train.x).any(axis=(1, 2, 3)))
    assert affected == {f"c{i}": i == 2 for i in range(8)}
    assert np.array_equal(changed, partition.indices[2])
    assert np.array_equal(result.test.x, data.test.x)


def test_nothing_is_copied_where_nobody_is_affected():
    data = dataset()
    assert NoCorruption()(data, clients(5), 0) is data
    found = Inversion(fraction=0)(data, clients(5), 0)
    assert found.train is data.train and found.test is data.test
    assert len(found.affected) == NUM_USERS + 50 and not any(found.affected.values())
    assert NoCorruption().affected(data, clients(5), 0) == {}


def test_an_occluded_corner_is_white_and_the_rest_as_it_was():
    data = dataset()
    result = Occlusion(fraction=1, side=0.4)(data, clients(5), 0)
    assert (result.train.x[:, :2, :2] == 255).all()  # 0.4 of 5 pixels
    assert np.array_equal(result.train.x[:, 2:], data.train.x[:, 2:])


@pytest.mark.parametrize(
    ("corruption", "shape", "says"),
    [
        (Inversion(), (6, 5, 1), r"corruption=inversion needs uint8 images or floats in \[0, 1\]; the data ranges from"),
        (Rotation(), (30,), r"corruption=rotation needs images \[height, width, channels\], the data has \[30\]"),
        (Blur(), (30,), r"corruption=blur needs images \[height, width, channels\], the data has \[30\]"),
        (Function(function=f"{__name__}.noisy", options={"scael": 2}), (3,), "noisy failed: TypeError: .*scael"),
        (Function(function="numpy.atleast_2d"), (3,), "atleast_2d failed"),
        (
            Function(function=f"{__name__}.halved"),
            (3,),
            r"halved returned x as float32 \[\d, 3\]; it must stay float32 \[\d, 3\]",
        ),
        (Function(function=f"{__name__}.endless"), (3,), "endless returned x with NaN or infinity"),
        (Function(function=f"{__name__}.beyond"), (3,), r"beyond returned labels outside \[0, 4\)"),
    ],
)
def test_data_that_a_bug_cannot_befall_is_one_line(corruption, shape, says):
    rng = np.random.default_rng(0)
    part = ExampleSet(3 * rng.normal(size=(9, *shape)).astype(np.float32), np.zeros(9, np.int32), 4, np.arange(9) % 3)
    with pytest.raises(DataError, match=says) as caught:
        corruption(Dataset("made", part, part), clients(1), 0)
    assert "\n" not in str(caught.value)
