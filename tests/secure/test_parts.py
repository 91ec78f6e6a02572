"""The parts of the masked protocol, each by itself: encoding, masks, secret sharing, graphs, keys."""

from __future__ import annotations

import itertools
import math
import os

import numpy as np
import pytest
import scipy.stats
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from fedlab.errors import ConfigError
from fedlab.secure import Layout, Tensor, shamir
from fedlab.secure.agreement import KeyPair, decrypt, encrypt, mask_purpose, share_purpose
from fedlab.secure.encoding import Encoding, most_fractional_bits
from fedlab.secure.graph import CORRUPT, DROPPED, EXPOSED, STRANDED, is_connected, neighbors, sparse_degree
from fedlab.secure.keystream import PIECE_BYTES, add_masks

# Encoding


def floats(n=100):
    return Layout.of([np.zeros(n, np.float32)])


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("num_clients", [1, 2, 3, 10, 100, 1000])
@pytest.mark.parametrize("clip_range", [0.1, 1, 7.3, 2**16])
def test_a_sum_at_the_bound_does_not_overflow_and_one_bit_more_would(bits, num_clients, clip_range):
    most = most_fractional_bits(num_clients, bits, clip_range)
    if most < 0:
        with pytest.raises(ConfigError, match=f"overflows {bits} bits: set secure.bits=64, or a smaller secure.clip_range"):
            Encoding(floats(), num_clients, bits, clip_range)
        return
    encoding = Encoding(floats(1), num_clients, bits, clip_range)
    assert encoding.fractional_bits == most
    for sign in (-1, 1):
        buffer, _ = encoding.encode([np.array([sign * clip_range], np.float32)])
        [whole] = encoding.integers(buffer)
        total = encoding.zeros()
        for _ in range(num_clients):
            encoding.add(total, buffer)
        assert encoding.integers(total)[0][0] == num_clients * int(whole[0])  # Python's integers do not wrap
    assert num_clients * math.ceil(clip_range * 2.0 ** (most + 1)) >= 2 ** (bits - 1)
    with pytest.raises(ConfigError, match=f"secure.fractional_bits={most} or fewer"):
        Encoding(floats(), num_clients, bits, clip_range, most + 1)


def test_a_value_moves_by_half_a_step_at_most():
    encoding = Encoding(floats(), 10, 32, 4.0)
    assert encoding.fractional_bits == 25  # 2³¹ / (10 · 4) = 2^25.7
    values = np.random.default_rng(0).uniform(-4, 4, 100).astype(np.float32)
    [decoded] = [w * encoding.step for w in encoding.integers(encoding.encode([values])[0])]
    assert 0 < np.abs(decoded - values).max() <= encoding.step / 2


