"""Next-character prediction: its metrics are those that NumPy computes by hand, and padding changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from fedlab.errors import DataError
from fedlab.evaluation.scores import ExampleScores
from fedlab.models import Recurrent
from fedlab.tasks import NextToken

TASK = NextToken(vocabulary=("b", "a", "é"), length=6)
UNKNOWN, BEGIN, END = 4, 5, 6
Y = np.array([[1, 2, 3, UNKNOWN, 1, END], [2, END, 0, 0, 0, 0], [UNKNOWN, END, 0, 0, 0, 0], [3, 3, 3, 2, 1, 1]], np.int32)


def outputs_for(y: np.ndarray) -> np.ndarray:
    """Logits that are right at about half of the places, also at marks and padding."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(*y.shape, TASK.num_outputs)).astype(np.float32)
    right = rng.random(y.shape) < 0.5
    logits[right, y[right]] += 5
    return logits


def metrics_of(task: NextToken, outputs: np.ndarray, y: np.ndarray) -> dict[str, float]:
    each = {"loss": task.losses(tf.constant(outputs), tf.constant(y)), **task.counts(tf.constant(outputs), tf.constant(y))}
    return ExampleScores(task, {name: np.asarray(values) for name, values in each.items()}).summary()


def by_hand(outputs: np.ndarray, y: np.ndarray, num_characters: int = 3) -> dict[str, float]:
    """The metrics, place by place."""
    nats, correct, characters = [], 0, 0
    for logits, target in zip(outputs.reshape(-1, outputs.shape[-1]).astype(np.float64), y.ravel()):
        if target == 0:
            continue
        nats.append(np.log(np.exp(logits).sum()) - logits[target])
        if target <= num_characters:
            characters += 1
            correct += logits.argmax() == target
    loss = np.mean(nats)
    return {
        "loss": loss,
        "accuracy": correct / characters,
        "perplexity": np.exp(loss),
        "bits_per_character": np.mean(np.array(nats) / np.log(2)),
    }


def test_tokens_are_numbered_as_by_tff():
    assert (TASK.unknown, TASK.begin, TASK.end, TASK.num_outputs) == (UNKNOWN, BEGIN, END, 7)
    assert TASK.text(np.array([BEGIN, 2, 1, UNKNOWN, 3, END, 0])) == "ab\ufffdé"


def test_metrics_are_those_by_hand():
    outputs = outputs_for(Y)
    found = metrics_of(TASK, outputs, Y)
    assert found == pytest.approx(by_hand(outputs, Y), rel=1e-5)
    assert 0.2 < found["accuracy"] < 0.8, "some are right, some are wrong"
    assert float(TASK.loss(tf.constant(outputs), tf.constant(Y))) == pytest.approx(found["loss"], rel=1e-5)


def test_only_characters_of_the_vocabulary_count_for_the_accuracy():
    """A network that is right at every mark, at every unknown character and at padding, and nowhere else."""
    outputs = np.zeros((*Y.shape, TASK.num_outputs), np.float32)
    for place, target in np.ndenumerate(Y):
        outputs[(*place, target if target in (0, UNKNOWN, END) else BEGIN)] = 9
    found = metrics_of(TASK, outputs, Y)
    assert found["accuracy"] == 0 and found["loss"] < 9


def test_padding_changes_nothing():
    """Neither the logits at padding, nor longer sequences, nor an example without any target."""
    outputs = outputs_for(Y)
    expected = metrics_of(TASK, outputs, Y)
    other = np.where((Y == 0)[..., None], -outputs, outputs)
    assert metrics_of(TASK, other, Y) == expected
    longer = NextToken(vocabulary=TASK.vocabulary, length=9)
    more = [(0, 1), (0, 3)]
    wide, y = np.pad(outputs, [*more, (0, 0)], constant_values=2.0), np.pad(Y, more)
    assert metrics_of(longer, wide, y) == pytest.approx(expected, rel=1e-6)
    losses = [float(task.loss(tf.constant(o), tf.constant(t))) for task, o, t in ((TASK, outputs, Y), (longer, wide, y))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_padding_changes_no_gradient(cell):
    """Of a recurrent network, which reads the padding after the last target."""
    keras = Recurrent(cell=cell, embedding=3, units=(5,))((6,), TASK.num_outputs)
    x = np.concatenate([np.full((4, 1), BEGIN, np.int32), Y[:, :-1]], axis=1)
    longer = NextToken(vocabulary=TASK.vocabulary, length=9)
    wide = Recurrent(cell=cell, embedding=3, units=(5,))((9,), TASK.num_outputs)
    wide.set_weights(keras.get_weights())

    def gradient(task, model, x, y):
        with tf.GradientTape() as tape:
            loss = task.loss(model(x, training=True), tf.constant(y))
        return [tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, model.trainable_variables)]

    plain, padded = gradient(TASK, keras, x, Y), gradient(longer, wide, np.pad(x, [(0, 1), (0, 3)]), np.pad(Y, [(0, 1), (0, 3)]))
    assert all(np.allclose(a, b, rtol=1e-4, atol=1e-7) for a, b in zip(plain, padded))
    assert all(np.abs(a).max() > 0 for a in plain)


def test_nothing_to_predict_is_no_accuracy_of_zero():
    found = metrics_of(TASK, outputs_for(Y[:1]), np.zeros((1, 6), np.int32))
    assert all(np.isnan(value) for value in found.values())


def test_a_network_that_diverges_has_an_infinite_perplexity():
    assert (
        TASK.metrics({"nats": np.float64(1e6), "tokens": np.float64(1), "correct": 0.0, "characters": 1.0})["perplexity"]
        == np.inf
    )


@pytest.mark.parametrize("token", [-1, 7])
def test_numbers_that_are_no_tokens_are_refused(token):
    bad = np.full((1, 6), token, np.int32)
    with pytest.raises(DataError, match=r"targets outside \[0, 7\), which are no tokens"):
        TASK.check_targets(bad)
    with pytest.raises(DataError, match=r"inputs outside \[0, 7\)"):
        TASK.check_inputs(bad)


def test_the_manifest_says_how_to_read_tokens():
    told = TASK.described()
    assert told["vocabulary"] == "baé" and told["length"] == 6 and told["headline"] == "accuracy"
