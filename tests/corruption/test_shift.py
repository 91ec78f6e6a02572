"""Feature shift: inputs differ from client to client, by a degree that grows or is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.cli.main import main
from fedlab.corruption import FeatureNoise, Inversion, Rotation, without_held_out
from fedlab.errors import DataError
from fedlab.partition import Iid, hold_out
from fedlab.tasks import NextToken
from fedlab.types import Dataset, ExampleSet, Partition

N, CLIENTS = 40, 8


def dataset(x, users=None, test_users=None) -> Dataset:
    y = np.arange(len(x), dtype=np.int32) % 4
    test = ExampleSet(x, y, 4) if test_users is None else ExampleSet(x[: len(test_users)], y[: len(test_users)], 4, test_users)
    return Dataset("made", ExampleSet(x, y, 4, users), test)


def clients(n=N) -> Partition:
    return Partition(tuple(f"c{i}" for i in range(CLIENTS)), tuple(np.split(np.arange(n), CLIENTS)))


def test_the_variance_of_the_noise_grows_with_the_client():
    """Li, Q. et al. 2022: client i of N gets noise of variance σ i / N."""
    data = dataset(np.full((N, 50, 50, 1), 0.5, np.float32))
    changed = FeatureNoise(variance=0.2)(data, clients(), 0)
    noise = (changed.train.x - data.train.x).reshape(CLIENTS, -1).astype(np.float64)
    expected = 0.2 * np.arange(1, CLIENTS + 1) / CLIENTS
    assert noise.var(axis=1) == pytest.approx(expected, rel=4 * np.sqrt(2 / noise.shape[1]))
    assert np.abs(noise.mean(axis=1)).max() < 4 * np.sqrt(0.2 / noise.shape[1])
    assert np.array_equal(changed.train.y, data.train.y)
    assert changed.test is not None and np.array_equal(changed.test.x, data.test.x)  # it belongs to no client


def test_whole_numbers_get_noise_in_units_of_255():
    data = dataset(np.full((N, 50, 50, 1), 128, np.uint8))
    changed = FeatureNoise(variance=0.01)(data, clients(), 0)
    noise = (changed.train.x.astype(np.float64) - 128).reshape(CLIENTS, -1)
    expected = 255 * np.sqrt(0.01 * np.arange(1, CLIENTS + 1) / CLIENTS)
    assert noise.std(axis=1) == pytest.approx(expected, rel=0.05)
    loud = FeatureNoise(variance=10)(data, clients(), 0).train.x
    assert loud.dtype == np.uint8 and loud.min() == 0 and loud.max() == 255


def test_nothing_at_variance_or_angle_0():
    data = dataset(np.random.default_rng(0).integers(0, 256, (N, 6, 6, 1)).astype(np.uint8))
    for corruption in (FeatureNoise(variance=0), Rotation(angle=0)):
        assert np.array_equal(corruption(data, clients(), 0).train.x, data.train.x)


def test_the_last_client_is_rotated_by_the_angle_and_the_second_by_a_quarter_of_it():
    x = np.random.default_rng(0).integers(0, 256, (N, 7, 7, 3)).astype(np.uint8)
    turned = Rotation(angle=90)(dataset(x), clients(), 0).train.x
    assert np.array_equal(turned[-5:], np.rot90(x[-5:], axes=(1, 2)))
    again = Rotation(angle=22.5)(dataset(x), clients(), 0).train.x
    assert np.array_equal(turned[5:10], Rotation(angle=22.5 * CLIENTS / 2)(dataset(x), clients(), 0).train.x[5:10])
    assert not np.array_equal(again[5:10], turned[5:10])


def test_with_user_ids_the_order_is_that_of_the_ids_and_test_users_count_among_themselves():
    x, users = np.full((N, 40, 40, 1), 0.5, np.float32), np.repeat([30, 4, 12, 7], 10)
    data = dataset(x, users, np.repeat([4, 99], 10))
    changed = FeatureNoise(variance=0.4)(data, clients(), 0)
    variance = {u: float((changed.train.x - x)[users == u].var()) for u in (4, 7, 12, 30)}
    assert list(variance.values()) == pytest.approx([0.1, 0.2, 0.3, 0.4], rel=0.05)
    test = changed.test.x - data.test.x
    assert [float(test[:10].var()), float(test[10:].var())] == pytest.approx([0.1, 0.4], rel=0.05)


def test_drawn_degrees_depend_on_the_seed_and_the_client_alone():
    corruption = FeatureNoise(degree="drawn")
    degrees = {seed: [corruption._degree(f"c{i}", 0.0, seed) for i in range(200)] for seed in (0, 1)}
    assert degrees[0] == [corruption._degree(f"c{i}", 1.0, 0) for i in range(200)] != degrees[1]
    assert abs(np.mean(degrees[0]) - 0.5) < 4 * np.sqrt(1 / 12 / 200) and 0 <= min(degrees[0]) <= max(degrees[0]) <= 1


def test_held_out_examples_can_stay_as_they_are():
    data = dataset(np.random.default_rng(0).integers(0, 256, (N, 6, 6, 1)).astype(np.uint8))
    whole = Iid(num_clients=CLIENTS, unseen_clients=2)
    partition = hold_out(whole.set_aside(whole(data.train, 0), 0), 0.4, 0)
    bugged = Inversion(fraction=1)(data, whole(data.train, 0), 0)
    found = without_held_out(bugged, data, partition)
    clean = np.concatenate([*partition.held_out, *partition.unseen.held_out])
    changed = (found.train.x != data.train.x).any(axis=(1, 2, 3))
    assert not changed[clean].any() and changed.sum() == N - len(clean) and len(clean) == 16
    assert (bugged.train.x != data.train.x).any(axis=(1, 2, 3)).all()  # not in place


def test_text_is_refused():
    task = NextToken(vocabulary=("a", "b"), length=3)
    part = ExampleSet(np.ones((8, 3), np.int32), np.ones((8, 3), np.int32), task=task)
    with pytest.raises(DataError, match="corruption=noise needs images or numbers"):
        FeatureNoise()(Dataset("text", part, part), clients(8), 0)


def test_a_clean_part_needs_examples_that_are_held_out(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert main(["train", "corruption=noise", "corruption.held_out=false"]) == 2
    assert "corruption.held_out=false is about the examples that clients hold out" in capsys.readouterr().err
