"""What an honest-but-curious server can unmask from its record: the sum that it was given, and nothing of refused attempts."""

from __future__ import annotations

import collections
import math

import numpy as np
import pytest

from fedlab.secure import BelowThreshold, Dropouts, Layout, Masked, shamir
from fedlab.secure.agreement import KeyPair, mask_purpose
from fedlab.secure.graph import neighbors
from fedlab.secure.keystream import add_masks
from fedlab.secure.masked import MaskedSum
from fedlab.secure.masked_client import share_point
from fedlab.secure.masked_server import MaskedServer


class SmallSparse(MaskedSum):
    """The sparse graph of `neighbors=log` on few clients, which fedlab would link fully: 4 neighbours, any 2 rebuild a secret."""

    def server(self, round, clients, attempt=0):
        graph = neighbors(clients, 4, np.random.default_rng([self.seed, round, attempt]))
        return MaskedServer(round, graph, math.ceil(self.spec.threshold * len(clients)), 2, self.encoding)


def unmasked(protocol, view, clients, attempt):
    """{clients: their sum} of all that the messages of one attempt give away, put together as the protocol's server would."""
    prefix = f"attempt {attempt + 1}/" if attempt else ""
    needed = protocol.server(view.round, clients, attempt).shares_needed
    sent = collections.defaultdict(dict)  # {what: {client: {about whom: bytes}}}
    for client, items in view.received.items():
        for name, array in items.items():
            if name.startswith(prefix) and (prefix or not name.startswith("attempt")):
                what, _, about = name[len(prefix) :].partition("/")
                sent[what].setdefault(client, {})[int(about) if about else None] = array.tobytes()
    linked = {c: set(sent["shares"].get(c, ())) for c in clients}
    rebuilt = {}
    for kind in ("seed_shares", "key_shares"):
        shares = collections.defaultdict(dict)
        for holder, about in sent[kind].items():
            for client, share in about.items():
                shares[client][share_point(holder)] = share
        rebuilt[kind] = {c: shamir.combine(s, needed(c)) for c, s in shares.items() if len(s) >= needed(c)}
    found, left = {}, set(sent["masked_input"])
    while left:  # masks between two clients cancel once both are in the sum
        part, queue = set(), [left.pop()]
        while queue:
            part.add(client := queue.pop())
            queue += [peer for peer in linked[client] & left]
            left -= linked[client]
        gone = {c for c in sent["shares"] if c not in sent["masked_input"] and linked[c] & part}
        if part <= set(rebuilt["seed_shares"]) and gone <= set(rebuilt["key_shares"]):
            total, masks = protocol.encoding.zeros(), [(rebuilt["seed_shares"][c], -1) for c in part]
            for client in part:
                protocol.encoding.add(total, np.frombuffer(sent["masked_input"][client][None], np.uint8))
            for client in gone:
                pair = KeyPair(rebuilt["key_shares"][client])
                for peer in linked[client] & part:
                    key = pair.agree(sent["mask_public"][peer][None], mask_purpose(view.round, client, peer))
                    masks.append((key, -1 if peer > client else +1))
            add_masks(total, protocol.encoding.split, masks)
            found[frozenset(part)] = protocol.encoding.decode(total)
    return found


