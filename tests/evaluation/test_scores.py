"""Scores depend on the model and the examples only."""

from __future__ import annotations

import concurrent.futures

import numpy as np
import pytest

from fedlab import cores
from fedlab.evaluation.scores import ExampleScorer
from fedlab.models import Mlp


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
