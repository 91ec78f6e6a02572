"""Cohorts in blocks, where clients keep state."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fedlab.algorithms import Scaffold
from fedlab.engine import MOST_BLOCKS
from fedlab.lowering import KEPT

# A sum of 70 float32 terms in another order: each addition errs by at most 2⁻²⁴ = 6e-8 of the terms' size
ROUNDING = 70 * 6e-8
SIZES = (2, 1, 3, 1, 2) * 14


def test_what_clients_keep_returns_in_the_order_of_the_clients(lab, monkeypatch):
    assert len(SIZES) > MOST_BLOCKS
    trainer = lab.trainer(Scaffold(), examples=lab.examples(SIZES))
    (given,) = lab.inputs(1, partition=lab.partition(SIZES))
    kept = [np.zeros((len(SIZES), *w.shape), np.float32) for w in trainer.initial_weights]
    given = dataclasses.replace(given, kept=(np.arange(len(SIZES), dtype=np.int32) * 3, *kept))
    in_blocks = trainer.run([given])
    monkeypatch.setattr("fedlab.engine.compiled.MOST_BLOCKS", len(SIZES))  # takes the graph of smaller cohorts
    flat = trainer.run([given])
    assert trainer.engine.num_traces == 2
    names = [name for name in flat.metrics[0] if KEPT in name.split("/")]
    assert np.array_equal(in_blocks.metrics[0][names[0]], given.kept[0])
    for name in names:
        assert in_blocks.metrics[0][name].tobytes() == flat.metrics[0][name].tobytes()
    assert lab.distance(in_blocks.weights[0], flat.weights[0]) < ROUNDING


@pytest.mark.parametrize("count", [1, 5])
def test_a_round_of_some_clients_has_their_arrays(lab, count):
    (given,) = lab.inputs(1, epochs=2, partition=lab.partition(SIZES))
    part = given.of_clients(7, 7 + count)
    for k in range(count):
        one, same = given.of_one_client(7 + k), part.of_one_client(k)
        for field in dataclasses.fields(one):
            assert np.array_equal(getattr(one, field.name), getattr(same, field.name)), field.name