def attack_many_rounds(kind, options, num_clients, num_patterns, rate):
    """Runs rounds under drawn dropouts and attacks each. Counts how they ended and in how many a client was exposed.

    In every second round the first attempt loses few before their input and many, at `rate`, after it; in the others it is the
    other way round. Later attempts lose fewer.
    """
    counts = collections.Counter()
    for seed in range(num_patterns):
        clients, rng = tuple(range(num_clients)), np.random.default_rng(seed)
        values = rng.integers(-999, 999, (num_clients, 2)).astype(np.float64)
        before, after = (0.08, rate) if seed % 2 else (rate, 0.08)
        fates = rng.choice(4, num_clients, p=[0.04, before, after, 0.88 - rate])
        dropouts = Dropouts(*(frozenset(np.flatnonzero(fates == stage).tolist()) for stage in range(3)))
        spec = Masked(observe="all", on_failure="retry", max_attempts=3, dropout_rate=0.25, **options)
        protocol = kind(spec, Layout.of([values[0]]), num_clients, seed, None)
        try:
            outcome = protocol.run_round(1, clients, [[v] for v in values], dropouts)
        except BelowThreshold as error:
            outcome = error.outcome
        attempts = [unmasked(protocol, outcome.server_view, clients, a) for a in range(outcome.num_attempts)]
        sums = [(who, total) for attempt in attempts for who, total in attempt.items()]
        for who, total in sums:  # the attack works: these are the true sums
            assert np.array_equal(total[0], values[sorted(who)].sum(axis=0))
        assert not outcome.included or frozenset(outcome.included) in attempts[-1]
        counts["finished" if outcome.included else "abandoned"] += 1
        counts["retried"] += outcome.num_attempts > 1
        counts["sums that the server was not given"] += len(sums) - bool(outcome.included)
        # A client that is alone in a sum, or the only one in which two sums differ
        sets = [who for who, _ in sums]
        counts["exposed"] += any(len(s) == 1 or any(len(s ^ other) == 1 for other in sets) for s in sets)
    return counts


SETTINGS = {
    "sparse": (SmallSparse, {"threshold": 0.66}, 9, 0.5),
    "log": (MaskedSum, {"neighbors": "log"}, 30, 0.4),
    "all": (MaskedSum, {"neighbors": "all"}, 7, 0.45),
    "three": (MaskedSum, {"neighbors": "all"}, 3, 0.45),
    "two": (MaskedSum, {"neighbors": "log"}, 2, 0.45),
}
FEW = {"sparse": 400, "log": 20, "all": 150, "three": 500, "two": 500}


@pytest.mark.sampled
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_refused_attempt_cannot_be_unmasked(setting):
    kind, options, num_clients, rate = SETTINGS[setting]
    counts = attack_many_rounds(kind, options, num_clients, FEW[setting], rate)
    assert counts["exposed"] == 0 and counts["sums that the server was not given"] == 0
    assert counts["finished"] and counts["abandoned"] and counts["retried"]  # so the patterns are worth something


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_refused_attempt_cannot_be_unmasked_in_thousands_of_patterns(setting):
    kind, options, num_clients, rate = SETTINGS[setting]
    counts = attack_many_rounds(kind, options, num_clients, 300 if setting == "log" else 3_000, rate)
    assert counts["exposed"] == 0 and counts["sums that the server was not given"] == 0


# Pairs


@pytest.mark.parametrize("num_clients", [2, 4, 10])
def test_in_pairs_the_server_can_unmask_the_sum_of_each_pair_and_nothing_smaller(num_clients):
    clients = tuple(range(3, 3 + num_clients))
    values = {c: np.array([c * 7.0, -1.0 - c]) for c in clients}
    protocol = Masked(neighbors="pairs", threshold=1, observe="all").build(Layout.of([np.zeros(2)]), num_clients)
    outcome = protocol.run_round(1, clients, [[values[c]] for c in clients])
    found = unmasked(protocol, outcome.server_view, clients, 0)
    half = num_clients // 2
    assert set(found) == {frozenset(p) for p in zip(clients[:half], clients[half:])}  # (0, 5), (1, 6), … of ten
    for pair, total in found.items():
        assert np.array_equal(total[0], sum(values[c] for c in pair))
    assert outcome.included == clients and np.array_equal(outcome.sum[0], sum(values.values()))


