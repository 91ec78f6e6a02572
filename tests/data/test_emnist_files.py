"""Federated EMNIST from files that lie anywhere: TFF's HDF5 and LEAF's JSON, and one line for every other file."""

from __future__ import annotations

import json
import re

import h5py
import numpy as np
import pytest

from fedlab.cli.main import main
from fedlab.data import Emnist, Femnist
from fedlab.data.tff_hdf5 import read_clients
from fedlab.errors import DataError
from fedlab.fingerprint import data_fingerprint

RNG = np.random.default_rng(0)
SIZES = {"f0001_41": (3, 2), "f0000_14": (4, 1), "f1234_07": (1, 1)}  # training and test examples of each writer
INK = {(user, part): RNG.integers(0, 256, (n, 28, 28)) for user, sizes in SIZES.items() for part, n in enumerate(sizes)}
LABELS = {key: RNG.integers(0, 10, len(ink)) for key, ink in INK.items()}
IN_ORDER = sorted(SIZES)


def write_hdf5(path, part=0, labels=LABELS):
    """Writes a file as TFF published it: float32 with 1 as paper, int32 labels, compressed."""
    with h5py.File(path, "w") as file:
        for user in SIZES:
            group = file.create_group(f"examples/{user}")
            pixels = (1 - INK[user, part] / 255).astype(np.float32)
            group.create_dataset("pixels", data=pixels, compression="gzip")
            group.create_dataset("label", data=labels[user, part].astype(np.int32), compression="gzip")
    return path


def leaf(part=0, users=IN_ORDER):
    """Returns the content of a file as LEAF writes it: lists of 784 floats with 1 as paper."""
    data = {u: {"x": (1 - INK[u, part].reshape(-1, 784) / 255).tolist(), "y": LABELS[u, part].tolist()} for u in users}
    return {"users": list(users), "num_samples": [len(data[u]["y"]) for u in users], "user_data": data}


