"""Several labels per example: metrics are those of scikit-learn and Keras, and labels without both values are left out."""

from __future__ import annotations

import csv
import warnings

import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics

from fedlab.archive import read_run
from fedlab.archive.clients import read_scores
from fedlab.cli.main import main
from fedlab.evaluation.scores import ExampleScores
from fedlab.tasks import MultiLabel, named

N, L = 200, 5
TASK = MultiLabel(num_labels=L)
RNG = np.random.default_rng(0)
Y = (RNG.random((N, L)) < [0.5, 0.1, 0.8, 0.02, 0.3]).astype(np.uint8)
OUTPUTS = (RNG.normal(size=(N, L)) * 2 + Y - 0.5).astype(np.float32)


def of(outputs: np.ndarray, y: np.ndarray, task: MultiLabel = TASK) -> dict[str, float]:
    given, targets = tf.constant(outputs), task.targets(tf.constant(y))
    each = {"loss": task.losses(given, targets), **task.counts(given, targets)}
    return ExampleScores(task, {name: np.asarray(values) for name, values in each.items()}).summary()


def test_metrics_are_those_of_scikit_learn_and_the_loss_that_of_keras():
    found, predicted = of(OUTPUTS, Y), OUTPUTS > 0
    loss = tf.keras.losses.BinaryCrossentropy(from_logits=True)(Y.astype(np.float32), OUTPUTS)
    assert found == pytest.approx(
        {
            "loss": float(loss),
            "exact_match": metrics.accuracy_score(Y, predicted),
            "label_accuracy": 1 - metrics.hamming_loss(Y, predicted),
            "micro_f1": metrics.f1_score(Y, predicted, average="micro"),
            "macro_f1": metrics.f1_score(Y, predicted, average="macro"),
        },
        rel=1e-5,
    )


def test_a_label_that_nobody_has_or_predicts_does_not_count_in_macro_f1():
    """Scikit-learn gives such a label an F1 of 0."""
    y, outputs = Y.copy(), OUTPUTS.copy()
    y[:, 1], outputs[:, 1] = 0, -1
    others = [0, 2, 3, 4]
    expected = metrics.f1_score(y[:, others], outputs[:, others] > 0, average="macro")
    assert of(outputs, y)["macro_f1"] == pytest.approx(expected)


@pytest.mark.filterwarnings("error")
def test_without_any_label_there_is_no_f1():
    found = of(np.full((3, L), -1, np.float32), np.zeros((3, L), np.uint8))
    assert np.isnan(found["micro_f1"]) and np.isnan(found["macro_f1"])
    assert found["exact_match"] == found["label_accuracy"] == 1
    sums = {"loss": 1.0, "exact": 3.0, "right": 3.0, "hits": tf.zeros(L), "claims": tf.zeros(L), "num_examples": 3.0}
    assert np.isnan(TASK.metrics(sums)["micro_f1"]) and np.isnan(TASK.metrics(sums)["macro_f1"]), "in a graph too"


@pytest.mark.parametrize(("name", "score"), [("auc", "roc_auc_score"), ("average_precision", "average_precision_score")])
def test_means_over_labels_are_those_of_scikit_learn_and_count_what_they_leave_out(name, score):
    p = tf.sigmoid(OUTPUTS).numpy()
    mean, undefined = named.of_labels(name)
    assert mean.compute(p, Y) == pytest.approx(getattr(metrics, score)(Y, p, average="macro")) and undefined.compute(p, Y) == 0
    y = Y.copy()
    y[:, 1], y[:, 2] = 0, 1  # nobody has the one, everybody has the other
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = mean.compute(p, y)
    assert found == pytest.approx(np.mean([getattr(metrics, score)(y[:, i], p[:, i]) for i in (0, 3, 4)]))
    assert undefined.compute(p, y) == 2
    assert np.isnan(mean.compute(p[:1], y[:1])) and undefined.compute(p[:1], y[:1]) == L


