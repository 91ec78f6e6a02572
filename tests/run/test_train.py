"""Whole runs: the same seed gives the same bits, and what is left in the folder says what happened."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from fedlab.algorithms.optimizers import Sgd
from fedlab.archive import RunFolder, make_folder
from fedlab.cohort import All, Poisson
from fedlab.errors import FedlabError
from fedlab.evaluation import Evaluation
from fedlab.run import inputs

NUM_CLIENTS, NUM_ROUNDS = 5, 6


def without_seconds(record):
    return {name: value for name, value in record.items() if "seconds" not in name}


class TestSeeds:
    def test_the_same_seed_gives_the_same_bits(self, once, run_of, lab):
        again = run_of()
        assert lab.same_bits(once.model.get_weights(), again.model.get_weights())
        assert [without_seconds(r) for r in once.records] == [without_seconds(r) for r in again.records]
        assert without_seconds(once.summary) == without_seconds(again.summary)

    def test_seed_0_is_another_seed(self, once, run_of, lab):
        other = run_of(seed=0)
        assert all(not np.array_equal(a, b) for a, b in zip(once.model.get_weights(), other.model.get_weights()))
        assert once.partition.sizes.tolist() != other.partition.sizes.tolist()
        assert once.records[-1]["test_loss"] != other.records[-1]["test_loss"]


class TestWhatIsLeft:
    def test_the_saved_model_scores_what_the_summary_says(self, once):
        logits = once.model.predict(once.test.x.astype(np.float32) / 255, verbose=0)
        assert once.summary["test_accuracy"] == np.mean(logits.argmax(1) == once.test.y)
        p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        loss = -p[np.arange(len(logits)), once.test.y].mean()
        assert once.summary["test_loss"] == pytest.approx(loss, rel=1e-5)  # float32 on both sides, here without care for rounding

    def test_the_last_round_is_the_summary(self, once):
        for name in ("test_loss", "test_accuracy"):
            assert once.records[-1][name] == once.summary[name]

    def test_the_folder_holds_everything_and_nothing_half_written(self, once):
        names = {p.name for p in once.folder.path.iterdir()}
        files = {"metrics.jsonl", "summary.json", "model.keras", "checkpoints", "clients.csv", "partition.csv"}
        assert names == files
        assert [p.name for p in once.folder.checkpoints.iterdir()][-1].startswith("round_")
        assert json.loads(once.folder.summary.read_text()) == once.summary

    def test_there_is_a_record_per_round(self, once):
        assert [r["round"] for r in once.records] == list(range(1, NUM_ROUNDS + 1))
        assert all(r["seconds"] > 0 for r in once.records)
        assert once.summary["num_rounds"] == NUM_ROUNDS and once.summary["num_clients"] == NUM_CLIENTS
        assert once.summary["num_weights"] == (36 + 1) * 8 + (8 + 1) * 4

    def test_dropped_clients_are_counted_and_send_nothing(self, once):
        weights = 4 * once.summary["num_weights"]
        for record in once.records:
            cohort = once.experiment.cohort(NUM_CLIENTS, once.experiment.seed, record["round"])
            assert (record["num_clients"], record["num_dropped"]) == (len(cohort.clients), len(cohort.dropped))
            # Scalars besides the weights: the learning-rate factor; weight, loss, correct, examples, non-finite
            assert record["bytes_down"] == 4 * (weights + 4)
            assert record["bytes_up"] == len(cohort.clients) * (weights + 5 * 4)
            held = once.partition.sizes[cohort.clients].sum()
            assert record.get("train_num_examples", 0) == 2 * held
        assert sum(r["num_dropped"] for r in once.records) > 0
        for way in ("up", "down"):
            assert once.summary[f"bytes_{way}_total"] == sum(r[f"bytes_{way}"] for r in once.records)

    def test_training_learns_something(self, once):
        assert once.records[-1]["test_loss"] < once.records[0]["test_loss"]
        assert once.summary["test_accuracy"] > 0.5  # of four classes

    def test_client_accuracies_are_those_on_their_own_examples(self, once):
        train_set, _ = inputs.load(once.experiment)
        correct = once.model.predict(train_set.train.x.astype(np.float32) / 255, verbose=0).argmax(1) == train_set.train.y
        each = [correct[i].mean() for i in once.partition.indices]
        assert once.summary["client_accuracy_mean"] == pytest.approx(np.mean(each), abs=1e-12)
        assert once.summary["client_accuracy_worst"] == min(each)
        assert once.summary["client_accuracy_p10"] == pytest.approx(np.percentile(each, 10), abs=1e-12)


def test_an_empty_cohort_leaves_the_model_as_it_is(run_of, keep):
    """And is evaluated, logged and counted like any other round; here most are empty, the last among them."""
    run = run_of(keep, cohort=Poisson(sampling_rate=0.1), seed=1)
    empty = [r["round"] for r in run.records if r["num_clients"] == 0]
    assert 0 < len(empty) < NUM_ROUNDS
    for before, record in zip(run.records, run.records[1:]):
        same = before["test_loss"] == record["test_loss"]
        assert same == (record["round"] in empty)
    for record in run.records:
        assert ("train_loss" in record) == (record["round"] not in empty)
        assert record["num_clients"] or (record["bytes_up"], record["bytes_down"]) == (0, 0)
    assert len(keep.records) == NUM_ROUNDS and keep.closed == 1


@pytest.mark.slow
def test_evaluation_every_few_rounds_and_at_the_end(run_of, once):
    run = run_of(eval_every=4, evaluation=Evaluation(batch_size=7, per_client=False))
    assert [r["round"] for r in run.records if "test_loss" in r] == [4, NUM_ROUNDS]
    assert not [name for name in run.summary if name.startswith("client_")]
    # Neither how often nor in what batches is evaluated changes what is learnt
    assert run.records[-1]["test_accuracy"] == once.records[-1]["test_accuracy"]
    assert run.records[-1]["test_loss"] == pytest.approx(once.records[-1]["test_loss"], rel=1e-6)


def test_a_run_that_diverges_ends_with_an_error_that_names_the_round(run_of, keep, tmp_path):
    folder = RunFolder(make_folder(tmp_path / "run"))
    with pytest.raises(FedlabError, match=r"round \d+: test_loss is (nan|inf).*lower .*learning_rate") as caught:
        run_of(keep, folder, server_optimizer=Sgd(learning_rate=1e38), cohort=All())
    assert "\n" not in str(caught.value)
    lines = [json.loads(line, parse_constant=pytest.fail) for line in folder.metrics.read_text().splitlines()]
    assert f"round {len(lines)}:" in str(caught.value) and lines[-1]["test_loss"] is None
    assert keep.closed == 1
    assert not folder.summary.exists() and not folder.model.exists() and not list(folder.path.glob(".partial-*"))


@pytest.mark.slow
def test_a_users_model_is_saved_as_it_was_tested(run_of):
    """Its normalizations begin with equal weights, and Keras lists them in another order than it made them."""

    def my_model(input_shape, num_classes):
        layers, image = tf.keras.layers, tf.keras.Input(input_shape)
        hidden = layers.Dense(6)(layers.Flatten()(image))
        a, b = layers.LayerNormalization()(hidden), layers.LayerNormalization()(hidden)
        joined = layers.Concatenate()([layers.ReLU()(b), layers.Activation("tanh")(a)])
        return tf.keras.Model(image, layers.Dense(num_classes)(joined))

    run = run_of(model=my_model, num_rounds=2)
    logits = run.model.predict(run.test.x.astype(np.float32) / 255, verbose=0)
    assert run.summary["test_accuracy"] == np.mean(logits.argmax(1) == run.test.y)
    losses = tf.keras.losses.sparse_categorical_crossentropy(run.test.y, logits, from_logits=True)
    assert run.summary["test_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
