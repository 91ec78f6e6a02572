"""Data sets as `datasets` 5.2 writes them by save_to_disk: Arrow streams beside state.json and dataset_info.json."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from fedlab.data import HuggingFace
from fedlab.errors import DataError

pyarrow = pytest.importorskip("pyarrow")
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)
LABELS, WRITERS = [1, 0, 1, 0, 1, 0], list("aabbcc")
IMAGE = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def png(pixels) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def save(folder, columns, features, shards=1):
    """Writes columns (name → Arrow array) as a Dataset, in several files if asked for."""
    folder.mkdir(parents=True)
    table = pyarrow.table(columns)
    files = [f"data-{i:05d}-of-{shards:05d}.arrow" for i in range(shards)]
    for part, file in zip(np.array_split(np.arange(len(table)), shards), files):
        with pyarrow.OSFile(str(folder / file), "wb") as out, pyarrow.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table.take(part))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": file} for file in files], "_split": None}))
    (folder / "dataset_info.json").write_text(json.dumps({"description": "", "features": features}))


def images(rows=slice(0, 6)):
    cells = pyarrow.array([{"bytes": png(p), "path": None} for p in PIXELS[rows]], IMAGE)
    columns = {"image": cells, "label": pyarrow.array(LABELS[rows]), "writer": pyarrow.array(WRITERS[rows])}
    names = {"image": {"_type": "Image"}, "label": {"names": ["dog", "cat"], "_type": "ClassLabel"}}
    return columns, names


def source(path, **options) -> HuggingFace:
    return HuggingFace(**{"path": str(path), "input": "image", "target": "label", **options})


@pytest.mark.parametrize("shards", [1, 3])
def test_images_keep_their_pixels_and_classes_their_numbers_and_names(tmp_path, shards):
    save(tmp_path / "own", *images(), shards=shards)
    train, test = source(tmp_path / "own", user="writer")._read()
    assert test is None and np.array_equal(train.x, PIXELS) and train.y.tolist() == LABELS
    assert train.task.labels == ("dog", "cat"), "in the order of the feature, not of the alphabet"
    assert train.user_ids.tolist() == WRITERS


def test_splits_of_a_dictionary_are_the_two_sets(tmp_path):
    for split, rows in (("train", slice(0, 4)), ("test", slice(4, 6)), ("validation", slice(0, 2))):
        save(tmp_path / split, *images(rows))
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test", "validation"]}))
    data = source(tmp_path).load(0)
    assert np.array_equal(data.train.x, PIXELS[:4]) and np.array_equal(data.test.x, PIXELS[4:])


def test_a_split_validation_is_the_test_set_if_there_is_no_other(tmp_path):
    for split, rows in (("train", slice(0, 4)), ("validation", slice(4, 6)), ("extra", slice(0, 2))):
        save(tmp_path / split, *images(rows))
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation", "extra"]}))
    made = source(tmp_path)
    assert np.array_equal(made.load(0).test.x, PIXELS[4:])
    assert made.remarks == ("the split validation is the test set, because there is no split test", "split not read: extra")
    drawn = source(tmp_path, test_fraction=0.5)
    assert len(drawn.load(0).train) == len(drawn.load(0).test) == 2 and drawn.remarks == ("splits not read: validation, extra",)


def test_other_columns_are_attributes(tmp_path):
    columns, names = images()
    columns |= {"size": pyarrow.array([1, 2, 3, 4, 5, 6]), "gaps": pyarrow.array([1, None, 3, 4, 5, 6])}
    save(tmp_path / "own", columns, names)
    train, _ = source(tmp_path / "own")._read()
    assert {n: v.tolist() for n, v in train.attributes.items()} == {"writer": WRITERS, "size": [1, 2, 3, 4, 5, 6]}


@pytest.mark.parametrize("kind", ["list", "fixed", "nested"])
def test_lists_of_numbers_are_arrays(tmp_path, kind):
    values = np.arange(24.0).reshape(6, 4) if kind != "nested" else np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
    arrow = {
        "list": lambda: pyarrow.array(values.tolist()),
        "fixed": lambda: pyarrow.FixedSizeListArray.from_arrays(values.ravel(), 4),
        "nested": lambda: pyarrow.array(values.tolist(), pyarrow.list_(pyarrow.list_(pyarrow.uint8()))),
    }[kind]()
    save(tmp_path / "own", {"x": arrow, "y": pyarrow.array(list("abcabc"))}, {})
    train, _ = source(tmp_path / "own", input="x", target="y")._read()
    assert np.array_equal(train.x, values) and train.x.dtype == (np.uint8 if kind == "nested" else np.float32)
    assert train.task.labels == ("a", "b", "c")


def test_numbers_are_predicted_if_asked_for(tmp_path):
    columns = {"x": pyarrow.array([[float(i)] for i in range(6)]), "y": pyarrow.array([0.5 * i for i in range(6)])}
    save(tmp_path / "own", columns, {})
    train, _ = source(tmp_path / "own", input="x", target="y", task="regression")._read()
    assert train.y.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]


NUMBERS = {"x": pyarrow.array([[1.0], [2.0], [3.0]]), "y": pyarrow.array([0, 1, 0])}
PROBLEMS = {
    "column": ({}, {"input": "y2"}, r"no column y2 \(data.input\)\. Did you mean 'y'\? Columns: x, y\."),
    "ragged": ({"x": pyarrow.array([[1.0], [2.0, 3.0], [3.0]])}, {}, "the lists of column x have different lengths"),
    "missing list": ({"x": pyarrow.array([[1.0], None, [3.0]])}, {}, "the lists of column x have different lengths"),
    "missing number": ({"x": pyarrow.array([[1.0], [None], [3.0]])}, {}, "give images, or lists of numbers without missing ones"),
    "strings": ({"x": pyarrow.array([["a"], ["b"], ["c"]])}, {}, r"column x is list<item: string>: give images, or lists"),
    "no target": ({"y": pyarrow.array([0, None, 1])}, {}, "y of train has rows without a target: remove them"),
    "no user": ({"u": pyarrow.array(["a", None, "b"])}, {"user": "u"}, "column u has rows without a user"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_wrong_columns_are_one_line(tmp_path, problem):
    changed, options, told = PROBLEMS[problem]
    save(tmp_path / "own", NUMBERS | changed, {})
    with pytest.raises(DataError, match=told) as caught:
        source(tmp_path / "own", **{"input": "x", "target": "y", **options})._read()
    assert "\n" not in str(caught.value)


def test_other_folders_are_one_line(tmp_path):
    with pytest.raises(DataError, match=r"no such file\. Set data.path to a folder that save_to_disk has written"):
        source(tmp_path)._read()
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["test"]}')
    with pytest.raises(DataError, match="no split train; there are test"):
        source(tmp_path)._read()
    save(tmp_path / "own", NUMBERS, {})
    (tmp_path / "own" / "data-00000-of-00001.arrow").write_bytes(b"hello")
    with pytest.raises(DataError, match="not a readable data set"):
        source(tmp_path / "own", input="x", target="y")._read()


MISSING = pyarrow.array([{"bytes": png(PIXELS[0]), "path": None}, None, {"bytes": png(PIXELS[0]), "path": None}], IMAGE)
LABELLED = {"y": {"names": ["a", "b"], "_type": "ClassLabel"}}


@pytest.mark.parametrize(
    ("train", "test", "problem"),
    [
        (NUMBERS | {"x": MISSING}, None, "column x of train has rows without an image: remove them"),
        (
            NUMBERS | {"y": pyarrow.array([[0], [1], [0]])},
            None,
            r"y of train is list<item: int64>: give one label or number per row",
        ),
        (NUMBERS, {"x": pyarrow.array([[1.0, 2.0]] * 3)}, r"column x has shape \(1,\) in train and \(2,\) in test"),
        (NUMBERS, {"x": pyarrow.array(["a"] * 3)}, "column x is list<item: double> in train and string in test"),
        (NUMBERS, {"y": pyarrow.array([-1] * 3)}, "labels outside of its 2 names; -1 means no label: .*data.test_fraction"),
    ],
)
def test_splits_that_do_not_fit_are_one_line(tmp_path, train, test, problem):
    save(tmp_path / "train", train, LABELLED)
    save(tmp_path / "test", NUMBERS | (test or {}), LABELLED)
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"] if test else ["train"]}))
    with pytest.raises(DataError, match=problem):
        source(tmp_path, input="x", target="y").load(0)
