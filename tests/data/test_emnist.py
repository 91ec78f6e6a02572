"""What can be held true of `emnist` without a network: the conversion, and the line a user without one gets."""

from __future__ import annotations

import lzma
import urllib.error
import warnings

import numpy as np
import pytest

from fedlab.data import Emnist
from fedlab.data.emnist import DATABASE, case_merged, example_set
from fedlab.errors import DataError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TFF's dependencies deprecate one another
    import tensorflow_federated as tff


def test_conversion_is_white_on_black_client_by_client():
    rng = np.random.default_rng(0)
    ink = {"f0_1": rng.integers(0, 256, (3, 28, 28)), "f1_22": rng.integers(0, 256, (2, 28, 28))}
    labels = {"f0_1": [1, 0, 2], "f1_22": [2, 2]}
    clients = tff.simulation.datasets.TestClientData(
        {c: {"label": np.array(labels[c], np.int32), "pixels": (1 - ink[c] / 255).astype(np.float32)} for c in ink}
    )
    examples = example_set(clients, num_classes=3)
    assert np.array_equal(examples.x[..., 0], np.concatenate([ink["f0_1"], ink["f1_22"]])) and examples.x.dtype == np.uint8
    assert examples.y.tolist() == [1, 0, 2, 2, 2]
    assert examples.user_ids.tolist() == ["f0_1"] * 3 + ["f1_22"] * 2 and examples.user_ids.dtype.kind == "U"


def test_upper_and_lower_case_become_one_class():
    labels = np.arange(62, dtype=np.int32)
    clients = tff.simulation.datasets.TestClientData({"f0_1": {"label": labels, "pixels": np.ones((62, 28, 28), np.float32)}})
    merged = case_merged(example_set(clients, 62))
    assert merged.y.tolist() == [*range(36), *range(10, 36)] and merged.num_classes == 36
    assert Emnist(only_digits=False, merge_case=True).published.classes == 36
    with pytest.raises(ValueError, match="merge_case needs letters: set only_digits=false also"):
        Emnist(merge_case=True)


@pytest.mark.parametrize("failure", [urllib.error.URLError, lzma.LZMAError, TimeoutError])
def test_a_failed_download_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, failure):
    def load_data(only_digits=True, cache_dir=None):
        with open(f"{cache_dir}/{DATABASE}", "wb") as half:
            half.write(b"SQLite")
        raise failure("no network")

    monkeypatch.setattr(tff.simulation.datasets.emnist, "load_data", load_data)
    with pytest.raises(DataError, match=r"could not be downloaded \(no network\).*copy emnist_all.sqlite") as caught:
        Emnist(dir=str(tmp_path)).load(0)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.sqlite"))


def test_a_damaged_database_is_named(tmp_path):
    (tmp_path / "emnist").mkdir()
    (tmp_path / "emnist" / DATABASE).write_bytes(b"not a database" * 1000)
    with pytest.raises(DataError, match="is damaged"):
        Emnist(dir=str(tmp_path)).load(0)
