"""Reading .npz files: the arrays as they were written, or one kind of error with one line."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zipfile

import numpy as np
import pytest

from fedlab.archive import checkpoint
from fedlab.arrays import read_arrays
from fedlab.data import Npz
from fedlab.errors import DataError
from fedlab.secure.view import ServerView

ARRAYS = {"x": np.arange(12.0).reshape(6, 2), "y": np.array([0, 1, 2, 0, 1, 2])}
COMPRESSIONS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


def entry(array) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.asarray(array))
    return content.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.encode().ljust(117) + b"\n"


def archive(*entries: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(content, "w", compression) as file:
        warnings.simplefilter("ignore")  # of two entries of one name
        for name, data in entries:
            file.writestr(zipfile.ZipInfo(name), data, compression)
    return content.getvalue()


WHOLE = [(f"{name}.npy", entry(array)) for name, array in ARRAYS.items()]
SHAPED = "{{'descr': '<f8', 'fortran_order': False, 'shape': ({}, 2), }}"
WRONG = {
    "no_array": ([WHOLE[0], ("y.npy", b"hello")], "y is no array"),
    "two_of_one_name": ([*WHOLE, ("x.npy", entry(np.zeros((6, 2))))], "two arrays called x"),
    "with_and_without_suffix": ([*WHOLE, ("x", entry(np.zeros((6, 2))))], "two arrays called x"),
    "larger_than_memory": ([("x.npy", header(SHAPED.format(10**15))), WHOLE[1]], "x: Unable to allocate"),
    "header_that_does_not_parse": ([("x.npy", header("{'descr': ((((")), WHOLE[1]], "x: "),
    "objects": (
        [WHOLE[0], ("y.npy", header("{'descr': '|O', 'fortran_order': False, 'shape': (6,), }"))],
        "y holds Python objects",
    ),
}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_damaged_byte_is_noticed_or_harmless(compression):
    """Other bytes of the archive itself may change a name or a date, and the checksum of each entry guards its content."""
    whole = archive(*WHOLE, compression=compression)
    assert all(np.array_equal(array, ARRAYS[name]) for name, array in read_arrays(io.BytesIO(whole)).items())
    noticed = 0
    for place in range(len(whole)):
        for flip in (0x01, 0xFF):
            damaged = bytearray(whole)
            damaged[place] ^= flip
            try:
                found = read_arrays(io.BytesIO(damaged))
            except ValueError as error:
                noticed += 1
                assert str(error) and "\n" not in str(error)
            else:
                assert all(np.array_equal(array, ARRAYS[name]) for name, array in found.items() if name in ARRAYS)
    assert noticed > len(whole)


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_named_by_every_reader(tmp_path, kind):
    entries, problem = WRONG[kind]
    (tmp_path / "a.npz").write_bytes(archive(*entries))
    for read in (lambda: Npz(path=str(tmp_path / "a.npz")).load(0), lambda: ServerView.load(tmp_path / "a.npz")):
        with pytest.raises(DataError, match=problem) as caught:
            read()
        assert "\n" not in str(caught.value)


def test_a_checkpoint_whose_arrays_are_wrong_is_damaged(tmp_path):
    """Its checksum holds: it was written so."""

    content = archive(("arr_0.npy", b"hello"))
    line = json.dumps({"format": "fedlab checkpoint 1", "round": 1, "sha256": hashlib.sha256(content).hexdigest()})
    (tmp_path / "round_000001.ckpt").write_bytes(line.encode() + b"\n" + content)
    with pytest.raises(checkpoint.DamagedCheckpoint, match="arr_0 is no array"):
        checkpoint.load(tmp_path / "round_000001.ckpt")


def test_entries_that_other_programs_name_without_suffix_are_read(tmp_path):
    (tmp_path / "a.npz").write_bytes(
        archive(*[(name, entry(array)) for name, array in {**ARRAYS, "user_ids": ARRAYS["y"]}.items()])
    )
    source = Npz(path=str(tmp_path / "a.npz"))
    assert source.has_user_ids and source.examples().user_ids.tolist() == ARRAYS["y"].tolist()
