"""Metrics over clients: of each client's own model, and of the global model next to them, under different names."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.algorithms import Apfl, Ditto, FedAvg, FedRep, FineTune, Ifca, LocalOnly
from fedlab.archive.clients import read_scores
from fedlab.cohort import All
from fedlab.evaluation import Evaluation
from fedlab.models import Mlp

SMALL = dict(num_rounds=3, model=Mlp(hidden=(8,)), cohort=All(), evaluation=Evaluation(holdout=0.3))
OVER_CLIENTS = ("mean", "p10", "worst", "std", "weighted")


@pytest.fixture
def summary_of(run_of):
    return lambda process, **options: run_of(process=process, **{**SMALL, **options})


def test_the_metrics_over_clients_follow_from_their_table(summary_of):
    run = summary_of(FedAvg())
    scores = read_scores(run.folder.clients)
    values, examples = np.array([s.score for s in scores]), np.array([s.examples for s in scores])
    assert len(set(examples)) > 1 and np.array_equal(examples, [len(i) for i in run.partition.evaluated.indices if len(i)])
    expected = (values.mean(), np.percentile(values, 10), values.min(), values.std(), np.dot(values, examples) / examples.sum())
    assert [run.summary[f"client_accuracy_{name}"] for name in OVER_CLIENTS] == pytest.approx(expected, abs=1e-12)
    assert not any(name.startswith("global_") for name in run.summary)  # there is one model


@pytest.mark.parametrize("process", [Ditto(), Apfl(), FineTune(fine_tuning_epochs=3)], ids=lambda p: type(p).__name__)
def test_the_global_model_next_to_own_models_has_the_metrics_of_fed_avg(summary_of, process):
    """Their global model is that of FedAvg to the bit."""
    run, plain = summary_of(process), summary_of(FedAvg())
    for name in ("test_accuracy", "test_loss", *(f"client_accuracy_{which}" for which in OVER_CLIENTS)):
        assert run.summary[f"global_{name}"] == plain.summary[name]
    assert run.records[-1]["global_test_loss"] == plain.records[-1]["test_loss"]
    assert run.summary["test_loss"] != plain.summary["test_loss"]


@pytest.mark.parametrize("process", [LocalOnly(), FedRep(head_epochs=1), Ifca()], ids=lambda p: type(p).__name__)
def test_without_one_model_for_all_there_are_no_global_metrics(summary_of, process):
    run = summary_of(process)
    assert "client_accuracy_weighted" in run.summary and not any(name.startswith("global_") for name in run.summary)


def test_nothing_is_measured_over_clients_without_per_client(summary_of):
    run = summary_of(Ditto(), evaluation=Evaluation(per_client=False))
    assert "global_test_accuracy" in run.summary and not any("client_" in name for name in run.summary)
