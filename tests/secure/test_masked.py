"""The masked protocol: its sums are exact whoever vanishes and whenever, and the server holds nothing it should not."""

from __future__ import annotations

import collections
import gc
import itertools

import numpy as np
import pydantic
import pytest

from fedlab.errors import ConfigError
from fedlab.secure import BelowThreshold, Dropouts, Layout, Masked, Plain
from fedlab.secure.masked_client import MaskedClient
from fedlab.secure.masked_server import MaskedServer

CLIENTS = (2, 3, 5, 7, 11, 13)


def integers_of(protocol, clients, included):
    """The plain integer sum, modulo nothing: Python's integers."""
    encoded = [protocol.encoding.integers(protocol.encoding.encode(clients.contributions[c])[0]) for c in included]
    return [sum((e[i].astype(object) for e in encoded), 0) for i in range(len(encoded[0]))]


def masked_integers(protocol, clients, numbers, dropouts=None, round=1):
    """The same, through the protocol."""
    seen = {}
    decode = protocol.encoding.decode

    def keep(buffer):
        seen["integers"] = protocol.encoding.integers(buffer)
        return decode(buffer)

    protocol.encoding.decode = keep
    try:
        outcome = protocol.run_round(round, numbers, clients.of(numbers), dropouts)
    finally:
        protocol.encoding.decode = decode
    return seen["integers"], outcome


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("seed", range(8))
def test_the_unmasked_sum_equals_the_plain_integer_sum_bit_for_bit(make_clients, bits, seed):
    rng = np.random.default_rng(seed)
    numbers = tuple(int(c) for c in rng.choice(1000, int(rng.integers(2, 9)), replace=False))
    clients = make_clients(numbers, seed)
    for arrays in clients.contributions.values():
        arrays[0] += rng.normal(size=arrays[0].shape).astype(np.float32)  # off the grid
    protocol = Masked(bits=bits, clip_range=8).build(clients.layout, len(numbers), seed)
    whole, outcome = masked_integers(protocol, clients, numbers)
    assert outcome.included == numbers
    for got, true in zip(whole, integers_of(protocol, clients, numbers)):
        assert np.array_equal(got, true)