def test_every_integer_takes_the_narrowest_word_that_holds_the_sum():
    tensors = [
        Tensor((3,), np.dtype(np.int32)),
        Tensor((5,), np.dtype(np.int64), 2**31 // 10 - 1),
        Tensor((1,), np.dtype(np.uint8)),
    ]
    encoding = Encoding(Layout(tuple(tensors)), 10)
    assert (encoding.split, encoding.num_bytes - encoding.split) == (32, 32)  # 3 · 8 and 6 · 4 bytes, in whole blocks of 16
    values = [np.array([-(2**31), 2**31 - 1, 0], np.int32), np.arange(5), np.array([255], np.uint8)]
    assert all(map(np.array_equal, encoding.decode(encoding.encode(values)[0]), values))


def test_integers_that_could_overflow_are_refused():
    with pytest.raises(
        ConfigError, match=r"3 clients' integers of up to 9,223,372,036,854,775,808 overflows 64 bits: give .* a bound"
    ):
        Encoding(Layout.of([np.zeros(3, np.int64)]), 3)


def test_unsigned_integers_beyond_their_bound_are_clipped_on_their_own_side():
    layout = Layout.of([np.zeros(3, np.uint64)], bounds=[9])
    encoding = Encoding(layout, 2, out_of_range="saturate")
    buffer, clipped = encoding.encode([np.array([2**63 + 5, 10, 4], np.uint64)])
    assert encoding.decode(buffer)[0].tolist() == [9, 9, 4] and clipped == 2


# Masks


@pytest.mark.parametrize("split", [0, 48, PIECE_BYTES, PIECE_BYTES * 2 + 32])
@pytest.mark.parametrize("rest", [0, 16, PIECE_BYTES + 64])
def test_masks_that_are_put_on_come_off_in_any_order(split, rest):
    rng = np.random.default_rng(split + rest)
    buffer = rng.integers(0, 256, split + rest).astype(np.uint8)
    before, keys = buffer.copy(), [os.urandom(32) for _ in range(3)]
    add_masks(buffer, split, [(keys[0], +1), (keys[1], -1), (keys[2], +1)])
    assert len(buffer) == 0 or np.mean(buffer == before) < 0.2
    add_masks(buffer, split, [(keys[1], +1)])
    add_masks(buffer, split, [(keys[2], -1), (keys[0], -1)])
    assert np.array_equal(buffer, before)


@pytest.mark.parametrize("last", [bytes(range(16)), bytes(16), b"\xff" * 16], ids=["some", "zeros", "wraps around"])
def test_a_mask_is_the_keystream_of_aes_in_counter_mode(last):
    """By encrypting single counters, at the seams of the pieces above all."""
    seed, size = os.urandom(16) + last, 3 * PIECE_BYTES
    zeros = np.zeros(size, np.uint8)
    add_masks(zeros, size, [(seed, +1)])
    encryptor, first = Cipher(algorithms.AES(seed[:16]), modes.ECB()).encryptor(), int.from_bytes(seed[16:], "big")
    for block in (0, 1, PIECE_BYTES // 16 - 1, PIECE_BYTES // 16, 3 * PIECE_BYTES // 16 - 1):
        assert zeros[block * 16 :][:16].tobytes() == encryptor.update(((first + block) % 2**128).to_bytes(16, "big"))
    blocks = {zeros[i : i + 16].tobytes() for i in range(0, size, 16)}
    assert len(blocks) == size // 16  # nothing repeats from piece to piece


# Secret sharing


def test_the_prime_is_prime():
    """Miller and Rabin's test to forty bases; it errs with a chance below 2⁻⁸⁰."""
    p = shamir.PRIME
    odd, twos = p - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in range(2, 42):
        x = pow(base, odd, p)
        assert x in (1, p - 1) or any(pow(x, 2**i, p) == p - 1 for i in range(1, twos))


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, bytes(range(32))])
@pytest.mark.parametrize(("num_shares", "threshold"), [(1, 1), (2, 2), (5, 3), (7, 7), (30, 11)])
def test_any_shares_that_are_enough_give_the_secret(secret, num_shares, threshold):
    points = [3 * i + 1 for i in range(num_shares)]
    shares = shamir.split(secret, points, threshold, os.urandom)
    for chosen in itertools.islice(itertools.combinations(points, threshold), 40):
        assert shamir.combine({p: shares[p] for p in chosen}, threshold) == secret
    assert shamir.combine(shares, threshold) == secret  # more than enough


def test_too_few_shares_fit_every_secret_alike():
    """For any other secret there is a polynomial through the same two shares: they say nothing."""
    shares = shamir.split(bytes(range(32)), [1, 2, 3], 3, os.urandom)
    two = {1: shares[1], 2: shares[2]}
    third = {shamir.combine({**two, 3: v.to_bytes(33, "big")}, 3) for v in (0, 1, 5, 2**200)}
    assert len(third) == 4
    assert shamir.combine(two, 2) != bytes(range(32))


# Graphs


def some_threshold_serves(num_clients, k):
    """By scipy's hypergeometric distribution."""
    left = scipy.stats.hypergeom(num_clients - 1, num_clients - 1 - math.ceil(DROPPED * num_clients), k)
    corrupt = scipy.stats.hypergeom(num_clients - 1, math.ceil(CORRUPT * num_clients), k)
    t = np.arange(2, k + 1)
    return np.any((num_clients * left.cdf(t - 1) <= STRANDED) & (num_clients * corrupt.sf(t - 1) <= EXPOSED))


