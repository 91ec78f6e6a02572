"""Data files are whole and as published, or they are not used at all."""

from __future__ import annotations

import hashlib
import pathlib
from typing import ClassVar

import pytest

from fedlab.data import Mnist
from fedlab.data.files import DataFile
from fedlab.data.source import Source
from fedlab.errors import DataError

CONTENT = bytes(range(256)) * 4000  # four chunks


def silent(*_):
    pass


def published(path: str, *urls: str) -> DataFile:
    return DataFile(path, "sha256", hashlib.sha256(CONTENT).hexdigest(), urls)


@pytest.fixture
def server(tmp_path) -> str:
    """The URL of a folder with one good file and one truncated file."""
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "good.gz").write_bytes(CONTENT)
    (folder / "short.gz").write_bytes(CONTENT[:-1])
    return folder.as_uri()


def left_in(folder: pathlib.Path) -> list:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_missing_files_are_named_with_the_remedy(tmp_path):
    with pytest.raises(DataError) as caught:
        Mnist(dir=str(tmp_path)).load(0)
    message = str(caught.value)
    assert all(file.path in message for file in Mnist.data_files)
    assert "fedlab data fetch mnist" in message and str(tmp_path) in message and "\n" not in message


def test_a_truncated_file_is_named_and_not_used(tmp_path):
    class Tiny(Source):
        name: ClassVar[str] = "tiny"
        data_files: ClassVar[tuple[DataFile, ...]] = (published("tiny/a.gz"), published("tiny/b.gz"))

        def _read(self):
            raise AssertionError("verifying and fetching read no examples")

    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/a.gz").write_bytes(CONTENT)
    (tmp_path / "tiny/b.gz").write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match=r"tiny: tiny/b\.gz is truncated or not the published file \(sha256 \w+, published \w+\)"):
        Tiny(dir=str(tmp_path)).verify()


def test_download_arrives_whole(tmp_path, server):
    calls = []
    file = published("set/good.gz", f"{server}/good.gz")
    file.download(tmp_path / "data", lambda *call: calls.append(call))
    assert file.read(tmp_path / "data") == CONTENT
    assert calls[-1] == ("set/good.gz", len(CONTENT), len(CONTENT))
    assert left_in(tmp_path / "data") == ["set/good.gz"]


def test_next_mirror_is_tried(tmp_path, server):
    file = published("set/good.gz", f"{server}/absent.gz", f"{server}/short.gz", f"{server}/good.gz")
    file.download(tmp_path / "data", silent)
    assert file.is_good(tmp_path / "data")


def test_a_wrong_download_leaves_what_was_there(tmp_path, server):
    file = published("good.gz", f"{server}/short.gz")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/good.gz").write_bytes(CONTENT)
    with pytest.raises(DataError, match="published"):
        file.download(tmp_path / "data", silent)
    assert left_in(tmp_path / "data") == ["good.gz"] and file.is_good(tmp_path / "data")


def test_an_interrupted_download_leaves_nothing(tmp_path, server):
    def interrupt(path, num_bytes, total):
        if num_bytes > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        published("good.gz", f"{server}/good.gz").download(tmp_path / "data", interrupt)
    assert left_in(tmp_path / "data") == []


def test_fetch_takes_only_what_is_needed_and_names_what_is_not_to_be_had(tmp_path, server):
    class Tiny(Source):
        name: ClassVar[str] = "tiny"
        data_files: ClassVar[tuple[DataFile, ...]] = (
            published("a.gz", f"{server}/good.gz"),
            published("b.gz", "http://127.0.0.1:9/b.gz"),
        )

        def _read(self):
            raise AssertionError("verifying and fetching read no examples")

    source = Tiny(dir=str(tmp_path / "data"))
    with pytest.raises(DataError) as caught:
        source.fetch(silent)
    assert str(caught.value).endswith(f"copy these files below {tmp_path / 'data'}: b.gz.") and "\n" not in str(caught.value)
    assert left_in(tmp_path / "data") == ["a.gz"]

    (tmp_path / "data/b.gz").write_bytes(CONTENT)
    source.fetch(lambda *_: pytest.fail("nothing is left to download"))
