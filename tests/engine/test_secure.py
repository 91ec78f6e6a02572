"""Sums made by a protocol: the same model as sums made in the graph, and a server that gets no more than it should."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from fedlab.aggregation import Compressed, CoordinateMedian, Mean, Robust, Secure
from fedlab.algorithms import FedAvg, FedProx
from fedlab.algorithms.optimizers import Adam
from fedlab.engine import Compiled, SecureSumming
from fedlab.errors import ConfigError
from fedlab.models import Mlp
from fedlab.secure import Ckks, Masked, Plain

SEED, NUM_ROUNDS = 33, 3  # under this seed, a dropout rate of 0.25 takes one client a round, in the second after it has sent


_in_the_graph = {}  # results without a protocol, which several tests compare with


def trained(lab, protocol, inputs=None, **options):
    """Three rounds on the compiled engine with this protocol, or with sums in the graph (None)."""
    if protocol is not None or inputs is not None:
        return train(lab, protocol, inputs, **options)
    if repr(options) not in _in_the_graph:
        _in_the_graph[repr(options)] = train(lab, None, **options)
    return _in_the_graph[repr(options)]


def train(lab, protocol, inputs=None, *, aggregator=None, process=None, **options):
    inputs = lab.inputs(NUM_ROUNDS) if inputs is None else inputs
    summing = protocol and SecureSumming(protocol, len(lab.sizes), SEED, NUM_ROUNDS, adds_noise=False)
    examples = lab.examples()
    built, _ = lab.process(
        process or FedAvg(), examples, options.pop("model", Mlp(hidden=(6,))), aggregator=aggregator, **options
    )
    engine = Compiled().build(built, examples, summing)
    state, metrics = engine.initialize(np.array([17, 4])), []
    views = []
    for round_input in inputs:
        state, found = engine.next(state, round_input)
        metrics.append(found)
        views.append(engine.observed)
    engine.close()
    weights = [np.asarray(t) for name, t in zip(engine.state_names, state) if name[0] == "global_model_weights"]
    return weights, metrics, views


PROTOCOLS = [
    pytest.param(Plain(observe="all"), 1e-6, id="plain"),
    pytest.param(Masked(), 1e-6, id="masked"),
    pytest.param(Masked(bits=32, clip_range=64.0), 1e-3, id="masked_32_bits", marks=pytest.mark.slow),
    pytest.param(Ckks(), 1e-4, id="ckks"),
]


@pytest.mark.sampled
@pytest.mark.parametrize(("protocol", "tolerance"), PROTOCOLS)
def test_the_model_is_that_of_sums_in_the_graph(lab, protocol, tolerance):
    expected, metrics, _ = trained(lab, None)
    found, through, _ = trained(lab, protocol)
    assert lab.distance(found, expected) < tolerance
    for a, b in zip(metrics, through):
        for name, value in a.items():
            np.testing.assert_allclose(b[name], value, rtol=1e-3, atol=1e-3)
        assert b["secure/num_included"] == len(lab.sizes) and b["secure/bytes_up"] > 0


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(dict(aggregator=Robust()), marks=pytest.mark.slow),
        pytest.param(dict(process=FedProx()), marks=pytest.mark.slow),
        pytest.param(dict(server_optimizer=Adam(learning_rate=0.01)), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_under_masks_with_other_processes_too(lab, options):
    expected, _, _ = trained(lab, None, **options)
    found, _, _ = trained(lab, Masked(), **options)
    assert lab.distance(found, expected) < 1e-5


def test_masks_leave_no_trace_in_the_sum(lab):
    """Fresh keys in each run, and the same bits."""
    one, two = (trained(lab, Masked())[0] for _ in range(2))
    assert lab.same_bits(one, two)


@pytest.mark.slow
def test_what_tff_marks_goes_through_the_protocol_and_the_rest_does_not(lab):
    """`secure_aggregator` quantises; the sums of its integers are exact, so masked equals plain bit for bit."""
    plain, metrics, views = trained(lab, Plain(scope="marked", observe="all"), aggregator=Secure())
    masked, _, _ = trained(lab, Masked(scope="marked"), aggregator=Secure())
    assert lab.same_bits(plain, masked)
    mean, mean_metrics, _ = trained(lab, None, aggregator=Mean())
    assert lab.distance(plain, mean) < 0.2  # clipping and quantisation: near, not equal
    assert metrics[0]["client_work/train/num_examples"] == mean_metrics[0]["client_work/train/num_examples"]
    received = views[0].received
    for client in range(len(lab.sizes)):
        marked = [array for name, array in received[client].items() if not name.startswith("in_the_clear/")]
        assert marked and all(array.dtype.kind == "i" for array in marked)
    beside = [{n: a for n, a in received[c].items() if n.startswith("in_the_clear/")} for c in range(len(lab.sizes))]
    assert lab.sizes in [tuple(client[name].item() for client in beside) for name in beside[0]]  # the numbers of examples
    assert (
        sum(a.nbytes for a in beside[0].values()) * len(lab.sizes)
        + sum(a.nbytes for items in received.values() for n, a in items.items() if not n.startswith("in_the_clear/"))
        == metrics[0]["secure/bytes_up"]
    )


@pytest.mark.parametrize(
    "protocol",
    [
        pytest.param(Plain(scope="marked", observe="all"), id="plain", marks=pytest.mark.slow),
        pytest.param(Masked(scope="marked", observe="all", threshold=1.0), id="masked"),
    ],
)
def test_the_record_has_what_went_in_the_clear_of_those_whose_contribution_arrived(lab, protocol):
    """Also where the round was abandoned. Under this seed a client leaves before its contribution in rounds 1 and 3, and, with
    masks, after it in round 2."""
    protocol = protocol.model_copy(update={"dropout_rate": 0.25})
    _, metrics, views = trained(lab, protocol, aggregator=Secure())
    sent = [{c for c, items in view.received.items() if any(n.startswith("in_the_clear/") for n in items)} for view in views]
    assert [len(clients) for clients in sent] == [3, 4, 3]
    if isinstance(protocol, Masked):
        assert all(m["secure/abandoned"] == 1 for m in metrics)
        arrived = [{c for c, items in view.received.items() if "masked_input" in items} for view in views]
        assert arrived == sent


def test_the_plain_record_is_the_update_and_the_masked_is_not(lab):
    """The server sees a client's weighted update in one, and in the other numbers that tell nothing of it."""
    _, _, views = trained(lab, Plain(observe="all"))
    _, _, masked = trained(lab, Masked(observe="all"))
    update = np.concatenate([a.ravel() for a in views[0].received[2].values() if a.size > 1])
    assert np.abs(update).max() > 0
    assert views[0].num_bytes(2) < masked[0].num_bytes(2)
    largest = max(masked[0].received[2].values(), key=lambda a: a.nbytes)
    seen = np.frombuffer(largest.tobytes(), np.uint8)
    counts = np.bincount(seen, minlength=256)
    # Keys are fresh: random bytes exceed this with a chance of 1e-9
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < scipy.stats.chi2.isf(1e-9, 255)


