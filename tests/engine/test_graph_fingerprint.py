"""A process that is built twice is recognised, whatever its functions are called; any other process is not."""

from __future__ import annotations

import pytest
from tensorflow_federated.python.core.impl.computation import computation_impl

from fedlab import lowering
from fedlab.aggregation import Robust
from fedlab.algorithms import FedAvg, FedProx, LocalTraining
from fedlab.algorithms.optimizers import Sgd
from fedlab.graph_fingerprint import computation_fingerprint
from fedlab.models import Mlp

MODEL = Mlp(hidden=(3,), dropout=0.5)  # with random draws, a loop, branches and gradients


@pytest.fixture
def built(lab, monkeypatch):
    """Builds a process, with functions that are traced anew."""
    examples = lab.examples()

    def build(process=None, model=MODEL, **options):
        monkeypatch.setattr(type(lab), "_functional", {})
        return lab.process(process or FedAvg(), examples, model, **options)[0]

    return build


def proto(computation):
    return computation_impl.ConcreteComputation.get_proto(computation)


def fingerprints(process):
    return [computation_fingerprint(proto(part)) for part in (process.initialize, process.next)]


def test_the_same_process_has_the_same_fingerprint_and_is_split_once(built):
    one, two = built(), built()
    assert proto(one.next).SerializeToString(deterministic=True) != proto(two.next).SerializeToString(deterministic=True)
    assert fingerprints(one) == fingerprints(two)
    assert lowering.lower(one) is lowering.lower(two)


OTHERS = {
    "rate": dict(client_optimizer=Sgd(learning_rate=0.2)),
    "momentum": dict(server_optimizer=Sgd(learning_rate=1.0, momentum=0.5)),
    "batch": dict(client=LocalTraining(batch_size=6)),
    "dropout": dict(model=Mlp(hidden=(3,), dropout=0.25)),
    "weights": dict(seed=4),
    "aggregator": dict(aggregator=Robust()),
    "algorithm": dict(process=FedProx(proximal_strength=0.1)),
}


def test_another_process_has_another_fingerprint(built):
    found = [tuple(fingerprints(built(**options))) for options in ({}, *OTHERS.values())]
    assert len(set(found)) == len(found)
    usual, last = found[0], found[-1]
    assert usual[0] == last[0] and usual[1] != last[1]  # both begin with the same state


def test_only_the_last_processes_are_remembered_and_no_large_one(built, monkeypatch):
    monkeypatch.setattr(lowering, "_known", type(lowering._known)())
    monkeypatch.setattr(lowering, "_MOST_KNOWN", 1)
    one, other = built(), built(**OTHERS["rate"])
    first = lowering.lower(one)
    assert lowering.lower(one) is first and len(lowering._known) == 1
    assert lowering.lower(other) is not first and len(lowering._known) == 1
    assert lowering.lower(one) is not first
    monkeypatch.setattr(lowering, "_LARGEST_KNOWN", proto(one.initialize).ByteSize())
    assert lowering.lower(one) is not lowering.lower(one)
