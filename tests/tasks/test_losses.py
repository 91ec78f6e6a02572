"""Label smoothing, weights of classes and a user's own loss: equal to Keras' in value and gradient, on every engine."""

from __future__ import annotations

import json
import pathlib
import re
import sys

import numpy as np
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from fedlab.archive import read_run
from fedlab.archive.differences import compared
from fedlab.archive.manifest import config_sha256, deciding
from fedlab.cli.main import main
from fedlab.config.composing import build_experiment, compose
from fedlab.errors import ConfigError
from fedlab.models import functional
from fedlab.tasks import Classification, Generation, MultiLabel, NextToken, Regression, TaskLoss

N, K = 24, 4
CLASSES, LABELS = Classification(num_classes=K, labels=("a", "b", "c", "d")), MultiLabel(num_labels=K)
RNG = np.random.default_rng(0)
Y = np.concatenate([np.arange(K), RNG.integers(0, 2, N - K)]).astype(np.int32)
SEVERAL = (RNG.random((N, K)) < 0.3).astype(np.uint8)
OUTPUTS = RNG.normal(size=(N, K)).astype(np.float32)
WEIGHTS = {"b": 3.0, "c": 0.0, "d": 0.5}  # a: 1


def trained_by(task, y, **options):
    """Returns the task with the loss that `loss.…=…` makes of it."""
    return task.model_copy(update={"minimised": TaskLoss(**options).of(task, y)})


def value_and_gradient(loss, outputs=OUTPUTS):
    with tf.GradientTape() as tape:
        given = tf.constant(outputs)
        tape.watch(given)
        found = loss(given)
    return float(found), tape.gradient(found, given).numpy()


def objective(task, y, **options):
    changed = trained_by(task, y, **options)
    return value_and_gradient(lambda outputs: changed.objective(outputs, task.targets(tf.constant(y))))


def assert_same(ours, theirs):
    assert ours[0] == pytest.approx(theirs[0], rel=1e-6)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("smoothing", [0.1, 0.9])
def test_label_smoothing_is_that_of_keras(smoothing):
    keras = tf.keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    theirs = value_and_gradient(lambda outputs: keras(tf.one_hot(Y, K), outputs))
    assert_same(objective(CLASSES, Y, label_smoothing=smoothing), theirs)
    keras = tf.keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing)
    theirs = value_and_gradient(lambda outputs: keras(SEVERAL.astype(np.float32), outputs))
    assert_same(objective(LABELS, SEVERAL, label_smoothing=smoothing), theirs)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_weights_of_classes_are_those_of_keras_fit(smoothing):
    """Keras divides by the number of examples, too: a step of fit moves the weights as the gradient of the objective does."""
    keras = tf.keras.Sequential([tf.keras.Input((K,)), tf.keras.layers.Dense(K)])
    x, start = RNG.normal(size=(N, K)).astype(np.float32), [w.numpy() for w in keras.weights]
    loss = tf.keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    keras.compile(tf.keras.optimizers.SGD(1.0), loss)
    weights = {0: 1.0, 1: 3.0, 2: 0.0, 3: 0.5}
    reported = keras.fit(x, tf.one_hot(Y, K), batch_size=N, epochs=1, class_weight=weights, verbose=0).history["loss"][0]
    ours = trained_by(CLASSES, Y, class_weights=WEIGHTS, label_smoothing=smoothing)
    with tf.GradientTape() as tape:
        kernel, bias = map(tf.Variable, start)
        found = ours.objective(x @ kernel + bias, tf.constant(Y))
    assert float(found) == pytest.approx(reported, rel=1e-5)
    for before, after, gradient in zip(start, keras.weights, tape.gradient(found, [kernel, bias])):
        np.testing.assert_allclose(before - after, gradient, rtol=1e-4, atol=1e-6)


def test_weights_of_labels_are_the_positive_weights_of_tensorflow():
    positive = [3.0, 0.0, 1.0, 0.5]
    ours = objective(LABELS, SEVERAL, class_weights={"0": 3, "1": 0, "3": 0.5})
    y = SEVERAL.astype(np.float32)
    theirs = value_and_gradient(
        lambda outputs: tf.reduce_mean(tf.nn.weighted_cross_entropy_with_logits(y, outputs, tf.constant(positive)))
    )
    assert_same(ours, theirs)


