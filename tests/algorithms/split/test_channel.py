"""What crosses the cut is bytes, as many as are counted, and nothing is lost in them."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.algorithms.split.channel import Channel, decode, encode
from tests.algorithms.split.conftest import header_bytes


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64, np.uint8])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 4), (1, 2, 3, 2)])
def test_arrays_come_out_as_they_went_in(dtype, shape):
    array = (np.arange(np.prod(shape, dtype=int)).reshape(shape) * 7 - 3).astype(dtype)
    message = encode("weights", [array, array])
    first, second = decode("weights", message)
    assert first.dtype == second.dtype == dtype and np.array_equal(first, array) and first.shape == shape
    assert len(message) == header_bytes(len(shape), len(shape)) + 2 * array.nbytes


def test_an_array_that_is_not_contiguous_is_sent_by_its_values():
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T
    assert np.array_equal(decode("features", encode("features", [array]))[0], array)


def test_messages_of_a_kind_arrive_in_their_order_and_are_counted():
    channel = Channel()
    for value in (1.0, 2.0):
        channel.send("up", "activations", np.full((2, 3), value, np.float32))
    channel.send("down", "gradients", np.zeros(5, np.float32))
    assert [channel.receive("up", "activations")[0][0, 0] for _ in range(2)] == [1.0, 2.0]
    assert not channel.is_empty
    assert channel.num_bytes() == {
        ("up", "activations"): 2 * (header_bytes(2) + 24),
        ("down", "gradients"): header_bytes(1) + 20,
    }
    channel.forget()
    assert channel.num_bytes() == {} and channel.receive("down", "gradients")[0].shape == (5,)


def test_a_message_of_another_kind_is_refused():
    with pytest.raises(AssertionError):
        decode("weights", encode("labels", [np.zeros(3, np.int32)]))