class TestDropouts:
    def test_the_model_is_that_of_those_who_stayed(self, lab):
        """Also what is summed in the clear."""
        protocol = Plain(dropout_rate=0.25, observe="all")
        weights, metrics, _ = trained(lab, protocol)
        everyone, _, _ = trained(lab, None)
        included = [m.get("secure/num_included") for m in metrics]
        assert included == [3, 4, 3] and lab.distance(weights, everyone) > 1e-3
        masked, masked_metrics, _ = trained(lab, Masked(dropout_rate=0.25))
        assert [m["secure/num_included"] for m in masked_metrics] == included
        assert lab.distance(masked, weights) < 1e-6

    def test_below_the_threshold_the_round_is_abandoned_and_the_model_stays(self, lab):
        protocol = Masked(dropout_rate=0.9, threshold=0.9, observe="all")
        weights, metrics, views = trained(lab, protocol)
        assert [m["secure/abandoned"] for m in metrics] == [1] * NUM_ROUNDS
        assert all(m["secure/num_included"] == 0 and m["secure/bytes_up"] > 0 for m in metrics)
        assert all(set(view.received) == set(range(len(lab.sizes))) for view in views)  # the server saw what came before
        before, _, _ = trained(lab, protocol, inputs=[])
        assert lab.same_bits(weights, before)


@pytest.mark.sampled
@pytest.mark.parametrize("aggregator", [CoordinateMedian(), Compressed(threshold=1)], ids=repr)
def test_an_aggregator_that_does_more_than_add_is_refused(lab, aggregator):
    with pytest.raises(ConfigError, match="a secure sum cannot"):
        trained(lab, Masked(), aggregator=aggregator)


def test_nothing_marked_is_an_error_that_says_what_to_do(lab):
    with pytest.raises(
        ConfigError, match=r"marks nothing as securely summed: use aggregator=secure, or secure\.scope=everything"
    ):
        trained(lab, Masked(scope="marked"))
