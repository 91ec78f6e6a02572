"""Models that were written for Keras train as Keras trains them, and reload to the same outputs."""

from __future__ import annotations

import pathlib
import runpy

import numpy as np
import pytest
import tensorflow as tf

from fedlab.models import functional

DEFINED = runpy.run_path(str(pathlib.Path(__file__).with_name("written_elsewhere.py")))
EXACT, RANDOM, CLASSES = (DEFINED[name] for name in ("EXACT", "RANDOM", "CLASSES"))
keras = tf.keras


def lifted(build):
    """Returns the Keras model, the functional model, and inputs of five examples with their labels."""
    rng = np.random.default_rng(2)
    text = build.__name__.startswith("text_")
    shape = DEFINED["TOKENS" if text else "IMAGE"]
    x = rng.integers(0, DEFINED["VOCABULARY"], (5, *shape)) if text else rng.random((5, *shape))
    x = x.astype(np.int32 if text else np.float32)
    model = functional.initial_keras_model(build, 1)
    task = functional.Classification(num_classes=CLASSES)
    dtype = tf.int32 if text else tf.float32
    ours = functional.functional_model(build, functional.keras_weights(model), shape, task, dtype)
    return model, ours, x, rng.integers(0, CLASSES, 5)


def step_of_ours(ours, x, y, training):
    """Returns the loss, the gradients and the non-trainable weights after a step, computed in a graph as in a process."""
    with tf.Graph().as_default():
        trainable, others = tf.nest.map_structure(lambda w: tf.compat.v1.placeholder(w.dtype, w.shape), ours.initial_weights)
        examples = tf.compat.v1.placeholder(x.dtype, [None, *x.shape[1:]])
        if training:
            output, statistics, penalty = ours.forward((trainable, others), examples)
        else:
            output, statistics, penalty = ours.predict_on_batch((trainable, others), examples, training=False), None, None
        loss = ours.loss(output=output, label=tf.constant(y)) + (0.0 if penalty is None else penalty)
        after = others if statistics is None else ours.moved(others, statistics)
        wanted = [loss, [tf.convert_to_tensor(g) for g in tf.gradients(loss, trainable)], list(after)]
        fed = dict(zip([*trainable, *others, examples], [*ours.initial_weights[0], *ours.initial_weights[1], x]))
        with tf.compat.v1.Session() as session:
            return session.run(wanted, fed)


def step_of_keras(model, x, y, training):
    with tf.GradientTape() as tape:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, model(x, training=training))
        loss += sum(model.losses) if training else 0.0
    gradients = [tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, model.trainable_variables)]
    return loss.numpy(), gradients, [v.numpy() for v in model.non_trainable_variables]


def in_bfloat16(build):
    return build.__name__.endswith("in_bfloat16")


@pytest.mark.sampled
@pytest.mark.parametrize(("build", "training"), [*((b, True) for b in EXACT), *((b, False) for b in RANDOM)])
def test_a_step_is_that_of_keras(build, training):
    model, ours, x, y = lifted(build)
    loss, gradients, after = step_of_ours(ours, x, y, training)
    of_keras, gradients_of_keras, after_of_keras = step_of_keras(model, x, y, training)
    close = 2.0**-6 if in_bfloat16(build) else 1e-4  # bfloat16 has 8 digits, and graphs round in other places
    np.testing.assert_allclose(loss, of_keras, rtol=close)
    scale = max(float(np.abs(g).max()) for g in gradients_of_keras)
    for mine, other in zip(gradients, gradients_of_keras, strict=True):
        assert mine.dtype == np.float32
        np.testing.assert_allclose(mine, other, rtol=close, atol=close * scale)
    for mine, other in zip(after, after_of_keras, strict=True):
        np.testing.assert_allclose(mine, other, rtol=close, atol=close)


@pytest.mark.sampled
@pytest.mark.parametrize("build", [*EXACT, *RANDOM])
def test_a_saved_model_gives_the_same_outputs(build, tmp_path):
    """After a step has changed its weights; a class without a name that Keras knows is given to it."""
    model, ours, x, y = lifted(build)
    _, gradients, after = step_of_ours(ours, x, y, True)
    trained = tuple(w - 0.05 * g for w, g in zip(ours.initial_weights[0], gradients, strict=True))
    functional.set_keras_weights(model, (trained, tuple(after)))
    model.save(tmp_path / "model.keras")
    own = {name: kind for name, kind in DEFINED.items() if isinstance(kind, type) and issubclass(kind, keras.layers.Layer)}
    with keras.utils.custom_object_scope(own):
        try:
            again = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=False)
        except (TypeError, NotImplementedError):  # a class without get_config: Keras reads its weights into a new model
            again = build()
            again.load_weights(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(x, training=False), model(x, training=False))
