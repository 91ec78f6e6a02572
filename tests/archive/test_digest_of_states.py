"""A state has one digest, whether its tensors are arrays, in pieces, or read from a checkpoint."""

from __future__ import annotations

import numpy as np

from fedlab import rows
from fedlab.archive import checkpoint
from fedlab.run.verifying import _digest


def test_a_state_and_its_checkpoint_have_the_same_digest(tmp_path, monkeypatch):
    kept = rows.Rows(5, (np.zeros((2, 3), np.float32), np.float32(1)))
    nothing = kept.snapshot().tensors()
    assert _digest(nothing) == _digest([np.asarray(tensor) for tensor in nothing])
    kept.write(np.array([1, 3]), (np.arange(12, dtype=np.float32).reshape(2, 2, 3), np.array([5, 6], np.float32)))
    state = [np.int64(3), np.array([b"a\0", b"b"], object), *kept.snapshot().tensors()]
    checkpoint.save(tmp_path, checkpoint.Checkpoint(2, state), keep=1)
    saved = checkpoint.load(tmp_path / "round_000002.ckpt").state
    monkeypatch.setattr(rows, "PIECE_BYTES", 1)
    assert _digest(saved) == _digest(state)
    for position, tensor in enumerate(saved):
        other = np.asarray(tensor).copy()
        other.flat[0] = b"c" if other.dtype == object else other.flat[0] + 1
        assert _digest([*saved[:position], other, *saved[position + 1 :]]) != _digest(state)
        assert _digest([*saved[:position], other[..., np.newaxis], *saved[position + 1 :]]) != _digest(state)
