"""The model that a run saves is the one that it tested: whatever order Keras has its weights in, and whatever their values."""

from __future__ import annotations

import io
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf

from fedlab import trust
from fedlab.errors import ConfigError, FedlabError
from fedlab.models import Cnn, Mlp, Perceptron, functional
from fedlab.models.saved import load_keras

SHAPE, CLASSES = (8, 8, 1), 5
layers = tf.keras.layers


def functional_model(body):
    """A builder: `body` makes features [n, ...] of images."""

    def build():
        x = tf.keras.Input(SHAPE)
        return tf.keras.Model(x, layers.Dense(CLASSES)(body(x)))

    return build


def flat(x):
    return layers.Flatten()(x)


def layer_norm_pair(x):
    h = layers.Dense(6)(flat(x))
    a, b = layers.LayerNormalization()(h), layers.LayerNormalization()(h)
    return layers.Concatenate()([layers.ReLU()(b), layers.Activation("tanh")(a)])


def branches(x):
    a, b = layers.Dense(5, "relu"), layers.Dense(5, "tanh")
    of_b = b(flat(x))
    return layers.Concatenate()([a(flat(x)), of_b])


def residual(x):
    h = layers.Conv2D(3, 3, padding="same", activation="relu")(x)
    for _ in range(2):
        shortcut = layers.Conv2D(3, 1)(h)
        inner = layers.Conv2D(3, 3, padding="same")(layers.ReLU()(layers.GroupNormalization(groups=1)(h)))
        h = layers.Add()([inner, shortcut])
    return layers.GlobalAveragePooling2D()(h)


def zero_initialised(x):
    zeros = [layers.Dense(4, kernel_initializer="zeros", bias_initializer="ones") for _ in range(3)]
    outputs = [layer(flat(x)) for layer in reversed(zeros)]
    return layers.Concatenate()([outputs[1], layers.ReLU()(outputs[0]), outputs[2]])


def shared(x):
    twice = layers.Dense(64, "relu")
    return twice(layers.Dense(64)(twice(flat(x))))


def nested_sequential(x):
    inner = tf.keras.Sequential([layers.Input((64,)), layers.Dense(7, "relu"), layers.LayerNormalization()])
    return layers.Concatenate()([layers.Dense(7)(flat(x)), inner(flat(x))])


def nested_functional(x):
    y = tf.keras.Input((64,))
    second, first = layers.Dense(7), layers.Dense(7)
    inner = tf.keras.Model(y, layers.Subtract()([first(y), layers.ReLU()(second(y))]))
    return inner(flat(x))


def embedding(x):
    tokens = layers.Lambda(lambda t: tf.cast(t * 9, tf.int32))(flat(x))
    return layers.GlobalAveragePooling1D()(layers.Embedding(10, 4)(tokens))


def embedding_tied(x):
    table = layers.Dense(64, use_bias=False)
    return table(layers.Dropout(0.3)(table(flat(x))))


def lstm(x):
    return layers.Bidirectional(layers.LSTM(3))(layers.Reshape((8, 8))(x))


def gru(x):
    return layers.GRU(3)(layers.Reshape((8, 8))(x))


def attention(x):
    rows = layers.Reshape((8, 8))(x)
    return flat(layers.Add()([rows, layers.MultiHeadAttention(2, 3)(rows, rows)]))


def frozen(x):
    first = layers.Dense(6, "relu")
    h = first(flat(x))
    first.trainable = False
    return layers.Dense(6, "relu")(h)


def weights_set():
    model = Mlp(hidden=(6,))(SHAPE, CLASSES)
    model.set_weights([np.full_like(w, 0.03) for w in model.get_weights()])
    return model


KINDS = {
    **{repr(m): (lambda m=m: m(SHAPE, CLASSES)) for m in (Perceptron(), Mlp(hidden=(7, 6), dropout=0.2), Cnn(filters=(3,)))},
    **{
        body.__name__: functional_model(body)
        for body in (
            *(layer_norm_pair, branches, residual, zero_initialised, shared, nested_sequential, nested_functional),
            *(embedding, embedding_tied, lstm, gru, attention, frozen),
        )
    },
    "weights_set": weights_set,
}


def logits_both_ways(build, logits_of, path):
    """Logits by the process's function, and by the saved file, of weights as training may leave them: no two alike."""
    x = np.random.default_rng(0).random((9, *SHAPE), np.float32)
    keras = functional.initial_keras_model(build, 1)
    initial = functional.keras_weights(keras)
    rng = np.random.default_rng(1)
    weights = tuple(tuple(w + rng.normal(size=w.shape).astype(np.float32) for w in ws) for ws in initial)
    model = functional.functional_classifier(build, initial, SHAPE, CLASSES)
    functional.set_keras_weights(keras, weights)
    keras.save(path)
    loaded = tf.keras.models.load_model(path, compile=False, safe_mode=False)
    same_order = [a.shape for a in loaded.get_weights()] == [a.shape for a in keras.get_weights()]
    return logits_of(model, weights, x), loaded(x, training=False).numpy(), same_order


