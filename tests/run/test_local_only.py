"""Training alone: FedAvg where there is one client, and each client as if the others were not there."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.algorithms import FedAvg, LocalOnly, LocalTraining
from fedlab.archive.clients import read_scores
from fedlab.cohort import All, Uniform
from fedlab.errors import ConfigError
from fedlab.models import Mlp, Perceptron
from fedlab.partition import Iid, Single
from fedlab.privacy import GaussianFixed
from fedlab.run import inputs
from fedlab.run.checkpointing import Checkpointing
from fedlab.secure import Masked

SMALL = dict(num_rounds=3, model=Mlp(hidden=(8,), dropout=0.3), cohort=All())
EXTRA = {"test_accuracy_p10", "test_accuracy_worst", "test_accuracy_best"}


def comparable(run):
    return [{k: v for k, v in r.items() if not k.endswith("seconds")} for r in run.records]


def test_with_one_client_it_is_fed_avg_bit_for_bit(run_of, lab):
    alone, together = (run_of(process=process, partition=Single(), **SMALL) for process in (LocalOnly(), FedAvg()))
    assert lab.same_bits(alone.model.get_weights(), together.model.get_weights())
    not_bytes = [{k: v for k, v in r.items() if not k.startswith("bytes_") and k not in EXTRA} for r in comparable(alone)]
    assert not_bytes == [{k: v for k, v in r.items() if not k.startswith("bytes_")} for r in comparable(together)]
    assert all(r["bytes_up"] == r["bytes_down"] == 0 for r in alone.records)


def test_each_client_is_as_if_it_were_alone(once, lab):
    from fedlab.run.learner import build_learner

    experiment = once.experiment.model_copy(update={**SMALL, "process": LocalOnly(), "partition": Iid(num_clients=3)})
    dataset, partition = inputs.load(experiment)
    learner = build_learner(experiment, dataset, partition, {})
    records = list(learner.rounds(1))
    given = lab.inputs(3, seed=experiment.seed, partition=partition, epochs=experiment.client.local_epochs)
    for c in range(3):
        state = learner.trainer._state  # as it was before the first round
        for round_input in given:
            state, _ = learner.trainer._engine.next(state, round_input.of_one_client(c))
        assert lab.same_bits(state, learner.trainer._states[c])
    accuracies = [
        learner.evaluator._scorer.scores(learner.trainer.models[c], dataset.test).summary()["accuracy"] for c in range(3)
    ]
    assert records[-1]["test_accuracy"] == pytest.approx(np.mean(accuracies))
    assert records[-1]["test_accuracy_worst"] == min(accuracies) and records[-1]["test_accuracy_best"] == max(accuracies)
    assert records[-1]["train_num_examples"] == 2 * len(dataset.train)
    learner.close()


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(run_of, killed):
    options = {**SMALL, "process": LocalOnly(), "partition": Iid(num_clients=4), "cohort": Uniform(clients_per_round=2)}
    options.update(client=LocalTraining(batch_size=5), checkpoint=Checkpointing(every=1, keep=9))
    whole = run_of(**options)
    resumed = run_of(folder=killed(whole, 2), goes_on=True, **options)
    assert comparable(whole) == comparable(resumed)
    mine = read_scores(resumed.folder.local_models)
    assert mine == read_scores(whole.folder.local_models) and len(mine) == 4
    assert np.mean([s.score for s in mine]) == pytest.approx(whole.summary["test_accuracy"])
    assert not whole.folder.model.exists()  # there is no model for all


@pytest.mark.parametrize("options", [dict(privacy=GaussianFixed(noise_multiplier=1.0)), dict(secure=Masked())], ids=str)
def test_what_protects_updates_is_refused_where_none_are_sent(run_of, options):
    with pytest.raises(ConfigError, match="process=local_only"):
        run_of(process=LocalOnly(), model=Perceptron(), **options)