def test_balanced_weights_are_those_of_scikit_learn():
    found = TaskLoss(class_weights="balanced").of(CLASSES, Y).weights
    assert found == pytest.approx(compute_class_weight("balanced", classes=np.arange(K), y=Y))
    assert np.bincount(Y, np.array(found)[Y], K) == pytest.approx([N / K] * K), "all classes weigh the same"
    without = Y[Y != 2]
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=without)
    assert CLASSES.balanced_weights(without)[[0, 1, 3]] == pytest.approx(expected) and CLASSES.balanced_weights(without)[2] == 1
    of_labels = LABELS.balanced_weights(np.array([[1, 0, 1, 0], [0, 0, 1, 1], [0, 0, 1, 1]], np.uint8))
    assert of_labels == pytest.approx([2, 1, 1, 0.5])


@pytest.mark.parametrize("options", [{}, {"class_weights": dict.fromkeys("abcd", 1)}, {"class_weights": {"a": 1}}])
def test_what_changes_nothing_leaves_the_tasks_own_loss(options):
    assert TaskLoss(label_smoothing=0, **options).of(CLASSES, Y) is None


def test_the_loss_of_examples_alone_is_that_of_the_batch():
    """As DP-SGD needs it, and FedSGD, which weighs batches by their examples."""
    changed = trained_by(CLASSES, Y, class_weights="balanced", label_smoothing=0.1)
    each = [float(changed.objective(tf.constant(OUTPUTS[i : i + 1]), tf.constant(Y[i : i + 1]))) for i in range(N)]
    assert np.mean(each) == pytest.approx(float(changed.objective(tf.constant(OUTPUTS), tf.constant(Y))), rel=1e-6)


@pytest.mark.parametrize(
    ("task", "options", "told"),
    [
        (Regression(), {"label_smoothing": 0.1}, "loss.label_smoothing is for classification and multi-label .* is regression"),
        (NextToken(vocabulary=("a",), length=3), {"class_weights": "balanced"}, "loss.class_weights is for .* next-character"),
        (Generation(), {"label_smoothing": 0.1}, "the task is generation"),
        (CLASSES, {"class_weights": {"e": 2}}, "loss.class_weights: there is no label 'e'.*Labels: a, b, c, d"),
        (Classification(num_classes=2), {"class_weights": {"2": 2}}, "there is no label '2'.*Labels: 0, 1"),
    ],
)
def test_losses_of_other_tasks_and_unknown_labels_are_refused(task, options, told):
    with pytest.raises(ConfigError, match=told):
        TaskLoss(**options).check(task)
    TaskLoss().check(task)


def test_weights_that_are_all_zero_are_refused():
    with pytest.raises(ConfigError, match="all labels have the weight 0"):
        TaskLoss(class_weights=dict.fromkeys("abcd", 0)).of(CLASSES, Y)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["loss.label_smoothing=1"], "loss.label_smoothing=1"),
        (["loss.class_weights=even"], "must be balanced, or the weight of each label"),
        (["loss.class_weights={0: -1}"], "loss.class_weights"),
        (["loss.class_weights={}"], "loss.class_weights"),
        (["loss.class_weights={0: nan}"], "loss.class_weights"),
        (["loss.class_weights=balanced", "privacy=gaussian_fixed"], "number of examples of each class over all clients"),
        (["loss.class_weights=balanced", "client=dp_sgd"], "which ε does not cover: give weights that do not follow"),
        (["process=gan", "model=gan_small", "evaluation=gan", "loss.label_smoothing=0.1"], "the task is generation"),
    ],
)
def test_mistakes_are_one_line_before_data_is_read(words, told, capfd, monkeypatch, tmp_path, tensorflow):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert main(["train", "-q", "data=npz", "data.path=gone.npz", *words]) == 2
    error = capfd.readouterr().err
    assert told in error and error.count("\n") == 1, error


