"""What the server saw: in the clear the update itself, under masks and encryption nothing that tells it from chance."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from fedlab.errors import DataError
from fedlab.secure import Ckks, Layout, Masked, Plain, ServerView

SIZE = 20_000
CLIENTS = (0, 1, 2)
FAR_OUT = 1e-9  # a p-value: keys are the OS's, so a test of chance may fail once in so many runs


@pytest.fixture(scope="module")
def updates():
    """Small, sparse and alike, as updates are: nothing like uniform bytes."""
    rng = np.random.default_rng(0)
    return {c: [(rng.normal(size=SIZE) * 0.01 * (rng.random(SIZE) < 0.3)).astype(np.float32)] for c in CLIENTS}


def record(spec, updates):
    with spec.build(Layout.of(updates[0]), len(updates), num_rounds=1) as protocol:
        view = protocol.run_round(1, CLIENTS, [updates[c] for c in CLIENTS]).server_view
        return protocol, view


def p_of_uniform_bytes(array):
    """Pearson's chi-square test."""
    counts = np.bincount(array.view(np.uint8).ravel(), minlength=256)
    return scipy.special.chdtrc(255, np.sum((counts - counts.mean()) ** 2) / counts.mean())


def test_a_plain_record_is_the_update_itself(updates):
    protocol, view = record(Plain(observe="last"), updates)
    for client in CLIENTS:
        assert list(view.received[client]) == ["update/0"]
        assert np.array_equal(protocol.read(view, client)[0], updates[client][0])
        assert p_of_uniform_bytes(view.received[client]["update/0"]) < FAR_OUT  # the test does see a difference


def test_a_record_outlives_the_arrays_it_was_made_of(updates):
    """An engine may hand over every client's update in the same memory."""
    shared = np.zeros(SIZE, np.float32)

    def one_by_one():
        for client in CLIENTS:
            shared[:] = updates[client][0]
            yield [shared]

    protocol = Plain(observe="all").build(Layout.of([shared]), 3)
    view = protocol.run_round(1, CLIENTS, one_by_one()).server_view
    assert all(np.array_equal(protocol.read(view, c)[0], updates[c][0]) for c in CLIENTS)


@pytest.mark.parametrize("bits", [32, 64])
def test_a_masked_record_cannot_be_told_from_random_bytes(updates, bits):
    protocol, view = record(Masked(observe="last", bits=bits, clip_range=1), updates)
    unmasked = protocol.encoding.encode(updates[0])[0]
    assert p_of_uniform_bytes(unmasked) < FAR_OUT
    for client in CLIENTS:
        masked = view.received[client]["masked_input"]
        assert masked.nbytes == SIZE * bits // 8
        assert p_of_uniform_bytes(masked) > FAR_OUT
        for byte in range(bits // 8):  # nor any byte of the words by itself
            assert p_of_uniform_bytes(masked.reshape(-1, bits // 8)[:, byte].copy()) > FAR_OUT


@pytest.mark.parametrize("bits", [32, 64])
def test_a_masked_record_says_nothing_of_its_update(updates, bits):
    protocol, view = record(Masked(observe="last", bits=bits, clip_range=1), updates)
    for client in CLIENTS:
        read = protocol.read(view, client)[0]
        correlation = np.corrcoef(read, updates[client][0])[0, 1]
        assert abs(correlation) < 6 / np.sqrt(SIZE)  # six standard deviations
        assert np.abs(read).mean() > 100 * np.abs(updates[client][0]).mean()
        zero = updates[client][0] == 0  # of which there are many: a mask that were short would show through
        assert len(np.unique(read[zero])) > 0.99 * zero.sum() * (0.99 if bits == 32 else 1)


def test_records_of_the_same_update_under_fresh_keys_are_unlinkable(updates):
    """The difference of two records is as random whether their updates are the same or not."""
    same = {c: updates[0] for c in CLIENTS}
    spec = Masked(observe="last")
    first, second, other = (record(spec, u)[1].received[0]["masked_input"].view(np.uint64) for u in (same, same, updates))
    for difference in (first - second, first - other):
        assert p_of_uniform_bytes(difference) > FAR_OUT
        assert not np.any(difference == 0)
    assert first.shape == other.shape


def test_less_than_all_records_still_hide_the_rest(updates):
    """Two of three masked inputs added up are as random as one; all three are the sum under the self-masks, random still."""
    _, view = record(Masked(observe="last"), updates)
    inputs = [view.received[c]["masked_input"].view(np.uint64) for c in CLIENTS]
    assert p_of_uniform_bytes(inputs[0] + inputs[1]) > FAR_OUT
    assert p_of_uniform_bytes(inputs[0] + inputs[1] + inputs[2]) > FAR_OUT


def test_a_record_of_ciphertexts_cannot_be_read_and_differs_each_time(updates):
    protocol, view = record(Ckks(observe="last", num_workers=1), updates)
    again = record(Ckks(observe="last", num_workers=1), updates)[1]
    for client in CLIENTS:
        assert protocol.read(view, client) is None
        for name, ciphertext in view.received[client].items():
            assert name.startswith("ciphertext/")
            assert updates[client][0].tobytes()[:64] not in ciphertext.tobytes()
            assert not np.array_equal(ciphertext[-1000:], again.received[client][name][-1000:])


def test_what_is_not_a_record_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"round\.npz is missing: record a round with secure\.observe=last"):
        ServerView.load(tmp_path / "round.npz")
    (tmp_path / "text.npz").write_text("not a zip file")
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    np.savez(tmp_path / "pickle.npz", protocol=np.array("plain"), round=np.array(1), **{"0/x": np.array([{}], object)})
    for name in ("text.npz", "other.npz", "pickle.npz"):
        with pytest.raises(DataError, match="is not the record of a round"):
            ServerView.load(tmp_path / name)