@pytest.mark.sampled
@pytest.mark.parametrize("kind", KINDS)
def test_the_saved_model_gives_the_logits_that_were_tested(logits_of, tmp_path, kind):
    tested, saved, same_order = logits_both_ways(KINDS[kind], logits_of, tmp_path / "model.keras")
    assert same_order
    np.testing.assert_allclose(tested, saved, rtol=1e-4, atol=1e-4)
    assert np.ptp(tested, axis=0).max() > 1e-3  # else any order would do


@pytest.mark.parametrize("kind", KINDS)
def test_a_reloaded_model_lists_its_weights_as_before(tmp_path, kind):
    """Attacks write what a server saw into the file's model, place by place."""
    keras = functional.initial_keras_model(KINDS[kind], 1)
    for i, variable in enumerate(keras.variables):
        variable.assign(np.full(variable.shape, i))
    keras.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=False)
    for a, b in zip(functional.keras_weights(keras), functional.keras_weights(loaded)):
        assert [w.flat[0] for w in a] == [w.flat[0] for w in b]


@pytest.mark.sampled
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_a_model_read_from_a_file_begins_with_its_weights(logits_of, tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    functional.initial_keras_model(functional_model(layer_norm_pair), 7).save(path)
    build = lambda: tf.keras.models.load_model(path, compile=False)  # noqa: E731
    keras, x = functional.initial_keras_model(build, 1), np.random.default_rng(0).random((9, *SHAPE), np.float32)
    weights = functional.keras_weights(keras)
    assert np.array_equal(weights[0][0], tf.keras.models.load_model(path, compile=False).get_weights()[0])
    tested, saved, _ = logits_both_ways(build, logits_of, tmp_path / "again.keras")
    np.testing.assert_allclose(tested, saved, rtol=1e-4, atol=1e-4)
    model = functional.functional_classifier(build, weights, SHAPE, CLASSES)
    np.testing.assert_allclose(logits_of(model, weights, x), keras(x).numpy(), rtol=1e-4, atol=1e-4)


def test_a_builder_may_return_the_same_model_each_time(logits_of, tmp_path):
    model = functional.initial_keras_model(functional_model(branches), 3)
    tested, saved, _ = logits_both_ways(lambda: model, logits_of, tmp_path / "model.keras")
    np.testing.assert_allclose(tested, saved, rtol=1e-4, atol=1e-4)


def test_weights_that_a_builder_sets_are_the_initial_ones():
    assert all(np.all(w == np.float32(0.03)) for w in functional.keras_weights(functional.initial_keras_model(weights_set, 1))[0])


class OwnModule(tf.Module):
    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(np.full((64, 4), 0.1, np.float32), name="own_kernel")

    def __call__(self, x):
        return tf.nn.relu(x @ self.kernel)


class WithModule(layers.Layer):
    """Keras trains the weights of a module in a layer, and does not save them."""

    def __init__(self, **options):
        super().__init__(**options)
        self.module = OwnModule()

    def call(self, x):
        return self.module(x)


class Forgets(layers.Layer):
    """Its configuration leaves out what it was made with."""

    def __init__(self, factor=1.0, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return super().get_config()


class OfALayer(layers.Layer):
    """Keras cannot describe what it was made with."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, x):
        return self.inner(x)


def in_two_models(x):
    both, y = layers.Dense(7, name="both"), tf.keras.Input((64,))
    inner = tf.keras.Model(y, layers.Dense(7)(both(y)))
    return layers.Subtract()([inner(flat(x)), both(flat(x))])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (lambda x: WithModule()(flat(x)), r"than the one that is trained: it does not save own_kernel:0.*add_weight"),
        (lambda x: layers.Dense(4)(Forgets(-3.0)(flat(x))), r"than the one that is trained: a layer of your own.*get_config"),
        (in_two_models, r"than the one that is trained: layer both stands in two models"),
        (lambda x: OfALayer(layers.Dense(4))(flat(x)), r"Keras cannot save the model: NotImplementedError: Layer OfALayer"),
    ],
)
def test_a_model_that_keras_saves_as_another_is_refused(body, told):
    build = functional_model(body)
    weights = functional.keras_weights(functional.initial_keras_model(build, 1))
    with pytest.raises(ConfigError, match=told) as caught:
        functional.functional_classifier(build, weights, SHAPE, CLASSES)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("remedy", ["", "Remove it: the attack trains another."])
def test_a_file_that_keras_cannot_read_gives_one_line_with_the_remedy(tmp_path, remedy):
    path = tmp_path / "other.keras"
    with pytest.raises(FedlabError, match=r"there is no model .*other\.keras: a run writes it when it has finished"):
        load_keras(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        h5py.File(file := io.BytesIO(), "w").close()
        archive.writestr("model.weights.h5", file.getvalue())
    with trust.session(), pytest.raises(FedlabError) as caught:
        load_keras(path, remedy)
    said = str(caught.value)
    assert said.startswith(f"{path} is no Keras model that can be read: ") and said.endswith(remedy) and "\n" not in said