SMALL = ["-q", "model=perceptron", "partition=dirichlet", "partition.num_clients=3", "cohort=all", "num_rounds=2", "logger=[]"]
FEW = ["data.max_examples=200", "eval_every=2"]


@pytest.fixture
def fedlab(tensorflow, tmp_path, monkeypatch):
    """Trains with these overrides, into a folder of this name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def train(name, *overrides):
        assert main(["train", *SMALL, *FEW, *overrides, f"hydra.run.dir={name}"]) == 0
        return read_run(tmp_path / name)

    return train


def hashes(run):
    return [record["weights_hash"] for record in run.records()]


CHANGED = ["loss.label_smoothing=0.1", "loss.class_weights=balanced"]


def test_weights_of_one_and_no_smoothing_give_the_bits_of_today(fedlab):
    plain, same = fedlab("plain"), fedlab("same", "loss.class_weights={0: 1, 5: 1}", "loss.label_smoothing=0")
    assert hashes(plain) == hashes(same) and "minimised" not in same.manifest["data"]["task"]


@pytest.mark.slow
def test_a_run_minimises_it_on_every_engine_and_shows_it_as_the_training_loss(fedlab, capfd):
    run, plain = fedlab("changed", *CHANGED), fedlab("plain")
    assert hashes(run) != hashes(plain)
    told = run.manifest["data"]["task"]["minimised"]
    assert told["label_smoothing"] == 0.1 and len(told["class_weights"]) == 10
    for name, other in {"tff": ["engine=tff"], "masked": ["secure=masked"]}.items():
        for ours, theirs in zip(run.records(), fedlab(name, *CHANGED, *other).records()):
            assert theirs["train_loss"] == pytest.approx(ours["train_loss"], rel=2e-3)


def test_the_training_loss_is_the_one_that_is_minimised_and_the_test_loss_that_of_the_task(fedlab):
    """Of a model that hardly moves, and is left by the run: computed by NumPy."""
    words = [*CHANGED, "client_optimizer.learning_rate=1e-9", "num_rounds=1", "eval_every=1"]
    run = fedlab("still", *words)
    from fedlab.run import inputs

    dataset, partition = inputs.load(build_experiment(compose([*SMALL[1:], *FEW, *words])))
    keras = tf.keras.models.load_model(run.folder.model)

    def nats(examples):
        logits = keras(examples.x.astype(np.float32) / 255).numpy().astype(np.float64)
        return np.log(np.exp(logits).sum(1, keepdims=True)) - logits

    mine = dataset.train.select(np.concatenate(partition.indices))
    present = np.unique(mine.y)
    weights = dict(zip(present, compute_class_weight("balanced", classes=present, y=mine.y)))
    smooth = 0.9 * np.eye(10)[mine.y] + 0.01
    each = np.array([weights[label] for label in mine.y]) * (smooth * nats(mine)).sum(1)
    assert run.records()[0]["train_loss"] == pytest.approx(each.mean(), rel=1e-4)
    plain = nats(dataset.test)[np.arange(len(dataset.test)), dataset.test.y].mean()
    assert run.summary["test_loss"] == pytest.approx(plain, rel=1e-4) and abs(plain - each.mean()) > 0.01


def test_the_weights_are_those_of_the_clients_examples(fedlab):
    """Not of examples that clients hold out, nor of examples that a filter removed."""
    words = [*CHANGED, "evaluation.holdout=0.5", "num_rounds=1"]
    told = fedlab("held", *words).manifest["data"]["task"]["minimised"]["class_weights"]
    from fedlab.run import inputs

    dataset, partition = inputs.load(build_experiment(compose([*SMALL[1:], *FEW, *words])))
    y = dataset.train.y[np.concatenate(partition.indices)]
    assert len(y) < 150
    present = np.unique(y)
    expected = dict(zip(map(str, present), compute_class_weight("balanced", classes=present, y=y)))
    assert {label: told[label] for label in expected} == pytest.approx(expected)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "how",
    [
        ["process=scaffold"],
        ["process=q_fed_avg"],
        ["process=ditto"],
        ["process=local_only"],
        ["process=fed_sgd"],
        ["process=split", "model=mlp", "model.hidden=[8]"],
        ["client=dp_sgd"],
        ["privacy=gaussian_fixed"],
    ],
    ids=lambda words: words[0],
)
def test_algorithms_and_mechanisms_minimise_it(fedlab, how):
    words = ["num_rounds=1", "eval_every=1", "seed=3", *how]
    run = fedlab("run", "loss.label_smoothing=0.5", "loss.class_weights={1: 4}", *words)
    plain = fedlab("plain", *(word for word in words if not word.startswith("loss")))
    ours, theirs = run.records()[0], plain.records()[0]
    assert ours["weights_hash"] != theirs["weights_hash"] and np.isfinite(ours["train_loss"])
    assert abs(ours["train_loss"] - theirs["train_loss"]) > 1e-3


def test_runs_that_were_made_before_the_stage_existed(fedlab, tmp_path, capfd):
    """They compare as equal, have the same place among results, and go on."""
    config = fedlab("new", "checkpoint.every=1").config
    old = {key: value for key, value in config.items() if key != "loss"}
    assert compared(old, config) == [] and deciding(old, ()) == deciding(config, ())
    assert compared(old, {**config, "loss": {**config["loss"], "label_smoothing": 0.1}}) == [("loss.label_smoothing", 0.0, 0.1)]
    assert build_experiment(old) == build_experiment(config)


def test_numbers_as_labels_are_the_same_in_a_manifest():
    given = {"loss": {"class_weights": {10: 1, 2: 3}}}
    read = json.loads(json.dumps(given))
    assert config_sha256(given) == config_sha256(read) and compared(given, read) == []


PAGE = pathlib.Path(__file__).parents[2] / "docs" / "adding" / "loss.md"


@pytest.fixture
def own(fedlab, tmp_path, monkeypatch):
    """The files of the page, where it says, and the words of its command."""
    text = PAGE.read_text()
    for path, rest in re.findall(r"```\w+\n# (\S+)\n(.*?)```", text, re.DOTALL):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(rest)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield re.search(r"fedlab train (.*)", text)[1].split()
    sys.modules.pop("my_losses", None)


@pytest.mark.slow
def test_the_loss_of_the_page_trains_every_engine_and_claims_privacy(own, fedlab):
    run, plain = fedlab("own", *own), fedlab("plain", *own, "loss.gamma=0")
    assert hashes(run) != hashes(plain) and run.records()[0]["train_loss"] < plain.records()[0]["train_loss"]
    assert run.manifest["data"]["task"]["minimised"] == {"name": "Focal", "gamma": 1.0}
    tff = fedlab("tff", *own, "engine=tff").records()
    assert [r["train_loss"] for r in tff] == pytest.approx([r["train_loss"] for r in run.records()], rel=2e-3)
    assert 0 < fedlab("private", *own, "client=dp_sgd", "num_rounds=1").summary["epsilon"] < float("inf")
    assert hashes(plain)[0] == hashes(fedlab("none", "partition=dirichlet"))[0], "gamma 0 is the cross-entropy"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return outputs", r"loss: Own.losses returned float32 \[4, 3\] for 4 examples: return float32 \[n\]"),
        ("return None", r"loss: Own.losses returned None; it must return a Tensor"),
        ("return tf.cast(targets, tf.float32)", "loss: Own.losses has no gradient with respect to the model's outputs"),
        ("return tf.cast(tf.argmax(outputs, 1), tf.float32)", "has no gradient"),
        ("return outputs[:, 0] + missing", "loss: Own.losses failed: NameError: name 'missing' is not defined"),
    ],
)
def test_losses_that_do_not_fit_are_told_so(body, told):
    names = {}
    exec(
        "import tensorflow as tf\nfrom fedlab.tasks import Loss\n\n"
        f"class Own(Loss):\n    def losses(self, outputs, targets):\n        {body}\n",
        names,
    )
    task = Classification(num_classes=3).model_copy(update={"minimised": names["Own"]()})
    with pytest.raises(ConfigError, match=told) as found:
        functional.check_task(task)
    assert "\n" not in str(found.value)
