"""Metrics of classification by name: compared with scikit-learn and with examples that are worked out by hand."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from sklearn import metrics

from fedlab.archive import read_run
from fedlab.cli.main import main
from fedlab.tasks import metrics as task_metrics
from fedlab.tasks import named

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 4, 300)
_LOGITS = RNG.normal(size=(300, 4)) + 1.5 * np.eye(4)[Y]
P = np.exp(_LOGITS) / np.exp(_LOGITS).sum(axis=1, keepdims=True)


def computed(name: str, predictions: np.ndarray, y: np.ndarray) -> float:
    return task_metrics.computed(named.of_classes(name), predictions, y)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("balanced_accuracy", lambda: metrics.balanced_accuracy_score(Y, P.argmax(1))),
        ("macro_f1", lambda: metrics.f1_score(Y, P.argmax(1), average="macro")),
        ("auc", lambda: metrics.roc_auc_score(Y, P, multi_class="ovr")),
        ("top_2_accuracy", lambda: metrics.top_k_accuracy_score(Y, P, k=2)),
        ("top_1_accuracy", lambda: metrics.accuracy_score(Y, P.argmax(1))),
    ],
)
def test_they_are_those_of_scikit_learn(name, theirs):
    assert computed(name, P, Y) == pytest.approx(theirs(), rel=1e-12)


def test_auc_of_two_classes_is_about_the_second():
    y, p = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    assert computed("auc", np.stack([1 - p, p], 1), y) == 0.75
    assert np.isnan(computed("auc", np.stack([1 - p, p], 1), np.zeros(4, int)))


def test_ece_by_hand():
    """Two bins: confidence 0.9 and right in half of the cases, confidence 0.6 and always right."""
    p, y = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 4), np.array([0, 0, 1, 1, 1, 1, 1, 1])
    assert computed("ece", p, y) == pytest.approx(0.5 * abs(0.5 - 0.9) + 0.5 * abs(1 - 0.6))
    certain = np.eye(2)[y]
    assert computed("ece", certain, y) == 0


def test_absent_classes_do_not_count_as_wrong():
    p, y = np.eye(3)[[0, 0, 1]], np.array([0, 0, 1])
    assert computed("balanced_accuracy", p, y) == computed("macro_f1", p, y) == 1


def test_equal_predictions_are_no_top_k():
    """A network that says nothing would otherwise have an accuracy of 100 %."""
    assert computed("top_2_accuracy", np.full((3, 4), 0.25), np.array([0, 1, 2])) == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["auc", "ece", "balanced_accuracy", "macro_f1", "top_2_accuracy"])
def test_predictions_that_are_not_finite_have_no_metric(name):
    """Top-k accuracy would be 100 %, and scikit-learn raises an error for AUC."""
    p = P.copy()
    p[3] = np.nan
    assert np.isnan(computed(name, p, Y))


@pytest.mark.parametrize("process", ["fed_avg", "local_only"])
def test_clients_have_them_on_their_own_examples_unless_undefined(tensorflow, tmp_path, monkeypatch, capfd, process):
    """Two clients; one of them has a single class."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    rng = np.random.default_rng(0)
    y, users = np.arange(60) % 2, np.array(["mixed"] * 60)
    users[y == 1] = np.where(np.arange(30) % 3, "mixed", "ones")
    x = (rng.normal(size=(60, 3)) + y[:, None]).astype(np.float32)
    np.savez("own.npz", x=x, y=y, user_ids=users, x_test=x, y_test=y)
    words = ["data=npz", "data.path=own.npz", "partition=by_user", "cohort=all", "model=perceptron", "num_rounds=2", "logger=[]"]
    assert main(["train", *words, f"process={process}", "evaluation.metrics=[auc,ece]", "hydra.run.dir=run"]) == 0
    run = read_run(tmp_path / "run")
    table = {row["client"]: row for row in csv.DictReader((tmp_path / "run" / "clients.csv").read_text().splitlines())}
    assert table["ones"]["auc"] == "" and float(table["ones"]["ece"]) > 0
    assert run.summary["client_auc_mean"] == float(table["mixed"]["auc"]) and run.summary["client_auc_undefined"] == 1
    assert run.summary["client_ece_mean"] == pytest.approx(np.mean([float(row["ece"]) for row in table.values()]))
    assert "client_ece_undefined" not in run.summary
    if process == "fed_avg":
        logits = tensorflow.keras.models.load_model(run.folder.model)(x[users == "mixed"]).numpy()
        expected = metrics.roc_auc_score(y[users == "mixed"], logits[:, 1] - logits[:, 0])
        assert run.summary["client_auc_mean"] == pytest.approx(expected)
    out = capfd.readouterr().out
    assert "clients on their own examples: mean" in out and "without 1 client on which it is undefined" in out
    page = run.folder.report.read_text()
    assert "over 1 client; undefined on 1 client." in page and "clients, AUC, number of clients without it" in page


@pytest.mark.parametrize("process", ["fed_avg", "local_only"])
def test_a_run_has_them_in_its_records_its_summary_and_its_page(tensorflow, tmp_path, monkeypatch, process):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    words = ["model=perceptron", "num_rounds=2", "partition.num_clients=2", "cohort=all", "data.max_examples=200", "logger=[]"]
    chosen = ["evaluation.metrics=[auc,ece,top_3_accuracy]", "objective.metric=test_auc", "stop.when=test_auc>=0.9999"]
    assert main(["train", "-q", *words, *chosen, f"process={process}", "hydra.run.dir=run"]) == 0
    run = read_run(tmp_path / "run")
    assert {"test_auc", "test_ece", "test_top_3_accuracy"} <= set(run.records()[-1]) & set(run.summary)
    assert 0.5 < run.summary["test_auc"] <= 1 and run.summary["test_top_3_accuracy"] >= run.summary["test_accuracy"]
    page = run.folder.report.read_text()
    assert "test AUC" in page and "test top-3 accuracy" in page and "test expected calibration error" in page
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["data"]["task"]["metrics"]["auc"]["more_is_better"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["evaluation.metrics=[auk]"], "there is no metric 'auk'. Did you mean 'auc'?"),
        (["evaluation.metrics=[top_10_accuracy]"], "top_10_accuracy is 100 % with 10 classes"),
        (["data=diabetes", "evaluation.metrics=[auc]"], "are for data with classes, and the task is regression"),
        (
            ["data.test_fraction=0.001", "evaluation.metrics=[auc]"],
            "auc needs every class in the test set, which has none of class",
        ),
    ],
)
def test_metrics_that_mean_nothing_are_refused_in_one_line(words, problem, tensorflow, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert main(["train", "-q", *words]) == 2
    error = capfd.readouterr().err
    assert problem in error and error.count("\n") == 1