def write_leaf(folder, contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.fixture
def train_file(tmp_path):
    write_hdf5(tmp_path / "fed_emnist_digitsonly_test.h5", 1)
    return write_hdf5(tmp_path / "fed_emnist_digitsonly_train.h5", 0)


@pytest.fixture
def leaf_folder(tmp_path):
    """LEAF's split by sample. Its files 2 and 10 tell the order of numbers from that of letters."""
    for part, name in enumerate(("train", "test")):
        halves = (leaf(part, IN_ORDER[:2]), leaf(part, IN_ORDER[2:]))
        write_leaf(tmp_path / "data" / name, {f"all_data_{n}_niid_0_{name}_9.json": half for n, half in zip((2, 10), halves)})
    return tmp_path / "data"


def same(examples, part):
    assert np.array_equal(examples.x[..., 0], np.concatenate([INK[u, part] for u in IN_ORDER])) and examples.x.dtype == np.uint8
    assert np.array_equal(examples.y, np.concatenate([LABELS[u, part] for u in IN_ORDER]))
    assert examples.user_ids.tolist() == [u for u in IN_ORDER for _ in range(SIZES[u][part])]


def test_hdf5_gives_the_images_labels_and_writers_of_both_files(train_file):
    source = Emnist(path=str(train_file))
    data = source.load(0)
    same(data.train, 0)
    same(data.test, 1)
    assert data.train.num_classes == 10 and source.has_user_ids and source.num_train_examples is None
    assert [path.name for path in source.files()] == ["fed_emnist_digitsonly_train.h5", "fed_emnist_digitsonly_test.h5"]
    source.verify()


def test_leaf_gives_the_images_labels_and_writers_of_both_folders(leaf_folder):
    source = Femnist(path=str(leaf_folder))
    data = source.load(0)
    same(data.train, 0)
    same(data.test, 1)
    assert data.train.num_classes == 62 and source.has_user_ids and len(source.files()) == 4


def test_every_format_gives_the_fingerprint_of_the_same_data(train_file, leaf_folder):
    merged = (Femnist(path=str(leaf_folder)), Emnist(path=str(train_file)))
    assert len({data_fingerprint(source.load(0)) for source in merged}) == 1


def test_hdf5_gives_the_arrays_of_tffs_own_loader(train_file, tensorflow):
    """TFF's loader, which the tests cannot download the data for, on the same clients in memory."""
    import tensorflow_federated as tff

    from fedlab.data.emnist import example_set

    with h5py.File(train_file) as file:
        clients = {u: {"label": g["label"][()], "pixels": g["pixels"][()]} for u, g in file["examples"].items()}
    theirs, ours = example_set(tff.simulation.datasets.TestClientData(clients), 62), read_clients(train_file)
    for name in ("x", "y", "user_ids"):
        assert np.array_equal(getattr(theirs, name), getattr(ours, name)), name


LETTERS = {key: np.arange(61, 61 - len(ink), -1) for key, ink in INK.items()}


def test_letters_have_62_classes_or_36_merged(tmp_path, leaf_folder):
    write_hdf5(tmp_path / "fed_emnist_test.h5", 1, LETTERS)
    path = str(write_hdf5(tmp_path / "fed_emnist_train.h5", 0, LETTERS))
    kept = Emnist(path=path, only_digits=False).load(0)
    merged = Emnist(path=path, only_digits=False, merge_case=True).load(0)
    assert kept.train.num_classes == 62 and kept.train.y.max() == 61
    assert merged.train.num_classes == merged.test.num_classes == 36 and np.array_equal(merged.train.y, kept.train.y - 26)
    assert Femnist(path=str(leaf_folder), merge_case=True).load(0).test.num_classes == 36
    with pytest.raises(DataError, match=r"labels go up to 61, so it has letters: set data\.only_digits=false"):
        Emnist(path=path).load(0)


def test_digits_are_not_read_as_62_classes(train_file):
    with pytest.raises(DataError, match=r"has digits only: set data\.only_digits=true"):
        Emnist(path=str(train_file), only_digits=False).load(0)


def test_without_a_test_set_one_is_drawn_only_where_that_is_asked_for(train_file, leaf_folder):
    train_file.with_name("fed_emnist_digitsonly_test.h5").unlink()
    with pytest.raises(DataError, match=r"digitsonly_test\.h5: no such file\. Add it, or set data\.test_fraction=0\.1"):
        Emnist(path=str(train_file)).load(0)
    assert len(Emnist(path=str(train_file), test_fraction=0.25).load(0).test) == 2
    renamed = train_file.rename(train_file.with_name("mine.h5"))
    with pytest.raises(ValueError, match="must have train in the file's name"):
        Emnist(path=str(renamed))
    assert len(Emnist(path=str(renamed), test_fraction=0.25).load(0).train) == 6
    for path in (leaf_folder / "test").glob("*.json"):
        path.unlink()
    with pytest.raises(DataError, match=r"test: no \.json file, so .* Add it, or set data\.test_fraction=0\.1"):
        Femnist(path=str(leaf_folder)).load(0)
    assert len(Femnist(path=str(leaf_folder), test_fraction=0.25).load(0).test) == 2


@pytest.mark.parametrize("folder", [".", "all_data"])
def test_leafs_data_before_it_is_split(tmp_path, folder):
    write_leaf(tmp_path / folder, {"all_data_0.json": leaf()})
    data = Femnist(path=str(tmp_path)).load(0)
    assert (len(data.train), len(data.test)) == (6, 2)


def test_writers_without_examples_are_left_out_as_leaf_leaves_them(tmp_path):
    """Its split by sample keeps an empty entry of each writer with a single example."""
    content = leaf(users=IN_ORDER[:2])
    content["user_data"]["f9999_99"] = {"x": [], "y": []}
    write_leaf(tmp_path, {"all_data_0.json": content})
    data = Femnist(path=str(tmp_path)).load(0)
    assert len(data.train) + len(data.test) == 7 and {*data.train.user_ids, *data.test.user_ids} == set(IN_ORDER[:2])


HDF5_PROBLEMS = {
    "pixels of another shape": (
        {"pixels": np.ones((3, 28), np.float32)},
        r"shape \[n, 28, 28\], not float32 \(3, 28\)",
    ),
    "pixels of another type": ({"pixels": np.ones((3, 28, 28), np.uint8)}, r"must be floats .* not uint8"),
    "pixels out of range": (
        {"pixels": np.full((3, 28, 28), 255.0)},
        r"must be in \[0, 1\] \(0: ink, 1: paper\), and are from 255",
    ),
    "pixels that are no numbers": ({"pixels": np.full((3, 28, 28), np.nan)}, r"must be in \[0, 1\]"),
    "a label too few": ({"label": np.zeros(2, np.int32), "pixels": np.ones((3, 28, 28))}, r"label must have shape \(3,\)"),
    "one label": ({"label": np.int32(1)}, r"label must have shape .* not \(\)"),
    "labels that are no integers": ({"label": np.zeros(3), "pixels": np.ones((3, 28, 28))}, "list of integers, not float64"),
    "labels beyond the classes": ({"label": np.full(3, 62), "pixels": np.ones((3, 28, 28))}, "must be from 0 to 61"),
    "no label": ({"label": None}, "/label is missing"),
    "texts": ({"label": np.array([b"a"] * 3), "pixels": np.ones((3, 28, 28))}, "list of integers"),
    "no value": ({"label": h5py.Empty("i4")}, "/label is empty"),
}


@pytest.mark.parametrize("kind", HDF5_PROBLEMS)
def test_a_wrong_hdf5_file_is_one_line(tmp_path, kind):
    changed, problem = HDF5_PROBLEMS[kind]
    path = tmp_path / "fed_emnist_train.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("examples/f0000_14")
        for name, values in {"pixels": np.ones((3, 28, 28), np.float32), "label": np.zeros(3, np.int32), **changed}.items():
            if values is not None:
                group[name] = values
    one_line(lambda: read_clients(path), problem, path)


def one_line(action, problem, path):
    with pytest.raises(DataError, match=problem) as caught:
        action()
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_damage_anywhere_in_an_hdf5_file_is_one_line_or_other_data(train_file, tmp_path):
    content = train_file.read_bytes()
    path = tmp_path / "damaged_train.h5"
    path.write_bytes(content[: len(content) // 2])
    one_line(lambda: read_clients(path), "truncated", path)
    path.write_bytes(b"PK" + content)
    one_line(lambda: read_clients(path), "not a readable HDF5 file", path)
    one_line(lambda: read_clients(tmp_path), "Is a directory", tmp_path)
    one_line(lambda: read_clients(tmp_path / "none"), "no such file", tmp_path / "none")
    chunk = content.index(b"\x78\x5e") if b"\x78\x5e" in content else content.index(b"\x78\x9c")  # zlib's header
    path.write_bytes(content[: chunk + 2] + b"\xff" * 16 + content[chunk + 18 :])
    one_line(lambda: read_clients(path), "not a readable HDF5 file", path)


def test_an_hdf5_file_that_claims_more_than_it_has_is_refused_before_memory_is_used(tmp_path):
    path = tmp_path / "huge_train.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("examples/f0000_14")
        group.create_dataset("pixels", (10**12, 28, 28), "f4", chunks=(100, 28, 28), compression="gzip")
        group.create_dataset("label", (10**12,), "i4", chunks=(100,), compression="gzip")
    one_line(lambda: read_clients(path), r"of shape \(1000000000000, 28, 28\) has only 0 bytes in the file", path)


def test_an_hdf5_file_leads_to_no_other_file(train_file, tmp_path):
    path = tmp_path / "links_train.h5"
    source = h5py.VirtualLayout((3, 28, 28), "f4")
    source[:] = h5py.VirtualSource(str(train_file), "examples/f0001_41/pixels", (3, 28, 28))
    raw = str(tmp_path / "raw")
    (tmp_path / "raw").write_bytes(bytes(9408))
    for make, problem in [
        (lambda g: g.create_virtual_dataset("pixels", source), "reads another file"),
        (
            lambda g: g.create_dataset("pixels", (3, 28, 28), "f4", external=[(raw, 0, 9408)]),
            "reads another file",
        ),
        (lambda g: g.__setitem__("pixels", h5py.ExternalLink(str(train_file), "/examples/f0001_41/pixels")), "links elsewhere"),
        (lambda g: g.__setitem__("pixels", h5py.SoftLink("/examples")), "links elsewhere"),
        (lambda g: g.create_group("pixels"), "is a group, not a dataset"),
    ]:
        with h5py.File(path, "w") as file:
            group = file.create_group("examples/f0001_41")
            make(group)
            group["label"] = np.zeros(3, np.int32)
        one_line(lambda: read_clients(path), problem, path)
    with h5py.File(path, "w") as file:
        file["examples"] = h5py.ExternalLink(str(train_file), "/examples")
    one_line(lambda: read_clients(path), "/examples links elsewhere", path)


def changed(**entries):
    return {**leaf(users=IN_ORDER[:1]), **entries}


USER = IN_ORDER[0]
IMAGE = [0.5] * 784
LEAF_PROBLEMS = {
    "half a file": (json.dumps(leaf())[:5000], "not a JSON file of LEAF"),
    "an empty file": ("", "not a JSON file of LEAF"),
    "a list": ("[]", "the file must be an object with a list users"),
    "no users": (changed(users=None), "the file must be an object with a list users"),
    "sizes of others": (changed(num_samples=[4, 4]), "users has 1 entries, num_samples 2"),
    "another size": (changed(num_samples=[3]), "num_samples is 3, and there are 4 labels"),
    "a user without data": (changed(user_data={}), "user_data has no user f0000_14"),
    "a user that is a number": (changed(users=[14]), "users must be texts, not 14"),
    "a user twice": (changed(users=[USER] * 2, num_samples=[4, 4]), "user f0000_14 is in all_data_0.json also"),
    "images of another size": ([IMAGE[1:]], "an image must be a list of 784 pixels, and one has 783"),
    "an image that is a number": ([0.5], "one is no list"),
    "a pixel that is a list": ([[[0.5]] * 784], "a pixel must be a number"),
    "a pixel that is a text": ([["1"] * 784], r"numbers in \[0, 1\], not <U"),
    "a pixel that is nothing": ([[None] * 784], r"numbers in \[0, 1\], not object"),
    "pixels up to 255": ([[255] * 784], r"must be in \[0, 1\] \(0: ink, 1: paper\), and are from 255 to 255"),
    "NaN": ([[float("nan")] * 784], "NaN is no pixel"),
    "a label too many": ([IMAGE, IMAGE], "there are 2 images and 1 labels"),
    "too many nested lists": ("[" * 100_000, "too many nested lists"),
    "bytes": ("\x00\ufffd", "not a JSON file of LEAF"),
}


@pytest.mark.parametrize("kind", LEAF_PROBLEMS)
def test_a_wrong_leaf_file_is_one_line(tmp_path, kind):
    content, problem = LEAF_PROBLEMS[kind]
    if isinstance(content, list):
        content = {"users": [USER], "num_samples": [1], "user_data": {USER: {"x": content, "y": [3]}}}
    path = write_leaf(tmp_path, {"all_data_0.json": content}) / "all_data_0.json"
    one_line(lambda: Femnist(path=str(tmp_path)).load(0), problem, path)


@pytest.mark.parametrize("label", [62, -1, 1.5, "a", None, True, 10**30])
def test_labels_of_leaf_are_integers_of_62_classes(tmp_path, label):
    write_leaf(
        tmp_path, {"all_data_0.json": {"users": ["u"], "num_samples": [1], "user_data": {"u": {"x": [IMAGE], "y": [label]}}}}
    )
    one_line(lambda: Femnist(path=str(tmp_path)).load(0), "user u: labels must be", tmp_path / "all_data_0.json")


def test_folders_that_are_not_leafs_are_one_line(tmp_path):
    (tmp_path / "file").write_text("{}")
    for path, problem in [("none", "no such folder"), ("file", "is a file"), (".", r"neither a folder train nor \.json files")]:
        with pytest.raises(DataError, match=problem):
            Femnist(path=str(tmp_path / path)).load(0)
    write_leaf(tmp_path, {"a.json": leaf(), "b.json": leaf()})
    with pytest.raises(DataError, match=r"user f0000_14 is in a\.json also"):
        Femnist(path=str(tmp_path)).load(0)


def test_show_and_list_know_both_sources(train_file, leaf_folder, capsys):
    for data in ([f"data.path={train_file}", "data=emnist"], [f"data.path={leaf_folder}", "data=femnist"]):
        assert main(["data", "show", *data, "partition=by_user"]) == 0
        assert "3 clients hold 8 of 8 training examples" in capsys.readouterr().out
    assert main(["data", "show", "data=emnist", f"data.path={train_file.parent}/other.h5"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["data", "list"]) == 0
    assert re.search(r"│ femnist +│ any +│ 62 +│ yes +│ data\.path=…", capsys.readouterr().out)
    assert main(["data", "fetch", "femnist"]) == 2