@pytest.mark.parametrize("seed", range(25))
def test_whoever_vanishes_and_whenever_the_sum_is_that_of_the_others(make_clients, seed):
    rng = np.random.default_rng(seed)
    numbers = tuple(range(int(rng.integers(3, 10))))
    clients = make_clients(numbers, seed)
    protocol = Masked(threshold=0.51).build(clients.layout, len(numbers), seed)
    order = rng.permutation(numbers)[: len(numbers) - max(2, len(numbers) // 2 + 1)]
    stages = rng.integers(0, 3, len(order))
    dropouts = Dropouts(*(frozenset(int(c) for c, s in zip(order, stages) if s == stage) for stage in range(3)))
    whole, outcome = masked_integers(protocol, clients, numbers, dropouts)
    assert set(outcome.included) == set(numbers) - dropouts.without_input
    for got, true in zip(whole, integers_of(protocol, clients, outcome.included)):
        assert np.array_equal(got, true)


def test_every_pattern_of_three_stages_over_three_clients(make_clients):
    """4³ patterns: each either gives the exact sum or says that too few were left."""
    numbers = (0, 1, 2)
    clients = make_clients(numbers)
    protocol = Masked().build(clients.layout, 3)
    finished = 0
    for fates in itertools.product(range(4), repeat=3):
        dropouts = Dropouts(*(frozenset(c for c in numbers if fates[c] == stage) for stage in range(3)))
        if sum(f == 3 for f in fates) < 2:
            with pytest.raises(BelowThreshold, match=r"of 3 clients .* 2 are needed"):
                protocol.run_round(1, numbers, clients.of(numbers), dropouts)
            continue
        whole, outcome = masked_integers(protocol, clients, numbers, dropouts)
        assert all(map(np.array_equal, whole, integers_of(protocol, clients, outcome.included)))
        finished += 1
    assert finished == 1 + 3 * 3


@pytest.mark.parametrize("num_clients", [31, 60])
def test_a_sparse_graph_gives_the_same_sum_with_fewer_messages(make_clients, num_clients):
    numbers = tuple(range(num_clients))
    clients = make_clients(numbers)
    gone = Dropouts(frozenset({1, 8}), frozenset({5, 30}), frozenset({0, 22}))
    all_, sparse = (Masked(neighbors=n).build(clients.layout, num_clients) for n in ("all", "log"))
    first, second = (masked_integers(p, clients, numbers, gone) for p in (all_, sparse))
    assert all(map(np.array_equal, first[0], integers_of(all_, clients, first[1].included)))
    assert all(map(np.array_equal, first[0], second[0]))
    shares = [{p.name: p.bytes_up for p in outcome.phases}["share keys"] for _, outcome in (first, second)]
    assert shares[1] < 0.7 * shares[0]


def test_pairs_give_the_same_sum_with_one_mask_each(make_clients):
    clients = make_clients(CLIENTS)
    all_, pairs = (Masked(neighbors=n, threshold=1).build(clients.layout, 6) for n in ("all", "pairs"))
    first, second = (masked_integers(p, clients, CLIENTS) for p in (all_, pairs))
    assert all(map(np.array_equal, first[0], second[0])) and second[1].included == CLIENTS
    shares = [{p.name: p.bytes_up for p in outcome.phases}["share keys"] for _, outcome in (first, second)]
    assert shares[0] == 5 * shares[1]


@pytest.mark.parametrize("pairs", [((0, 3), (1, 4), (2, 5)), ((5, 0), (0, 1), (1, 2), (2, 3), (4, 3))])
def test_listed_pairs_give_the_same_sum(make_clients, pairs):
    clients = make_clients(CLIENTS)
    all_, listed = (Masked(neighbors=n, threshold=1).build(clients.layout, 6) for n in ("all", pairs))
    first, second = (masked_integers(p, clients, CLIENTS) for p in (all_, listed))
    assert all(map(np.array_equal, first[0], second[0])) and second[1].included == CLIENTS
    shares = [{p.name: p.bytes_up for p in outcome.phases}["share keys"] for _, outcome in (first, second)]
    assert shares[0] * 2 * len(pairs) == shares[1] * 30  # in proportion to the neighbours of all clients


def test_pairs_are_a_list_of_pairs(make_clients):
    clients = make_clients(CLIENTS)
    graphs = [
        Masked(neighbors=n, threshold=1).build(clients.layout, 6).server(1, CLIENTS)._graph
        for n in ("pairs", ((0, 3), (1, 4), (2, 5)))
    ]
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize("neighbors", ["pairs", ((0, 1),)])
@pytest.mark.parametrize("options", [{}, {"threshold": 0.9}, {"threshold": 1, "dropout_rate": 0.1}])
def test_pairs_are_refused_where_a_client_may_vanish(neighbors, options):
    with pytest.raises(pydantic.ValidationError, match=r"all must stay: set secure\.threshold=1 and secure\.dropout_rate=0"):
        Masked(neighbors=neighbors, **options)


@pytest.mark.parametrize(
    "pairs, reason",
    [
        ((), "or a list of pairs of clients"),
        ("some", "or a list of pairs of clients"),
        (((0, "1"),), "or a list of pairs of clients"),
        (((0, True),), "or a list of pairs of clients"),
        (((0, -1),), "or a list of pairs of clients"),
        (((0, 1, 2),), "or a list of pairs of clients"),
        (((0, 0.5),), "or a list of pairs of clients"),
        (((0, 1), (2, 2)), r"\[2,2\] pairs a client with itself"),
        (((0, 1), (1, 0)), r"\[1,0\] is listed twice"),
        (((0, 1), (2, 3), (2, 3)), r"\[2,3\] is listed twice"),
        (((0, 2),), "client 1 is in no pair"),
        (((1, 2),), "client 0 is in no pair"),
        (((0, 10**12),), "client 1 is in no pair"),
    ],
)
def test_lists_that_are_no_pairs_of_all_clients_are_refused(pairs, reason):
    with pytest.raises(pydantic.ValidationError, match=reason):
        Masked(neighbors=pairs, threshold=1)


@pytest.mark.parametrize("most_clients, always, fits", [(4, True, True), (3, True, False), (5, True, False), (4, False, False)])
def test_listed_pairs_need_exactly_their_clients_in_every_round(most_clients, always, fits):
    spec = Masked(neighbors=((0, 1), (2, 3)), threshold=1)
    if fits:
        return spec.check(most_clients, always)
    with pytest.raises(ConfigError, match=r"secure.neighbors pairs 4 clients, 0 to 3, and a round has"):
        spec.check(most_clients, always)


@pytest.mark.parametrize("most_clients, always, fits", [(10, True, True), (2, True, True), (9, True, False), (10, False, False)])
def test_pairs_need_the_same_even_number_of_clients_in_every_round(most_clients, always, fits):
    spec = Masked(neighbors="pairs", threshold=1)
    if fits:
        return spec.check(most_clients, always)
    with pytest.raises(ConfigError, match="needs the same even number of clients in every round"):
        spec.check(most_clients, always)


def test_masked_and_plain_protocols_agree_to_the_last_bit(make_clients):
    """The floats of these clients are multiples of 2⁻¹⁰, which neither protocol rounds."""
    clients = make_clients(CLIENTS)
    sums = [s.build(clients.layout, 6).run_round(1, CLIENTS, clients.of(CLIENTS)).sum for s in (Plain(), Masked())]
    assert all(map(np.array_equal, *sums))


def test_the_sum_does_not_depend_on_where_keys_come_from(make_clients):
    clients = make_clients(CLIENTS)
    specs = (Masked(observe="all"), Masked(observe="all", reproducible=True))
    outcomes = [s.build(clients.layout, 6, seed).run_round(1, CLIENTS, clients.of(CLIENTS)) for s in specs for seed in (0, 1)]
    for outcome in outcomes[1:]:
        assert all(map(np.array_equal, outcome.sum, outcomes[0].sum))
    inputs = [o.server_view.received[2]["masked_input"].tobytes() for o in outcomes]
    assert len(set(inputs)) == 4  # while the masks all differ


def test_reproducible_keys_give_the_same_messages_and_others_do_not(make_clients):
    clients = make_clients(CLIENTS)

    def views(**options):
        protocol = Masked(observe="all", **options).build(clients.layout, 6, seed=3)
        return [protocol.run_round(1, CLIENTS, clients.of(CLIENTS)).server_view.received for _ in range(2)]

    first, second = views(reproducible=True)
    assert all(np.array_equal(a, second[c][n]) for c, items in first.items() for n, a in items.items())
    first, second = views()
    assert not any(np.array_equal(a, second[c][n]) for c, items in first.items() for n, a in items.items())


def test_reproducible_keys_are_warned_about():
    assert Masked().lines() == []
    assert "anybody who knows the seed can remove every mask" in Masked(reproducible=True).lines()[0]


def test_pairs_are_warned_about():
    [line] = Masked(neighbors="pairs", threshold=1).lines()
    assert "the server can compute the sum of each pair of clients" in line


@pytest.mark.parametrize(
    "pairs, said",
    [
        (((0, 1), (2, 3)), "of each of 2 groups of clients, the smallest of 2, and one client that colludes with it can reveal"),
        (((0, 1), (1, 2), (2, 0)), "the sum of all only, and 2 clients that collude with it can reveal"),
        (((0, 1), (1, 2)), "the sum of all only, and one client that colludes with it can reveal"),
    ],
)
def test_listed_pairs_say_what_they_protect(pairs, said):
    [line] = Masked(neighbors=pairs, threshold=1).lines()
    assert line.startswith("secure.neighbors=[[0,1],") and said in line


@pytest.mark.parametrize("reproducible", [False, True])
def test_no_mask_serves_twice(make_clients, reproducible):
    """The same updates, in other rounds and attempts, under masks that have nothing in common."""
    clients = make_clients(CLIENTS)
    spec = Masked(observe="all", reproducible=reproducible, on_failure="retry", max_attempts=2)
    protocol = spec.build(clients.layout, 6)
    seen = []
    for round in (1, 2):
        lost = Dropouts(before_input=frozenset(CLIENTS[:3]))
        outcome = protocol.run_round(round, CLIENTS, clients.of(CLIENTS), lost)
        assert outcome.num_attempts == 2
        for items in outcome.server_view.received.values():
            seen += [array for name, array in items.items() if name.endswith("masked_input")]
    words = [w.view(np.uint64) for w in seen]
    assert len(words) == 2 * (3 + 6)  # those of 36,000 pairs of words are equal with a chance of 2⁻⁴⁸
    for a, b in itertools.combinations(words, 2):
        assert not np.any(a == b)


def test_a_retry_draws_other_dropouts_and_sums_the_same_values(make_clients):
    clients = make_clients(CLIENTS)
    protocol = Masked(on_failure="retry").build(clients.layout, 6)
    outcome = protocol.run_round(1, CLIENTS, clients.of(CLIENTS), Dropouts(before_input=frozenset(CLIENTS[1:])))
    assert outcome.num_attempts == 2 and outcome.included == CLIENTS
    assert all(map(np.array_equal, outcome.sum, Plain().build(clients.layout, 6).run_round(1, CLIENTS, clients.of(CLIENTS)).sum))


def test_a_retry_sums_what_was_given_even_where_its_memory_was_used_again():
    shared = np.zeros(3)

    def one_by_one():
        for client in range(5):
            shared[:] = client
            yield [shared]

    protocol = Masked(on_failure="retry").build(Layout.of([shared]), 5)
    outcome = protocol.run_round(1, range(5), one_by_one(), Dropouts(before_input=frozenset({0, 1, 2})))
    assert outcome.num_attempts == 2 and outcome.sum[0].tolist() == [10, 10, 10]


def test_there_is_no_further_attempt_once_shares_have_been_asked_for(make_clients):
    """What was given out might unmask this one together with a share that a vanished client still holds."""
    clients = make_clients(CLIENTS)
    protocol = Masked(on_failure="retry", observe="all").build(clients.layout, 6)
    with pytest.raises(BelowThreshold, match=r"2 of 6 clients are left that have shares .* 4 are needed") as caught:
        protocol.run_round(1, CLIENTS, clients.of(CLIENTS), Dropouts(before_unmasking=frozenset(CLIENTS[:4])))
    outcome = caught.value.outcome
    assert outcome.num_attempts == 1 and outcome.included == () and outcome.bytes_up > 0
    assert all("masked_input" in outcome.server_view.received[c] for c in CLIENTS)


def test_retries_end():
    protocol = Masked(on_failure="retry", dropout_rate=0.99, max_attempts=3).build(Layout.of([np.zeros(2)]), 5)
    with pytest.raises(BelowThreshold, match=r"4 are needed: sample more clients, lower the dropout or secure\.threshold"):
        protocol.run_round(1, range(5), [[np.zeros(2)]] * 5)


def test_the_sum_of_one_client_is_refused():
    protocol = Masked().build(Layout.of([np.zeros(2)]), 5)
    with pytest.raises(BelowThreshold, match=r"1 of 1 clients .* 2 are needed"):
        protocol.run_round(1, [4], [[np.ones(2)]])


# What the server holds and can ask for


def conversation(protocol, numbers, gone, clients):
    """Runs a round by hand up to unmasking. Returns the server and the clients, which the protocol does not give out."""
    server = protocol.server(1, numbers)
    members = speak_until_unmasking(server, protocol, numbers, gone, clients)
    if gone != set(numbers):
        server.close_inputs()
    return server, members


def speak_until_unmasking(server, protocol, numbers, gone, clients):
    """Up to the masked inputs."""
    members = {c: protocol.client(c, 1) for c in numbers}
    for c, member in members.items():
        server.receive_keys(c, member.advertise())
    for c, member in members.items():
        server.receive_shares(c, member.share_keys(server.roster(c)))
    for c in numbers:
        if c not in gone:
            encoded, _ = protocol.encoding.encode(clients.contributions[c])
            server.receive_input(c, members[c].masked_input(server.inbox(c), encoded, protocol.encoding.split))
    return members


def test_a_sum_of_parts_that_share_no_masks_is_not_unmasked(make_clients):
    clients = make_clients(CLIENTS[:4])
    protocol = Masked().build(clients.layout, 4)
    server = MaskedServer(1, {2: (3,), 3: (2,), 5: (7,), 7: (5,)}, 2, 2, protocol.encoding)
    speak_until_unmasking(server, protocol, CLIENTS[:4], set(), clients)
    with pytest.raises(
        BelowThreshold, match="the 4 clients left are no longer all linked by masks, which would reveal sums of fewer"
    ):
        server.close_inputs()


def everything_within(start):
    """All objects that can be reached from one by following references, code and types left aside."""
    reached, queue = {}, collections.deque([start])
    while queue:
        item = queue.popleft()
        if id(item) in reached or isinstance(item, type) or callable(item) or type(item).__name__ == "module":
            continue
        reached[id(item)] = item
        queue.extend(gc.get_referents(item))
    return list(reached.values())


def test_no_secret_of_a_client_can_be_reached_from_the_server(make_clients):
    clients = make_clients(CLIENTS)
    protocol = Masked().build(clients.layout, 6)
    server, members = conversation(protocol, CLIENTS, {5}, clients)
    secrets = {s for m in members.values() for s in (m._seed, m._mask_keys.private, m._cipher_keys.private)}
    updates = {a.tobytes() for arrays in clients.contributions.values() for a in arrays if a.size > 1}
    encoded = {protocol.encoding.encode(arrays)[0].tobytes() for arrays in clients.contributions.values()}

    def leaks():
        items = everything_within(server)
        assert any(isinstance(i, bytes) and i == members[3].advertise().mask_public for i in items)  # it does look
        assert not any(isinstance(i, MaskedClient) for i in items)
        arrays = [i.tobytes() for i in items if isinstance(i, np.ndarray)]
        assert not (updates | encoded) & set(arrays)
        return secrets & {i for i in items if isinstance(i, bytes)}

    assert leaks() == set()
    for c in server.included:
        server.receive_unmasking(c, members[c].unmask(server.survivors(c)))
    assert leaks() == set()  # shares, but not put together
    server.sum()
    assert leaks() == {members[c]._seed for c in CLIENTS if c != 5} | {members[5]._mask_keys.private}


@pytest.mark.parametrize("neighbors", ["all", "log"])
@pytest.mark.parametrize("seed", range(6))
def test_the_server_never_learns_both_secrets_of_a_client(make_clients, neighbors, seed):
    numbers = tuple(range(40))
    clients = make_clients(numbers)
    protocol = Masked(neighbors=neighbors).build(clients.layout, 40, seed)
    gone = {int(c) for c in np.random.default_rng(seed).choice(40, 8, replace=False)}
    server, members = conversation(protocol, numbers, gone, clients)
    given = collections.defaultdict(lambda: [0, 0])
    for c in server.included:
        message = members[c].unmask(server.survivors(c))
        for kind, shares in enumerate((message.seed_shares, message.key_shares)):
            for about in shares:
                given[about][kind] += 1
        server.receive_unmasking(c, message)
    server.sum()
    assert set(given) == set(numbers)
    assert all(min(counts) == 0 for counts in given.values())  # not a single share of the other secret
    assert set(server.recovered_seeds) == set(numbers) - gone and set(server.recovered_keys) == gone


def test_a_client_gives_out_its_shares_once_and_never_both(make_clients):
    from fedlab.secure.messages import Survivors

    clients = make_clients(CLIENTS)
    protocol = Masked().build(clients.layout, 6)
    server, members = conversation(protocol, CLIENTS, {5}, clients)
    with pytest.raises(ValueError, match="listed as stayed and as vanished"):
        members[2].unmask(Survivors((2, 3, 5), (5, 7)))
    with pytest.raises(ValueError, match="client 2 sent its input, but the server lists it as vanished"):
        members[2].unmask(Survivors((3,), (2,)))
    members[2].unmask(server.survivors(2))
    with pytest.raises(ValueError, match="client 2 has sent its shares already"):
        members[2].unmask(server.survivors(2))
    with pytest.raises(ValueError, match="a mask is used only once"):
        members[2].masked_input(server.inbox(2), protocol.encoding.zeros(), protocol.encoding.split)


def test_shares_meant_for_another_cannot_be_read(make_clients):
    from fedlab.secure.messages import Inbox

    clients = make_clients(CLIENTS)
    protocol = Masked().build(clients.layout, 6)
    server, members = conversation(protocol, CLIENTS, set(CLIENTS), clients)
    swapped = Inbox({5: server.inbox(3).shares[5]})
    with pytest.raises(ValueError, match="not encrypted under the key of this pair"):
        members[2].masked_input(swapped, protocol.encoding.zeros(), protocol.encoding.split)


@pytest.mark.parametrize(
    ("threshold", "num_clients", "needed"), [(0.66, 2, 2), (0.66, 3, 2), (0.66, 10, 7), (1, 5, 5), (0.6, 10, 6)]
)
def test_the_threshold_is_a_share_of_the_clients_rounded_up(threshold, num_clients, needed):
    protocol = Masked(threshold=threshold).build(Layout.of([np.zeros(2)]), num_clients)
    assert protocol.server(1, tuple(range(num_clients))).threshold == needed
