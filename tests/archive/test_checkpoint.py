"""A checkpoint comes back bit for bit, or says that it is not what was written."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from fedlab.archive import checkpoint
from fedlab.archive.checkpoint import Checkpoint, DamagedCheckpoint
from fedlab.errors import FedlabError

STATE = [
    np.float32([[1.5, np.nan], [-0.0, np.inf]]),
    np.int32(7),
    np.zeros((0, 3), np.float32),
    np.array([True, False]),
    np.int64([-(2**62), 3]),
    np.float64(0.1),
]
STRINGS = [np.array(b"an event\0", object), np.array([[b"", b"\0"]], object), np.zeros((0, 2), object)]


def names(folder):
    return [path.name for path in checkpoint.newest_first(folder)]


def test_every_tensor_comes_back_bit_for_bit(tmp_path):
    checkpoint.save(tmp_path / "c", Checkpoint(12, STATE), keep=1)
    found = checkpoint.load(checkpoint.newest_first(tmp_path / "c")[0])
    assert found.round == 12 and len(found.state) == len(STATE)
    for before, after in zip(map(np.asarray, STATE), found.state):
        assert (before.dtype, before.shape, before.tobytes()) == (after.dtype, after.shape, after.tobytes())


def test_byte_strings_too(tmp_path):
    """The state of a private process holds the event that it accounts for."""
    checkpoint.save(tmp_path, Checkpoint(1, [*STRINGS, STATE[0]]), keep=1)
    found = checkpoint.load(tmp_path / "round_000001.ckpt").state
    for before, after in zip(STRINGS, found):
        assert (before.dtype, before.shape, before.tolist()) == (after.dtype, after.shape, after.tolist())
    assert found[3].tobytes() == STATE[0].tobytes()


def test_more_than_ten_tensors_keep_their_order(tmp_path):
    checkpoint.save(tmp_path, Checkpoint(1, [np.int32(i) for i in range(25)]), keep=1)
    assert [int(t) for t in checkpoint.load(tmp_path / "round_000001.ckpt").state] == list(range(25))


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_the_newest_are_kept(tmp_path, keep):
    for r in (1, 5, 9, 10, 1_000_000):
        checkpoint.save(tmp_path, Checkpoint(r, STATE), keep)
    assert names(tmp_path) == [f"round_{r:06d}.ckpt" for r in (1_000_000, 10, 9, 5, 1)][:keep]


def test_no_folder_is_no_checkpoint(tmp_path):
    assert checkpoint.newest_first(tmp_path / "nowhere") == []


def test_a_file_cut_anywhere_or_with_any_byte_changed_is_damaged(tmp_path):
    checkpoint.save(tmp_path, Checkpoint(1, STATE), keep=1)
    path = tmp_path / "round_000001.ckpt"
    content = path.read_bytes()
    for position in range(0, len(content), 37):
        path.write_bytes(content[:position])
        with pytest.raises(DamagedCheckpoint, match=r"round_000001\.ckpt"):
            checkpoint.load(path)
    for position in [*range(content.index(b"\n") + 1), *range(0, len(content), 37)]:
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(DamagedCheckpoint, match=r"round_000001\.ckpt"):
            checkpoint.load(path)


def test_one_that_has_the_name_of_another_round_is_damaged(tmp_path):
    checkpoint.save(tmp_path, Checkpoint(1, STATE), keep=1)
    (tmp_path / "round_000001.ckpt").rename(tmp_path / "round_000002.ckpt")
    with pytest.raises(DamagedCheckpoint, match=r"round_000002\.ckpt is damaged: it contains round 1"):
        checkpoint.load(tmp_path / "round_000002.ckpt")


def test_those_of_later_rounds_are_removed_before_one_is_saved(tmp_path):
    """As after a return to an earlier round, because the later ones are damaged."""
    for r in (97, 100):
        checkpoint.save(tmp_path, Checkpoint(r, STATE), keep=2)
    kept = []
    for r in (3, 6, 9):
        checkpoint.save(tmp_path, Checkpoint(r, STATE), keep=2)
        kept.append(names(tmp_path))
    assert kept == [[f"round_00000{r}.ckpt" for r in rounds] for rounds in ([3], [6, 3], [9, 6])]


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("open", OSError(errno.EMFILE, "Too many open files")),
        ("open", PermissionError(errno.EACCES, "Permission denied")),
        ("map", OSError(errno.ENOMEM, "Cannot allocate memory")),
        ("map", MemoryError()),
    ],
)
def test_one_that_the_machine_cannot_read_now_is_not_damaged(tmp_path, monkeypatch, place, error):
    monkeypatch.setattr(checkpoint, "_LARGE", 1)
    checkpoint.save(tmp_path, Checkpoint(1, STATE), keep=1)

    def fails(*_, **__):
        raise error

    if place == "open":
        monkeypatch.setattr(checkpoint, "open", fails, raising=False)
    else:
        monkeypatch.setattr(np, "memmap", fails)
    with pytest.raises(FedlabError, match=r"cannot be read: .* It may be intact: .* memory") as caught:
        checkpoint.load(tmp_path / "round_000001.ckpt")
    assert not isinstance(caught.value, DamagedCheckpoint)


def test_large_tensors_are_maps_that_cannot_be_changed_unless_the_file_system_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_LARGE", 1)
    checkpoint.save(tmp_path, Checkpoint(1, [STATE[0]]), keep=1)
    (found,) = checkpoint.load(tmp_path / "round_000001.ckpt").state
    assert isinstance(found, np.memmap) and found.tobytes() == STATE[0].tobytes() and not found.flags.writeable

    def refused(*_, **__):
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(np, "memmap", refused)
    assert checkpoint.load(tmp_path / "round_000001.ckpt").state[0].tobytes() == STATE[0].tobytes()


def test_a_full_disk_leaves_the_earlier_one(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, Checkpoint(1, STATE), keep=1)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, Checkpoint(2, STATE), keep=1)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["round_000001.ckpt"]
    assert checkpoint.load(tmp_path / "round_000001.ckpt").round == 1
