"""CIFAR-10 and CIFAR-100, in small archives of the published layout."""

from __future__ import annotations

import hashlib
import io
import tarfile

import numpy as np
import pytest

from fedlab.data import Cifar10, Cifar100
from fedlab.data.files import DataFile
from fedlab.errors import DataError

RNG = np.random.default_rng(0)


def records(n, *labels):
    """Returns images [n, 32, 32, 3], and the bytes of a file: labels, then the red, the green and the blue plane of each."""
    images = RNG.integers(0, 256, (n, 32, 32, 3), np.uint8)
    planes = images.transpose(0, 3, 1, 2).reshape(n, -1)
    return images, np.hstack([*[np.array(each, np.uint8)[:, None] for each in labels], planes]).tobytes()


def archive(monkeypatch, folder, source, files):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as made:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"{source.folder}/{name}")
            entry.size = len(data)
            made.addfile(entry, io.BytesIO(data))
    path = source.data_files[0].path
    (folder / path).parent.mkdir()
    (folder / path).write_bytes(content.getvalue())
    own = DataFile(path, "md5", hashlib.md5(content.getvalue()).hexdigest(), source.data_files[0].urls)
    monkeypatch.setattr(source, "data_files", (own,))


def test_cifar10_gives_the_images_of_all_batches_in_order(monkeypatch, tmp_path):
    batches = [records(2, [i, 9 - i]) for i in range(5)]
    test = records(3, [1, 2, 3])
    files = {f"data_batch_{i + 1}.bin": content for i, (_, content) in enumerate(batches)} | {"test_batch.bin": test[1]}
    archive(monkeypatch, tmp_path, Cifar10, files)
    data = Cifar10(dir=str(tmp_path)).load(0)
    assert np.array_equal(data.train.x, np.concatenate([x for x, _ in batches])) and np.array_equal(data.test.x, test[0])
    assert data.train.y.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5] and data.test.y.tolist() == [1, 2, 3]
    assert data.train.task.labels[3] == "cat" and data.train.x.dtype == np.uint8
    chosen = Cifar10(dir=str(tmp_path), classes=("dog", "cat")).load(0)
    assert chosen.train.y.tolist() == [1, 0] and chosen.train.task.labels == ("dog", "cat")
    with pytest.raises(ValueError, match=r"has the classes airplane, automobile, .*truck, got"):
        Cifar10(classes=("dog", "horses"))


@pytest.mark.parametrize(("labels", "expected"), [("coarse", [1, 0]), ("fine", [2, 0])])
def test_cifar100_has_fine_and_coarse_labels(monkeypatch, tmp_path, labels, expected):
    train, test = records(2, [1, 0], [2, 0]), records(2, [0, 1], [1, 2])
    names = {"coarse_label_names.txt": b"fish\nflowers\n", "fine_label_names.txt": b"shark\ntrout\nrose\n"}
    archive(monkeypatch, tmp_path, Cifar100, {"train.bin": train[1], "test.bin": test[1], **names})
    data = Cifar100(dir=str(tmp_path), labels=labels).load(0)
    assert data.train.y.tolist() == expected and np.array_equal(data.train.x, train[0]) and np.array_equal(data.test.x, test[0])
    assert data.train.task.labels == (("fish", "flowers") if labels == "coarse" else ("shark", "trout", "rose"))
    assert data.train.attributes["coarse_label"].tolist() == ["flowers", "fish"]
    assert data.train.attributes["fine_label"].tolist() == ["rose", "shark"]
    assert data.train.num_classes == data.test.num_classes == (2 if labels == "coarse" else 3)


def test_another_file_is_refused(tmp_path):
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "cifar-10-binary.tar.gz").write_bytes(b"hello")
    with pytest.raises(DataError, match="truncated or not the published file"):
        Cifar10(dir=str(tmp_path)).load(0)