@pytest.fixture
def here(tensorflow, tmp_path, monkeypatch):
    """An .npz file with three users, one of whom has no label in any example; the words of a run on it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    rng = np.random.default_rng(0)
    x, users = rng.normal(size=(120, 6)).astype(np.float32), np.array(["a", "b", "none"])[np.arange(120) % 3]
    y = (x[:, :3] > 0).astype(int)
    y[users == "none"] = 0
    x[users == "none"] = -3
    np.savez("own.npz", x=x, y=y, user_ids=users, x_test=x, y_test=y, label_names=["sea", "sun", "sand"])
    words = ["data=npz", "data.path=own.npz", "data.task=multi_label", "partition=by_user", "cohort=all", "model=perceptron"]
    return [*words, "client_optimizer.learning_rate=2", "client.local_epochs=3", "num_rounds=4", "logger=[]"]


def test_a_run_learns_reports_and_leaves_a_model(here, tensorflow, tmp_path, capfd):
    assert main(["train", *here, "evaluation.metrics=[auc]", "hydra.run.dir=run", "stop.when=test_micro_f1>=0.999"]) == 0
    run = read_run(tmp_path / "run")
    records, data = run.records(), np.load("own.npz")
    assert records[-1]["test_micro_f1"] > records[0]["test_micro_f1"] and records[-1]["test_micro_f1"] > 0.8
    assert run.manifest["data"]["task"]["names"] == ["sea", "sun", "sand"] and run.manifest["data"]["num_classes"] is None
    logits = tensorflow.keras.models.load_model(run.folder.model)(data["x_test"]).numpy()
    expected = metrics.f1_score(data["y_test"], logits > 0, average="micro")
    assert run.summary["test_micro_f1"] == pytest.approx(expected)
    assert run.summary["test_auc"] == pytest.approx(metrics.roc_auc_score(data["y_test"], logits, average="macro"))
    assert run.summary["test_undefined_labels"] == 0 and run.summary["client_undefined_labels_mean"] == 1
    table = {row["client"]: row for row in csv.DictReader((tmp_path / "run" / "clients.csv").read_text().splitlines())}
    assert table["none"]["micro_f1"] == table["none"]["auc"] == "" and table["none"]["undefined_labels"] == "3.0"
    assert run.summary["client_micro_f1_undefined"] == 1 == run.summary["client_auc_undefined"]
    assert run.summary["client_micro_f1_mean"] == pytest.approx(np.mean([float(table[name]["micro_f1"]) for name in ("a", "b")]))
    assert [s.score is None for s in read_scores(run.folder.clients)] == [False, False, True]
    page = run.folder.report.read_text().split("<body")[1].split("<script")[0]
    for told in (
        "test micro F1",
        "test AUC, mean over labels",
        "Micro F1 per client",
        "on whose examples the micro F1 is undefined",
    ):
        assert told in page, told
    assert "ccuracy per client" not in page and "nan" not in page
    said = capfd.readouterr().out
    assert "micro F1" in said and "nan" not in said


@pytest.mark.sampled
@pytest.mark.parametrize("how", [["engine=tff"], ["secure=masked"], ["process=split", "model=mlp", "model.hidden=[8]"]])
def test_engines_protections_and_split_learning_follow_the_task(here, tmp_path, how):
    small = ["num_rounds=2", "-q"]
    assert main(["train", *here, *small, *how, "hydra.run.dir=other"]) == 0
    assert main(["train", *here, *small, *[word for word in how if word.startswith("model")], "hydra.run.dir=plain"]) == 0
    other, plain = (read_run(tmp_path / name).records() for name in ("other", "plain"))
    for ours, theirs in zip(plain, other):
        if "process=split" in how:
            assert np.isfinite(theirs["train_loss"]) and 0 <= theirs["train_micro_f1"] <= 1
            continue
        for name in ("train_loss", "train_micro_f1", "train_macro_f1", "test_exact_match", "test_label_accuracy"):
            assert theirs[name] == pytest.approx(ours[name], rel=2e-3), name


def test_a_private_run_has_an_epsilon_and_a_model_per_client_has_its_metrics(here, tmp_path):
    assert main(["train", *here, "-q", "num_rounds=1", "client=dp_sgd", "hydra.run.dir=private"]) == 0
    summary = read_run(tmp_path / "private").summary
    assert 0 < summary["epsilon"] < float("inf") and np.isfinite(summary["test_label_accuracy"])
    assert main(["train", *here, "-q", "num_rounds=1", "process=local_only", "hydra.run.dir=own"]) == 0
    summary = read_run(tmp_path / "own").summary
    assert summary["test_micro_f1_worst"] <= summary["test_micro_f1"] <= summary["test_micro_f1_best"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["partition=dirichlet"], "partition: Dirichlet needs data with classes, and the task of data npz is multi-label"),
        (["corruption=label_flip"], "corruption: LabelFlip needs data with classes"),
        (["attack=model_inversion"], "attack: ModelInversion needs data with classes"),
        (["evaluation.metrics=[ece]"], "['ece'] are for data with classes, and the task is multi-label classification"),
        (["data.classes=[0,1]"], "classes keeps the examples of some classes, and task=multi_label has none"),
        (["model=logistic_unit"], "logistic_unit"),
    ],
)
def test_what_needs_classes_is_refused_in_one_line(here, capfd, words, told):
    assert main(["train", "-q", *here, *words]) == 2
    error = capfd.readouterr().err
    assert told in error and error.count("\n") == 1


def test_classes_have_no_average_precision(tensorflow, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert main(["train", "-q", "evaluation.metrics=[average_precision]"]) == 2
    assert "['average_precision'] are for data with several labels, and the task is classification" in capfd.readouterr().err


def test_a_test_set_in_which_no_label_differs_has_no_auc(here, capfd):
    data = dict(np.load("own.npz"))
    data["y_test"] = np.ones_like(data["y_test"])
    np.savez("own.npz", **data)
    assert main(["train", "-q", *here, "evaluation.metrics=[auc]"]) == 2
    assert (
        "evaluation.metrics: auc needs a label that some examples of the test set have and others have not"
        in capfd.readouterr().err
    )
