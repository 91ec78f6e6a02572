"""`evaluation.client_every` measures the models that the server received from clients, and changes nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.aggregation import Krum, Robust, Secure
from fedlab.algorithms import DpSgd, FedAvg, FedProx, FedRep, FedSgd, LocalOnly, Scaffold
from fedlab.archive import RunFolder, make_folder
from fedlab.archive.clients import read_model_scores
from fedlab.cohort import All, InTurn, Poisson
from fedlab.errors import ConfigError
from fedlab.evaluation import Evaluation
from fedlab.models import Mlp
from fedlab.partition import Iid
from fedlab.privacy import GaussianAdaptive, GaussianFixed, Tree
from fedlab.run import rules
from fedlab.run.checkpointing import Checkpointing
from fedlab.secure import Ckks, Masked, Plain, ServerView
from fedlab.secure.reading import models_in
from tests.run.test_promises import experiment

EVERY_2 = {"evaluation": Evaluation(batch_size=40, client_every=2), "secure": Plain(observe="all")}


def tables(run):
    return read_model_scores(run.folder.client_models)


def bits(run):
    return [record["weights_hash"] for record in run.records]


def test_a_run_with_tables_has_the_bits_of_one_without_and_a_resumed_run_the_same_tables(run_of, tmp_path):
    without, whole = run_of(secure=Plain(observe="all")), run_of(**EVERY_2)
    assert bits(without) == bits(whole) and not tables(without)
    assert list(tables(whole)) == [2, 4, 6]
    for number, scores in tables(whole).items():
        record = whole.records[number - 1]
        assert len(scores) == record["num_clients"]  # a client that dropped out has sent no model
        assert 2 * sum(s.examples for s in scores) == record["train_num_examples"]  # two local epochs
    folder = RunFolder(make_folder(tmp_path / "run"))
    run_of(folder=folder, **{**EVERY_2, "num_rounds": 3, "checkpoint": Checkpointing(every=1)})
    resumed = run_of(folder=folder, goes_on=True, **EVERY_2)
    assert tables(resumed) == tables(whole)


def test_the_model_of_the_only_client_is_the_next_global_model(run_of):
    run = run_of(**EVERY_2, num_rounds=4, partition=Iid(num_clients=1), cohort=All())
    for number, [score] in tables(run).items():
        record = run.records[number - 1]
        assert score.test_loss == pytest.approx(record["test_loss"], rel=1e-4)
        assert score.test_score == record["test_accuracy"]
    assert score.train_score == run.summary["client_accuracy_mean"]  # on the same training examples


def test_the_mean_of_the_clients_models_is_the_next_global_model(run_of):
    run = run_of(**EVERY_2, num_rounds=2, cohort=All())
    views = [ServerView.load(run.folder.observed / f"round_{number:06d}.npz") for number in (1, 2)]
    with Plain(observe="all").build(views[0].layout, 5) as protocol:
        models = models_in(views[0], protocol, len(views[0].model))
    sizes = np.array([len(run.partition.indices[client]) for client in models])
    for i, weight in enumerate(views[1].model):
        mean = np.average([model[i] for model in models.values()], axis=0, weights=sizes)
        np.testing.assert_allclose(weight, mean, atol=1e-6)


PRIVATE = {
    "gaussian_fixed": dict(privacy=GaussianFixed(noise_multiplier=0.5), cohort=Poisson(sampling_rate=0.5)),
    "gaussian_adaptive": dict(privacy=GaussianAdaptive(noise_multiplier=0.1), cohort=Poisson(sampling_rate=0.5)),
    "tree": dict(privacy=Tree(noise_multiplier=0.5, restart_every=4), cohort=InTurn(clients_per_round=2)),
    "dp_sgd": dict(client=DpSgd(batch_size=5)),
    "robust": dict(aggregator=Robust()),
    "fed_prox": dict(process=FedProx(proximal_strength=0.1)),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", PRIVATE)
def test_models_are_found_in_the_messages_of_every_kind_of_run_that_is_accepted(run_of, name):
    run = run_of(**EVERY_2, **PRIVATE[name], num_rounds=2, seed=5, model=Mlp(hidden=(8,)))
    [scores] = tables(run).values()
    assert len(scores) == run.records[1]["num_clients"] and all(s.test_score > 0.1 for s in scores)


@pytest.mark.parametrize(
    "options, reason",
    [
        (dict(secure=Masked(observe="all")), "secure=masked hides the clients' models from the server"),
        (dict(secure=Ckks(observe="all")), "secure=ckks hides the clients' models from the server"),
        (dict(process=FedSgd()), "those of process FedSgd do not"),
        (dict(process=Scaffold()), "those of process Scaffold do not"),
        (dict(process=FedRep()), "those of process FedRep do not"),
        (dict(process=LocalOnly()), "those of process LocalOnly do not"),
        (dict(process=type("Mine", (FedAvg,), {"__module__": __name__})()), "those of process Mine do not"),
        (dict(aggregator=Krum(num_byzantine=1)), "aggregator Krum gets none"),
        (dict(aggregator=Secure(), secure=Plain(observe="all", scope="marked")), "aggregator Secure gets none"),
        (dict(secure=Plain()), r"set secure\.observe=all, or a list with the rounds 2, 4, 6\."),
        (dict(secure=Plain(observe=(2, 4))), r"set secure\.observe=all"),
        (dict(secure=Plain(observe="last")), r"set secure\.observe=all"),
        (dict(num_rounds=1), "measures no round"),
    ],
)
def test_runs_whose_server_has_no_models_are_refused(options, reason):
    one = experiment(**{**EVERY_2, "num_rounds": 6, **options})
    with pytest.raises(ConfigError, match=rf"evaluation\.client_every=2.*{reason}"):
        rules.client_models_are_seen(one)


def test_a_record_of_these_rounds_is_enough():
    rules.client_models_are_seen(experiment(**{**EVERY_2, "num_rounds": 5, "secure": Plain(observe=(1, 2, 4))}))


def test_the_run_says_what_the_tables_are():
    [line] = Evaluation(client_every=2).lines()
    assert "no ε covers them. Do not publish them." in line and Evaluation().lines() == []
