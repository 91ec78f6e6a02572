"""The rows that clients keep: as they were written, on disk only where they were written, in a file without a name."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from fedlab import rows
from fedlab.archive import checkpoint
from fedlab.archive.checkpoint import Checkpoint
from fedlab.rows import Pieces, Rows

FIRST = (np.float32([[1, 2], [3, 4]]), np.float32(5), np.zeros((0,), np.float32))
CLIENTS = 7


def drawn(rng, clients):
    """Clients that take part, and a new row for each."""
    chosen = np.sort(rng.choice(clients, rng.integers(1, clients), replace=False))
    return chosen, [rng.normal(size=(len(chosen), *a.shape)).astype(np.float32) for a in FIRST]


def rows_of(store, clients):
    found = store.read(np.array(clients))
    return [tuple(tensor[k, ...] for tensor in found) for k in range(len(clients))]


def same(ours, theirs):
    return all(
        (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        for one, other in zip(ours, theirs, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("piece_bytes", [1, 1 << 24])
def test_rows_and_snapshots_are_as_they_were_written(monkeypatch, piece_bytes):
    """Against a dictionary that is copied at each snapshot; a snapshot is read at once, after later writes, and again."""
    monkeypatch.setattr(rows, "PIECE_BYTES", piece_bytes)
    rng, store, expected, taken = np.random.default_rng(0), Rows(CLIENTS, FIRST), {}, []
    for _ in range(12):
        taken.append((store.snapshot(), dict(expected)))
        clients, new = drawn(rng, CLIENTS)
        store.write(clients, new)
        expected.update({c: tuple(t[k, ...] for t in new) for k, c in enumerate(clients.tolist())})
        assert same(rows_of(store, range(CLIENTS)), [expected.get(c, FIRST) for c in range(CLIENTS)])
        assert store.written(np.arange(CLIENTS)).tolist() == [c in expected for c in range(CLIENTS)]
        for snapshot, then in taken[-3:]:
            positions, *tensors = snapshot.tensors()
            assert np.asarray(positions).tolist() == sorted(then) and positions.dtype == np.int64
            for tensor, number in zip(tensors, range(len(FIRST)), strict=True):
                whole = np.array([then[c][number] for c in sorted(then)], np.float32).reshape(len(then), *FIRST[number].shape)
                assert (tensor.shape, tensor.dtype) == (whole.shape, whole.dtype)
                assert np.asarray(tensor).tobytes() == whole.tobytes() == b"".join(piece.tobytes() for piece in tensor)


def test_clients_without_a_row_take_no_disk_and_files_have_no_name(tmp_path):
    """4 GB if every client had a row."""
    store = Rows(1_000_000, (np.zeros(1024, np.float32),), tmp_path)
    clients = np.arange(100) * 9_999
    store.write(clients, [np.ones((100, 1024), np.float32)])
    assert store.read(clients)[0].min() == 1 and store.read(clients + 1)[0].max() == 0
    assert os.fstat(store._file.fileno()).st_blocks * 512 <= 100 * (2 * 4096)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_no_file(tmp_path):
    code = (
        "import os, pathlib, signal, sys, numpy as np; from fedlab.rows import Rows; "
        "Rows(9, (np.zeros(3, np.float32),), pathlib.Path(sys.argv[1])).write(np.arange(2), [np.ones((2, 3))]); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_a_file_for_all_tensors_is_closed_with_its_rows_and_with_the_last_snapshot():
    def opened():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    before = opened()
    closed, forgotten = Rows(3, FIRST), Rows(3, FIRST)
    snapshot = forgotten.snapshot()
    assert opened() == before + 2
    closed.close()
    del forgotten
    assert opened() == before + 1 and np.asarray(snapshot.tensors()[1]).shape == (0, 2, 2)
    del snapshot
    assert opened() == before


def test_reads_that_come_in_parts_are_put_together_and_a_failing_disk_is_an_error(monkeypatch):
    store, get = Rows(3, FIRST), os.preadv
    new = [np.arange(2 * a.size, dtype=np.float32).reshape(2, *a.shape) for a in FIRST]
    store.write(np.arange(1, 3), new)
    monkeypatch.setattr(os, "preadv", lambda file, buffers, offset: get(file, [buffers[0][:3]], offset))  # as the system may do
    assert all(a.tobytes() == b.tobytes() for a, b in zip(store.read(np.arange(1, 3)), new, strict=True))
    for found, message in ((lambda: 0, "cut off"), (lambda: os.close(-1), "Bad file")):
        monkeypatch.setattr(os, "preadv", lambda *_, found=found: found())
        with pytest.raises(OSError, match=message):
            store.read(np.arange(2))


def test_a_full_disk_is_an_error_and_leaves_the_rows_of_before(monkeypatch):
    store = Rows(3, FIRST)
    store.write(np.arange(3), [np.ones((3, *a.shape), np.float32) for a in FIRST])
    snapshot, put = store.snapshot(), os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, content, offset: put(file, content[:3], offset))  # as the system may do
    store.write(np.arange(2), [np.full((2, *a.shape), 7, np.float32) for a in FIRST])
    assert all(np.all(tensor == 7) for tensor in store.read(np.arange(2)))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(np.arange(3), [np.full((3, *a.shape), 9, np.float32) for a in FIRST])
    assert all(np.all(np.asarray(tensor) == 1) for tensor in snapshot.tensors()[1:])


def test_a_checkpoint_holds_the_rows_that_were_written_and_memory_a_piece_of_them(tmp_path, monkeypatch):
    """40 MB of rows of a federation of a million clients, in pieces of 1 MB, saved and loaded with less than 8 MB of memory."""
    monkeypatch.setattr(rows, "PIECE_BYTES", 1 << 20)
    monkeypatch.setattr(checkpoint, "_LARGE", 1 << 20)
    store, clients = Rows(1_000_000, (np.zeros(100_000, np.float32),)), np.arange(100) * 9_999
    for c in clients:
        store.write(np.array([c]), [np.full((1, 100_000), c, np.float32)])
    tracemalloc.start()
    try:
        checkpoint.save(tmp_path, Checkpoint(3, [np.float32(8), *store.snapshot().tensors()]), keep=1)
        (path,) = checkpoint.newest_first(tmp_path)
        found = checkpoint.load(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert 40_000_000 < path.stat().st_size < 40_010_000
    weight, positions, tensor = found.state
    assert weight == 8 and positions.tolist() == clients.tolist()
    assert tensor.shape == (100, 100_000) and np.array_equal(tensor[:, 0], clients) and np.array_equal(tensor[:, -1], clients)


def test_a_checkpoint_of_pieces_has_the_bytes_of_one_of_arrays(tmp_path):
    store = Rows(CLIENTS, FIRST)
    store.write(*drawn(np.random.default_rng(1), CLIENTS))
    pieces = store.snapshot().tensors()
    assert all(isinstance(p, Pieces) for p in pieces)
    for name, state in {"pieces": pieces, "arrays": [np.asarray(p) for p in pieces]}.items():
        checkpoint.save(tmp_path / name, Checkpoint(1, state), keep=1)
    first, second = (checkpoint.newest_first(tmp_path / name)[0].read_bytes() for name in ("pieces", "arrays"))
    assert first == second
