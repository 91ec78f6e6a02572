"""The evaluation model and the control: classifiers trained on none of the training examples of the attacked models."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from fedlab.models import Cnn, Mlp
from fedlab.models.functional import KerasBuilder, initial_keras_model
from fedlab.randomness import generator, key
from fedlab.types import ExampleSet

STEPS, BATCH_SIZE, LEARNING_RATE = 500, 32, 1e-3
LEAST_SIDE = 10  # smallest side in pixels that the convolutions of `Cnn` accept


def train_judge(examples: ExampleSet, seed: int) -> tf.keras.Model:
    """Trains on `examples`, the test set of a run: 500 steps of Adam on batches of 32, from independent initial weights."""
    shape = examples.x.shape[1:]
    spec = Cnn() if min(shape[:2]) >= LEAST_SIDE else Mlp()
    return _trained(lambda: spec(shape, examples.num_classes), examples, seed, "attack evaluation")


def train_control(model: tf.keras.Model, examples: ExampleSet, seed: int) -> tf.keras.Model:
    """Trains a network like `model`, from initial weights of its own, on `examples`, the test set.

    The network never sees a training example of the attacked models. `model` is unchanged.
    """

    def build() -> tf.keras.Model:
        copy = tf.keras.models.clone_model(model)
        if not copy.built:  # of a class of one's own
            copy.build((None, *examples.x.shape[1:]))
        return copy

    return _trained(build, examples, seed, "attack control")


def _trained(build: KerasBuilder, examples: ExampleSet, seed: int, purpose: str) -> tf.keras.Model:
    model = initial_keras_model(build, int(key(seed, f"{purpose} model")[0] % 2**32))
    optimizer = tf.keras.optimizers.legacy.Adam(LEARNING_RATE)
    x, y = tf.constant(model_input(examples.x)), tf.constant(examples.y)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.int64)])
    def step(batch):
        with tf.GradientTape() as tape:
            logits = model(tf.gather(x, batch), training=True)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.gather(y, batch), logits=logits)
            loss = tf.reduce_mean(loss)
        optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables))

    rng, size = generator(seed, f"{purpose} batches"), min(BATCH_SIZE, len(examples))
    order = np.concatenate([rng.permutation(len(examples)) for _ in range(-(-STEPS * size // len(examples)))])
    for begin in range(0, STEPS * size, size):
        step(tf.constant(order[begin : begin + size]))
    return model


def accuracy(model: tf.keras.Model, examples: ExampleSet, batch_size: int = 500) -> float:
    """Returns the share of `examples` whose class has the largest logit."""
    x = model_input(examples.x)
    found = [np.argmax(model(x[i : i + batch_size], training=False), 1) for i in range(0, len(x), batch_size)]
    return float(np.mean(np.concatenate(found) == examples.y))


def model_input(x: np.ndarray) -> np.ndarray:
    """Converts raw examples to the input of models, float32: images in [0, 1], other values unchanged."""
    return x.astype(np.float32) / 255 if x.dtype == np.uint8 else x
