"""The example of docs/adding/algorithm.md is run as it stands; what an algorithm of one's own gets wrong is one line."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import sys

import numpy as np
import pytest

from fedlab.algorithms import FedAvg, KeepingProcess
from fedlab.algorithms.keeping import Keeping
from fedlab.config.composing import build_experiment, compose
from fedlab.errors import FedlabError
from fedlab.models import Mlp
from fedlab.run.inputs import load

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "adding" / "algorithm.md"
TINY = [
    "num_rounds=2",
    "data=digits",
    "data.max_examples=200",
    "model=perceptron",
    "partition=shards",
    "partition.num_clients=4",
    "cohort=all",
]


@pytest.fixture
def running_mean(tmp_path, monkeypatch):
    """The files of the page, written where it says; the overrides of its command."""
    text = PAGE.read_text()
    for path, rest in re.findall(r"```\w+\n# (\S+)\n(.*?)```", text, re.DOTALL):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(rest)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield re.search(r"fedlab train -cd my_conf (.*)", text)[1].split()
    sys.modules.pop("my_running_mean", None)


def _trained(overrides, config_dir):
    """Two rounds: (weights of the global model after each, records, clients' own models)."""
    from fedlab.run.training import Training

    experiment = build_experiment(compose([*overrides, *TINY], str(config_dir)))
    training = Training(experiment, *load(experiment))
    weights, records = [], []
    for record in training.rounds(1):
        weights.append([np.asarray(w) for w in training.weights])
        records.append(record)
    models = [[np.asarray(w) for w in model] for model in training.trainer.models or ()]
    training.close()
    return weights, records, models


def test_the_example_trains_a_model_for_all_and_one_for_each(tensorflow, running_mean, tmp_path):
    ours, records, models = _trained(running_mean, tmp_path / "my_conf")
    plain, *_ = _trained([o for o in running_mean if not o.startswith("process")], tmp_path / "my_conf")
    assert all(map(np.array_equal, ours[-1], plain[-1])), "the model for all is FedAvg's"
    assert len(models) == 4 and "test_accuracy_worst" in records[-1]
    assert len({model[0].tobytes() for model in models}) == 4


def test_the_running_mean_counts_each_round_once_and_no_initial_weights(tensorflow, running_mean, tmp_path):
    """If all clients weigh the same, the mean of their own models is that of the global models after rounds 1 and 2."""
    overrides = [*running_mean, "process.client_weighting=uniform"]
    (first, second), _, models = _trained(overrides, tmp_path / "my_conf")
    for a, b, *own in zip(first, second, *models):
        np.testing.assert_allclose(np.mean(own, axis=0), (a + b) / 2, atol=1e-6)


def _good(parts):
    zeros = tuple(0 * w for w in parts.model.initial_weights[0])
    return Keeping(zeros, lambda w, fixed, data, factor, kept, shared: (w, parts.model.initialize_metrics_state(), kept, ()))


def _changed(**options):
    return lambda parts: dataclasses.replace(_good(parts), **options)


def _returning(change):
    """A `Keeping` whose update returns what `change` makes of the right thing."""

    def keeping(parts):
        good = _good(parts)
        return dataclasses.replace(good, update=lambda *given: change(*good.update(*given)))

    return keeping


@pytest.mark.parametrize(
    ("keeping", "told"),
    [
        (lambda parts: None, r"Own\.keeping returned None; it must return a Keeping\."),
        (_changed(kept=None), r"Keeping\.kept is None, and must be a tuple of float32 arrays\."),
        (_changed(kept=("word",)), r"Keeping\.kept is .*, and must be a tuple of float32 arrays\."),
        (_changed(shared=np.zeros(3)), r"Keeping\.shared is a ndarray, and must be a tuple of float32 arrays\."),
        (_changed(own_model=lambda sent, kept: kept), r"Own\.personal is False, and its Keeping has an own_model"),
        (_returning(lambda *found: None), r"Keeping\.update returned None; it must return \(update, metrics, kept"),
        (
            _returning(lambda *found: found[:3]),
            r"Keeping\.update returned tensors of shapes .*; it must return \(update, metrics",
        ),
        (_returning(lambda d, m, k, s: (d[:1], m, k, s)), r"update returned as update tensors of shapes \(\[36, 4\]\); it must"),
        (_returning(lambda d, m, k, s: (d, m, k[::-1], s)), r"update returned as kept .* like what was kept before\."),
        (_returning(lambda d, m, k, s: (d, m, None, s)), r"update returned as kept None; it must return tensors of shapes"),
        (_returning(lambda d, m, k, s: (d, m, k, d)), r"update returned as also sent .* like shared\."),
        (_returning(lambda d, m, k, s: (d, None, k, s)), r"update returned as metrics None; it must return"),
    ],
)
def test_what_an_algorithm_returns_is_checked_before_the_first_round(lab, keeping, told):
    made = keeping

    class Own(KeepingProcess):
        def keeping(self, parts):
            return made(parts)

    with pytest.raises(FedlabError, match=told) as found:
        lab.training(Own())
    assert "\n" not in str(found.value)


def test_an_own_model_has_the_models_weights(lab):
    class Own(KeepingProcess):
        personal = True

        def keeping(self, parts):
            return dataclasses.replace(_good(parts), own_model=lambda sent, kept: kept[:1])

    with pytest.raises(FedlabError, match=r"Keeping\.own_model returned tensors of shapes .* like all trained weights\."):
        lab.training(Own(), model=Mlp(hidden=(3,)))


@pytest.mark.parametrize("method", ["build", "start"])
def test_a_process_returns_what_its_slot_needs(lab, method):
    Own = type("Own", (FedAvg,), {method: lambda self, *given: None})
    with pytest.raises(FedlabError, match=rf"Own\.{method} returned None; it must return a"):
        lab.training(Own())