@pytest.mark.parametrize("stage", ["before_sharing", "before_input"])
@pytest.mark.parametrize("on_failure", ["abandon", "retry"])
def test_in_pairs_nothing_can_be_unmasked_if_a_client_vanishes_before_its_input(stage, on_failure):
    clients = tuple(range(6))
    spec = Masked(neighbors="pairs", threshold=1, observe="all", on_failure=on_failure, max_attempts=2)
    protocol = spec.build(Layout.of([np.zeros(2)]), 6)
    gone = Dropouts(**{stage: frozenset({4})})
    if on_failure == "retry":
        outcome = protocol.run_round(1, clients, [[np.ones(2)]] * 6, gone)
        assert outcome.num_attempts == 2 and outcome.included == clients
    else:
        with pytest.raises(BelowThreshold, match=r"5 of 6 clients .*, 6 are needed") as caught:
            protocol.run_round(1, clients, [[np.ones(2)]] * 6, gone)
        outcome = caught.value.outcome
    assert unmasked(protocol, outcome.server_view, clients, 0) == {}


def test_in_pairs_a_client_that_vanishes_after_its_input_ends_the_round_and_its_pair_stays_masked():
    clients = tuple(range(6))
    protocol = Masked(neighbors="pairs", threshold=1, observe="all").build(Layout.of([np.zeros(2)]), 6)
    with pytest.raises(BelowThreshold, match="1 of 6 clients are left that have shares of client") as caught:
        protocol.run_round(1, clients, [[np.ones(2)]] * 6, Dropouts(before_unmasking=frozenset({4})))
    outcome = caught.value.outcome
    assert outcome.included == ()
    assert set(unmasked(protocol, outcome.server_view, clients, 0)) == {frozenset({0, 3}), frozenset({2, 5})}


RING_AND_PAIR = ((0, 3), (3, 1), (1, 0), (2, 5), (4, 5))  # groups {0, 1, 3} and {2, 4, 5}


def test_in_listed_pairs_the_server_can_unmask_the_sum_of_each_group_and_nothing_smaller():
    clients = (12, 4, 30, 7, 9, 21)  # places follow the ascending order: 4, 7, 9, 12, 21, 30
    values = {c: np.array([c * 7.0, -1.0 - c]) for c in clients}
    protocol = Masked(neighbors=RING_AND_PAIR, threshold=1, observe="all").build(Layout.of([np.zeros(2)]), 6)
    outcome = protocol.run_round(1, clients, [[values[c]] for c in clients])
    found = unmasked(protocol, outcome.server_view, clients, 0)
    assert set(found) == {frozenset({4, 7, 12}), frozenset({9, 21, 30})}
    for group, total in found.items():
        assert np.array_equal(total[0], sum(values[c] for c in group))
    assert np.array_equal(outcome.sum[0], sum(values.values()))


@pytest.mark.parametrize("stage", ["before_sharing", "before_input", "before_unmasking"])
def test_in_listed_pairs_the_group_of_a_client_that_vanishes_stays_masked(stage):
    clients = tuple(range(6))
    protocol = Masked(neighbors=RING_AND_PAIR, threshold=1, observe="all").build(Layout.of([np.zeros(2)]), 6)
    with pytest.raises(BelowThreshold) as caught:
        protocol.run_round(1, clients, [[np.ones(2)]] * 6, Dropouts(**{stage: frozenset({0})}))
    outcome = caught.value.outcome
    others = {frozenset({2, 4, 5})} if stage == "before_unmasking" else set()
    assert outcome.included == () and set(unmasked(protocol, outcome.server_view, clients, 0)) == others


def test_in_listed_pairs_no_neighbour_rebuilds_a_secret_without_the_others():
    """Two of the three holders of a secret of client 0, its neighbours 1 and 3, have fewer shares than it takes."""
    protocol = Masked(neighbors=RING_AND_PAIR, threshold=1).build(Layout.of([np.zeros(2)]), 6)
    server = protocol.server(1, tuple(range(6)))
    assert [server.shares_needed(client) for client in range(6)] == [3, 3, 2, 3, 2, 3]
