"""A checkpoint comes back bit for bit, or says that it is not what was written."""

from __future__ import annotations

import os

import numpy as np
import pytest

from fedlab.archive import checkpoint
from fedlab.archive.checkpoint import Checkpoint, DamagedCheckpoint

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
        if b'"round": 1' not in content[max(0, position - 12) : position + 12]:  # what the name says too
            path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
            with pytest.raises(DamagedCheckpoint, match=r"round_000001\.ckpt"):
                checkpoint.load(path)


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
