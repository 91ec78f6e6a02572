"""Scores depend on the model and the examples only."""

from __future__ import annotations

import concurrent.futures

import numpy as np
import pytest

from fedlab import cores
from fedlab.evaluation.scores import ExampleScorer, ExampleScores
from fedlab.models import Mlp
from fedlab.ragged import Ragged
from fedlab.tasks import Classification, MultiLabel, NextToken, Regression


@pytest.mark.parametrize("granted", ["1", "2"])
def test_scores_do_not_depend_on_the_number_of_cores(lab, monkeypatch, granted):
    examples = lab.examples((300,))
    model, weights = lab.functional(Mlp(hidden=(16,)), examples)
    flat = [w for ws in weights for w in ws]
    scorer = ExampleScorer(model, examples.x.dtype, batch_size=7)
    alone = ExampleScorer(model, examples.x.dtype, batch_size=len(examples)).scores(flat, examples)

    pools, make = [], concurrent.futures.ThreadPoolExecutor
    monkeypatch.setattr(concurrent.futures, "ThreadPoolExecutor", lambda size: pools.append(size) or make(size))
    monkeypatch.setenv(cores.VARIABLE, granted)
    found = scorer.scores(flat, examples)
    assert pools == [int(granted)] or cores.available() < int(granted)
    for threads in (1, 3, 16):  # more threads than cores, too
        monkeypatch.setattr(cores, "available", lambda threads=threads: threads)
        again = scorer.scores(flat, examples)
        assert all(found.each[name].tobytes() == again.each[name].tobytes() for name in found.each)
    assert all(np.allclose(found.each[name], alone.each[name], rtol=1e-5, atol=1e-6) for name in found.each)


@pytest.mark.parametrize(
    ("task", "counts"),
    [
        (Classification(num_classes=4), {"correct": ()}),
        (Regression(), {"squared_error": (), "absolute_error": (), "target": (), "squared_target": ()}),
        (NextToken(vocabulary=tuple("abc"), length=4), {name: () for name in ("nats", "tokens", "correct", "characters")}),
        (MultiLabel(num_labels=3), {"hits": (3,), "claims": (3,), "exact": (), "right": ()}),
    ],
    ids=lambda given: type(given).__name__,
)
def test_scores_of_many_clients_are_those_of_a_loop_to_the_bit(task, counts):
    rng = np.random.default_rng(0)
    sizes = [*rng.integers(1, 12, 60).tolist(), 1, 1, 127, 129, 1000, 8191, 8192, 8193, 20_000]
    n = sum(sizes)
    each = {name: np.exp(rng.normal(0, 8, (n, *shape))).astype(np.float32) for name, shape in {"loss": (), **counts}.items()}
    scores, clients = ExampleScores(task, each), np.split(rng.permutation(n), np.cumsum(sizes)[:-1])
    expected = [scores.summary(indices) for indices in clients]
    for found in (scores.of_each(clients), scores.of_each(Ragged.of(clients))):
        assert set(found) == set(expected[0])
        for name, values in found.items():
            assert values.tobytes() == np.array([one[name] for one in expected]).tobytes(), name


class Squared(Classification):
    def metrics(self, sums):
        assert np.ndim(sums["num_examples"]) == 0  # as if it was called for each client
        return {"loss": sums["loss"] / sums["num_examples"], "accuracy": float(sums["correct"]) ** 2}


def test_the_metrics_of_a_users_task_are_computed_for_each_client():
    each = {"loss": np.ones(5, np.float32), "correct": np.arange(5, dtype=np.float32)}
    found = ExampleScores(Squared(num_classes=2), each).of_each([np.array([0, 4]), np.array([1, 2, 3])])
    assert found["accuracy"].tolist() == [16.0, 36.0] and found["loss"].tolist() == [1.0, 1.0]
