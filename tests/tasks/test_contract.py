"""Laws of every task that predicts: metrics are quotients of sums, so clients can add them; readers know how to show them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow as tf

from fedlab.archive.task import CLASSIFICATION, described
from fedlab.errors import DataError
from fedlab.evaluation.scores import ExampleScores
from fedlab.models import functional
from fedlab.tasks import Classification, Generation, Metric, MultiLabel, NextToken, Prediction, Regression
from fedlab.types import ExampleSet

N = 12


class BalancedAccuracy(Classification):
    """A metric whose sums are vectors: the mean over classes of the share of their examples that are predicted rightly."""

    measured: ClassVar[Mapping[str, Metric]] = {"balanced": Metric("balanced accuracy", percent=True, more_is_better=True)}
    headline: ClassVar[str | None] = "balanced"

    def counts(self, outputs: tf.Tensor, targets: tf.Tensor) -> Mapping[str, tf.Tensor]:
        of_class = tf.one_hot(targets, self.num_classes)
        right = tf.cast(tf.equal(tf.argmax(outputs, 1, tf.int32), targets), tf.float32)
        return {"right": right[:, None] * of_class, "all": of_class}

    def metrics(self, sums: Mapping[str, Any]) -> Mapping[str, Any]:
        share = sums["right"] / sums["all"]
        return {"loss": sums["loss"] / sums["num_examples"], "balanced": sum(share[c] for c in range(self.num_classes)) / 3}


TASKS = [  # a new task is one more row
    Classification(num_classes=3),
    BalancedAccuracy(num_classes=3),
    *[Regression(criterion=criterion, center=1.0, scale=2.0) for criterion in ("mse", "mae", "huber")],
    Regression(criterion="poisson"),
    NextToken(vocabulary=("a", "b"), length=5),
    MultiLabel(num_labels=4),
]


def some(task: Prediction) -> tuple[np.ndarray, np.ndarray]:
    """Outputs and stored targets of N examples, every class among them."""
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(N, *task.output_shape)).astype(np.float32)
    values = 2 if isinstance(task, MultiLabel) else 3
    return outputs, (np.arange(N * math.prod(task.target_shape)) % values).astype(task.target_dtype).reshape(
        N, *task.target_shape
    )


def each_of(task: Prediction) -> dict[str, np.ndarray]:
    """Returns the terms that each example adds to the sums."""
    outputs, y = some(task)
    targets = task.targets(tf.constant(y))
    each = {"loss": task.losses(tf.constant(outputs), targets), **task.counts(tf.constant(outputs), targets)}
    return {name: np.asarray(values) for name, values in each.items()}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{type(task).__name__}{getattr(task, 'criterion', '')}")
class TestEveryTask:
    def test_its_methods_fit_together(self, task):
        assert set(functional.check_task(task)) == {*each_of(task), "num_examples"}

    def test_sums_over_batches_give_the_metrics_over_all_examples(self, task):
        """As a client adds them up, in a graph, and as the evaluation does, from what each example adds."""
        zero, update, finalize = functional._metrics(task, functional.check_task(task))
        (outputs, y), state = some(task), zero()
        for batch in (slice(0, 5), slice(5, 7), slice(7, N)):
            given, targets = tf.constant(outputs[batch]), task.targets(tf.constant(y[batch]))
            result = tf.nest.map_structure(tf.convert_to_tensor, (task.loss(given, targets), given, len(y[batch])))
            state = update(state, targets, functional.tff.learning.models.BatchOutput(*result))
        found = {name: float(value) for name, value in finalize(state).items()}
        whole = ExampleScores(task, each_of(task)).summary()
        assert found.pop("num_examples") == N
        assert found == pytest.approx(whole, rel=1e-5)

    def test_some_examples_are_measured_alone(self, task):
        chosen = np.array([3, 4, 5, 8])
        alone = ExampleScores(task, {name: values[chosen] for name, values in each_of(task).items()}).summary()
        assert ExampleScores(task, each_of(task)).summary(chosen) == alone

    def test_readers_of_the_manifest_know_its_metrics(self, task):
        told = described(json.loads(json.dumps(task.described())))
        assert (told.name, told.headline, told.metrics) == (task.name, task.headline, task.measured)
        assert told.ranking == task.measured[task.headline]

    def test_examples_carry_it_along(self, task):
        _, y = some(task)
        examples = ExampleSet(np.zeros((N, 2), np.float32), y, task=task)
        assert examples.select(np.arange(3)).task is task


def test_manifests_without_a_task_are_of_classification():
    assert described(None) == CLASSIFICATION == described(Classification(num_classes=3).described())


NAMED = (
    *("test_accuracy", "train_loss", "client_accuracy_p10", "client_accuracy_weighted", "global_test_accuracy"),
    "global_client_accuracy_std",
)


def test_labels_of_metrics_say_on_what_and_over_whom():
    words = {name: CLASSIFICATION.label(name) for name in (*NAMED, "seconds")}
    assert words == {
        "test_accuracy": "test accuracy",
        "train_loss": "training loss",
        "client_accuracy_p10": "clients, accuracy, 10th percentile",
        "client_accuracy_weighted": "clients, accuracy, mean over examples",
        "global_test_accuracy": "global model, test accuracy",
        "global_client_accuracy_std": "global model, clients, accuracy, standard deviation",
        "seconds": None,
    }
    assert [CLASSIFICATION.metric(name).more_is_better for name in NAMED] == [True, False, True, True, True, False]


def test_generation_has_no_metric_to_rank_by():
    assert Generation().described() == {"name": "generation", "headline": None, "metrics": {}}


class Number(Prediction):
    name: ClassVar[str] = "number"
    target_dtype: ClassVar[str] = "float32"


def test_whatever_asks_for_classes_of_a_task_without_is_told_so():
    examples = ExampleSet(np.zeros((N, 2), np.float32), np.zeros(N, np.float32), task=Number())
    with pytest.raises(DataError, match=r"this needs data with classes, and the task of this data is number\."):
        _ = examples.num_classes


@pytest.mark.parametrize(
    ("task", "y", "told"),
    [
        (Classification(num_classes=3), np.array([0, 3], np.int32), r"labels outside \[0, 3\)"),
        (Number(), np.array([0, np.inf], np.float32), "targets with NaN or infinity"),
        (MultiLabel(num_labels=2), np.array([[0, 2]], np.uint8), "targets other than 0 and 1"),
    ],
)
def test_targets_that_are_none_are_refused(task, y, told):
    with pytest.raises(DataError, match=told):
        task.check_targets(y)


@pytest.mark.parametrize("criterion", ["mse", "mae", "huber", "poisson"])
def test_metrics_of_regression_are_those_of_scikit_learn(criterion):
    """Of predictions in the data's units. Keras' losses are of the scaled targets."""
    from sklearn import metrics

    center, scale = (0.0, 1.0) if criterion == "poisson" else (30.0, 4.0)
    task = Regression(criterion=criterion, center=center, scale=scale)
    rng = np.random.default_rng(3)
    outputs, y = rng.normal(size=(N, 1)).astype(np.float32), (center + 5 * rng.random(N)).astype(np.float32)
    targets, predicted = task.targets(tf.constant(y)), task.predictions(tf.constant(outputs)).numpy()[:, 0]
    each = {"loss": task.losses(tf.constant(outputs), targets), **task.counts(tf.constant(outputs), targets)}
    found = ExampleScores(task, {name: np.asarray(values) for name, values in each.items()}).summary()
    assert found["rmse"] == pytest.approx(metrics.mean_squared_error(y, predicted) ** 0.5, rel=1e-5)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(y, predicted), rel=1e-5)
    assert found["r2"] == pytest.approx(metrics.r2_score(y, predicted), rel=1e-4)
    keras = tf.keras.losses
    theirs = {"mse": keras.mse, "mae": keras.mae, "huber": keras.Huber()}.get(criterion)
    expected = theirs(targets, outputs[:, 0]) if theirs is not None else keras.poisson(y, np.exp(outputs[:, 0]))
    assert found["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_r2_of_large_numbers_with_a_small_spread(tmp_path):
    """The squares of the targets would have no digits left for the spread in float32."""
    from sklearn import metrics

    from fedlab.data import Npz

    rng = np.random.default_rng(0)
    y = 20_000.37 + rng.normal(size=200)
    np.savez(tmp_path / "a.npz", x=rng.normal(size=(200, 2)), y=y)
    test = Npz(path=str(tmp_path / "a.npz"), task="regression", scale_target=False).load(0).test
    outputs = tf.constant(test.y[:, None] + rng.normal(0, 0.5, (len(test), 1)).astype(np.float32))
    each = test.task.counts(outputs, test.task.targets(tf.constant(test.y)))
    found = ExampleScores(test.task, {"loss": np.zeros(len(test)), **{n: np.asarray(v) for n, v in each.items()}}).summary()
    assert found["r2"] == pytest.approx(metrics.r2_score(test.y, outputs.numpy()[:, 0]), abs=1e-4)


@pytest.mark.parametrize("targets", [[3.0, 3.0], [0.1], [-1.7234] * 5, [0.0]])
def test_equal_targets_have_no_r2(targets):
    """Rounding errors would make a number of 8 digits of it."""
    task, y = Regression(), tf.constant(targets)
    each = {"loss": tf.ones_like(y), **task.counts(tf.ones([len(targets), 1]), y)}
    assert np.isnan(ExampleScores(task, {name: np.asarray(values) for name, values in each.items()}).summary()["r2"])
    sums = {name: tf.reduce_sum(values) for name, values in each.items()}
    assert np.isnan(task.metrics({**sums, "num_examples": float(len(targets))})["r2"])


@pytest.mark.parametrize("criterion", ["mse", "poisson"])
def test_the_saved_model_predicts_in_the_units_of_the_data(criterion):
    task = Regression(criterion=criterion, **({} if criterion == "poisson" else {"center": 30.0, "scale": 4.0}))
    keras, x = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(1)]), tf.random.stateless_normal((5, 3), (1, 2))
    saved = task.exported(keras)
    assert np.allclose(saved(x), task.predictions(keras(x)), rtol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(saved.get_weights(), keras.get_weights()))