@pytest.mark.filterwarnings("ignore:np.find_common_type is deprecated")  # by scipy 1.9
@pytest.mark.parametrize("num_clients", [30, 100, 300])
def test_a_sparse_graph_is_as_safe_as_it_says_and_no_denser(num_clients):
    k, t = sparse_degree(num_clients)
    left = scipy.stats.hypergeom(num_clients - 1, num_clients - 1 - math.ceil(DROPPED * num_clients), k)
    corrupt = scipy.stats.hypergeom(num_clients - 1, math.ceil(CORRUPT * num_clients), k)
    assert num_clients * left.cdf(t - 1) <= STRANDED and num_clients * corrupt.sf(t - 1) <= EXPOSED
    assert not any(some_threshold_serves(num_clients, fewer) for fewer in range(2, k, 2))


@pytest.mark.parametrize("num_clients", [30, 100])
def test_at_three_tenths_of_dropouts_nobody_is_stranded(num_clients):
    k, t = sparse_degree(num_clients)
    rng = np.random.default_rng(0)
    graph, stranded = neighbors(range(num_clients), k, rng), 0
    for _ in range(200):
        gone = set(rng.permutation(num_clients)[: math.ceil(DROPPED * num_clients)])
        stranded += min(sum(p not in gone for p in near) for near in graph.values()) < t
    assert stranded <= 3  # 200 · 2⁻¹⁰ is 0.2


def test_degrees_grow_slower_than_the_number_of_clients():
    degrees = [sparse_degree(n)[0] for n in (100, 200, 400, 800)]
    assert all(a <= b < 1.7 * a for a, b in itertools.pairwise(degrees))
    assert sparse_degree(3) is None and sparse_degree(29) is None


@pytest.mark.parametrize(("num_clients", "degree"), [(2, 1), (5, 4), (9, 4), (100, 28), (7, 9)])
def test_every_client_has_as_many_neighbours_each_knowing_it(num_clients, degree):
    clients = [3 * i + 2 for i in range(num_clients)]
    graph = neighbors(clients, degree, np.random.default_rng(1))
    assert set(graph) == set(clients) and is_connected(graph, clients)
    for client, near in graph.items():
        assert len(near) == len(set(near)) == min(degree, num_clients - 1)
        assert client not in near and all(client in graph[peer] for peer in near)


def test_parts_without_a_link_are_noticed():
    graph = {0: (1,), 1: (0, 2), 2: (1, 3), 3: (2,)}
    assert is_connected(graph, [0, 1, 2, 3]) and is_connected(graph, [2, 3]) and is_connected(graph, [])
    assert not is_connected(graph, [0, 1, 3])


# Keys


def test_two_agree_on_a_key_that_depends_on_its_purpose():
    a, b = KeyPair(os.urandom(32)), KeyPair(os.urandom(32))
    purposes = [mask_purpose(1, 2, 3), mask_purpose(2, 2, 3), mask_purpose(1, 2, 4), share_purpose(1, 2, 3)]
    keys = [a.agree(b.public, p) for p in purposes]
    assert keys == [b.agree(a.public, p) for p in purposes] and len(set(keys)) == 4
    assert mask_purpose(1, 2, 3) == mask_purpose(1, 3, 2) and share_purpose(1, 2, 3) == share_purpose(1, 3, 2)
    both = a.agree(b.public, purposes[3], num_keys=2)
    assert len(both) == 64 and both[:32] != both[32:]


def test_what_was_encrypted_under_another_key_is_refused():
    ciphertext = encrypt(bytes(32), b"shares")
    assert decrypt(bytes(32), ciphertext) == b"shares" and b"shares" not in ciphertext
    with pytest.raises(ValueError, match="not encrypted under the key of this pair"):
        decrypt(b"\x01" * 32, ciphertext)
