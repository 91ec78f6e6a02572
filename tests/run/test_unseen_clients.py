"""Clients that are never trained: `partition.unseen_clients`."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fedlab.algorithms import Apfl, Ditto, FedAvg, FedRep, FineTune, Ifca, LocalOnly, PFedMe
from fedlab.archive.clients import read_scores
from fedlab.cohort import All, Uniform
from fedlab.corruption import Inversion
from fedlab.data import Npz
from fedlab.errors import ConfigError
from fedlab.evaluation import Evaluation
from fedlab.filter import NoFilter
from fedlab.models import Mlp
from fedlab.partition import Quantity
from fedlab.privacy import GaussianFixed
from fedlab.run.checkpointing import Checkpointing
from fedlab.types import Partition

OVER_CLIENTS = ("mean", "p10", "worst", "std", "weighted")
UNSEEN = Quantity(num_clients=7, sigma=0.5, unseen_clients=2)
SMALL = dict(num_rounds=3, model=Mlp(hidden=(8,)), cohort=All(), evaluation=Evaluation(holdout=0.3), partition=UNSEEN)


@pytest.fixture
def summary_of(run_of):
    return lambda process=None, **options: run_of(process=process or FedAvg(), **{**SMALL, **options})


def scores_of(run):
    return read_scores(run.folder.unseen_clients)


def test_they_never_train_and_are_measured_in_every_evaluation(summary_of):
    run = summary_of()
    unseen = run.partition.unseen
    assert [r["num_clients"] for r in run.records] == [5, 5, 5] and run.summary["num_clients"] == 5
    assert len(unseen) == 2 and not set(unseen.client_ids) & set(run.partition.client_ids)
    names = [f"unseen_client_accuracy_{which}" for which in OVER_CLIENTS]
    assert all(name in record for record in run.records for name in names)
    assert {name: run.records[-1][name] for name in names} == {name: run.summary[name] for name in names}
    scores = scores_of(run)
    assert [s.client for s in scores] == list(unseen.client_ids)
    assert [s.examples for s in scores] == [len(i) for i in unseen.held_out]
    values, sizes = np.array([s.score for s in scores]), np.array([s.examples for s in scores])
    expected = (values.mean(), np.percentile(values, 10), values.min(), values.std(), np.dot(values, sizes) / sizes.sum())
    assert [run.summary[name] for name in names] == pytest.approx(expected, abs=1e-12)


def test_the_score_is_that_of_the_final_model_on_their_held_out_examples(summary_of):
    run = summary_of()
    train = run.experiment.data.load(0).train
    for score, own in zip(scores_of(run), run.partition.unseen.held_out):
        predicted = run.model.predict(train.x[own] / np.float32(255), verbose=0).argmax(1)
        assert score.score == pytest.approx((predicted == train.y[own]).mean(), abs=1e-9)


def test_training_is_that_without_these_clients(summary_of, monkeypatch):
    """Also what they hold: labels that are changed change nothing but their own metrics."""
    run = summary_of()
    whole = Quantity.set_aside

    def without(self, partition, seed):
        kept = whole(self, partition, seed)
        return Partition(kept.client_ids, kept.indices)

    monkeypatch.setattr(Quantity, "set_aside", without)
    alone = summary_of(eval_every=3)
    assert [r["weights_hash"] for r in alone.records] == [r["weights_hash"] for r in run.records]
    assert not any(name.startswith("unseen") for name in alone.summary) and not alone.folder.unseen_clients.exists()


@pytest.mark.parametrize("process", [Ditto(), Apfl(), PFedMe()], ids=lambda p: type(p).__name__)
def test_beside_personal_models_they_use_the_global_one(summary_of, process):
    run = summary_of(process)
    assert len(scores_of(run)) == 2
    if not isinstance(process, PFedMe):  # their global model is that of FedAvg to the bit
        plain = summary_of()
        assert scores_of(run) == scores_of(plain)


def test_fine_tuning_on_their_examples(summary_of):
    """With one step per epoch and a rate near zero it is the global model; with a large one it is another."""
    plain = summary_of()
    near, far = (summary_of(FineTune(fine_tuning_rate=rate, fine_tuning_epochs=5)) for rate in (1e-9, 1.0))
    assert [s.loss for s in scores_of(near)] == pytest.approx([s.loss for s in scores_of(plain)], abs=1e-6)
    assert all(abs(a.loss - b.loss) > 1e-3 for a, b in zip(scores_of(far), scores_of(plain)))


def test_ifca_gives_them_the_model_with_the_smallest_loss_on_their_training_examples(run_of, tensorflow):
    from fedlab.run.learner import build_learner

    seen = run_of(process=Ifca(num_clusters=3), **SMALL)
    learner = build_learner(seen.experiment, seen.experiment.data.load(0), seen.partition, {})
    try:
        list(learner.rounds(1))
        evaluator, models = learner.evaluator, learner.trainer.models_for_unseen(0)
        assert len(models) == 3
        train, unseen = learner.dataset.train, seen.partition.unseen
        for score, mine, own in zip(scores_of(seen), unseen.indices, unseen.held_out):
            losses = [evaluator._scorer.scores(w, train.select(mine)).summary()["loss"] for w in models]
            best = models[int(np.argmin(losses))]
            assert score.loss == pytest.approx(evaluator._scorer.scores(best, train.select(own)).summary()["loss"])
    finally:
        learner.close()


@pytest.mark.parametrize("process", [LocalOnly(), FedRep(head_epochs=1)], ids=lambda p: type(p).__name__)
def test_without_a_whole_model_for_them_there_are_no_metrics(summary_of, process, run_of, tensorflow):
    from fedlab.run.learner import build_learner

    run = summary_of(process)
    assert not any("unseen" in name for name in run.summary)
    learner = build_learner(run.experiment, run.experiment.data.load(0), run.partition, {})
    try:
        said = [line for line in learner.lines() if "never trained" in line]
    finally:
        learner.close()
    name = type(process).__name__
    why = f"process {name} has no whole model for them, so there are no unseen_client metrics"
    assert said == [f"2 further clients are never trained, and {why}"]


def test_a_filter_leaves_them_as_they_are(summary_of, npz, tmp_path):
    from fedlab.filter import Users

    plain = summary_of()
    path = tmp_path / "users.csv"
    path.write_text("".join(f"{name},True\n" for name in plain.partition.client_ids[:3]))
    run = summary_of(filter=Users(path=str(path), verify=False))
    assert len(run.partition) == 3 and run.partition.unseen.client_ids == plain.partition.unseen.client_ids


def test_a_corruption_reaches_them_too(summary_of):
    run = summary_of(corruption=Inversion(fraction=1))
    rows = run.folder.corruption.read_text().split()
    assert len(rows) == 1 + 7 and all(row.endswith(",1") for row in rows[1:])


def test_the_population_of_the_account_is_those_that_can_be_sampled(summary_of):
    private = dict(privacy=GaussianFixed(noise_multiplier=1.0, clip_norm=0.1), cohort=Uniform(clients_per_round=2))
    with_unseen = summary_of(**private)
    fewer, all_seven = (summary_of(partition=Quantity(num_clients=n, sigma=0.5), **private) for n in (5, 7))
    assert with_unseen.summary["epsilon"] == fewer.summary["epsilon"] > all_seven.summary["epsilon"]
    assert with_unseen.summary["delta"] == fewer.summary["delta"]


def test_a_cohort_larger_than_those_that_train_is_refused_before_the_data_is_read(summary_of):
    with pytest.raises(ConfigError, match=r"cohort\.clients_per_round is 6, but there are only 5 clients"):
        summary_of(cohort=Uniform(clients_per_round=6))


def test_a_resumed_run_measures_the_same(summary_of, killed):
    options = dict(process=FineTune(), checkpoint=Checkpointing(every=1, keep=9))
    run = summary_of(**options)
    again = summary_of(folder=killed(run, 2), goes_on=True, **options)
    assert again.records[-1]["unseen_client_accuracy_weighted"] == run.records[-1]["unseen_client_accuracy_weighted"]
    assert scores_of(again) == scores_of(run)


def test_a_last_round_that_is_no_longer_the_last_keeps_no_metrics_of_an_evaluation(summary_of, killed):
    """Neither of unseen clients nor of a global model beside personal ones."""
    options = dict(process=Ditto(), checkpoint=Checkpointing(every=1, keep=9), eval_every=2)
    run = summary_of(**options)
    folder = killed(run, 3)
    longer = summary_of(folder=folder, goes_on=True, **{**options, "num_rounds": 5})
    found = [[name for name in r if name.startswith(("test_", "global_test_", "unseen_"))] for r in longer.records]
    assert [bool(names) for names in found] == [False, True, False, True, True]


def test_arms_have_them_under_their_names(run_of):
    run = run_of(arms={"a": dict(process=FedAvg()), "b": dict(process=LocalOnly())}, **SMALL)
    assert "a/unseen_client_accuracy_mean" in run.summary and "b/unseen_client_accuracy_mean" not in run.summary
    assert (run.folder.arm("a").unseen_clients).is_file()
    assert json.loads(run.folder.summary.read_text())["a/unseen_client_accuracy_worst"] is not None


def test_a_filter_is_made_from_those_that_train_and_fits_the_run(tmp_path):
    from fedlab.corruption import NoCorruption
    from fedlab.data import Digits
    from fedlab.fingerprint import fingerprints
    from fedlab.partition import ByUser, Iid
    from fedlab.run.inputs import divided
    from fedlab.studies.investigate.population import load_population

    partitioner = Iid(num_clients=10, unseen_clients=3)
    population = load_population(Digits(), partitioner, NoCorruption(), 0)
    dataset, partition = divided(Digits().load(0), partitioner, NoCorruption(), NoFilter(), 0.0, 0)
    assert population.partition.client_ids == partition.client_ids and len(partition) == 7
    assert fingerprints(population.dataset, population.partition) == fingerprints(dataset, partition)

    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", x=np.zeros((40, 2)), y=rng.integers(0, 2, 40), user_ids=np.arange(40) % 8)
    by_user, source = ByUser(unseen_clients=2), Npz(path=str(tmp_path / "a.npz"))
    users = load_population(source, by_user, NoCorruption(), 0).partition.client_ids
    _, partition = divided(source.load(0), by_user, NoCorruption(), NoFilter(), 0.0, 0)
    assert users == partition.client_ids and len(users) == 6
