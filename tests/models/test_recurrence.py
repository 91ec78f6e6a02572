"""LSTM and GRU layers as fedlab computes them, against Keras' own: the same outputs, states and gradients."""

from __future__ import annotations

import numpy as np
import pytest

TIME, BATCH, INPUTS = 7, 3, 5


@pytest.fixture
def layers(tensorflow):
    return tensorflow.keras.layers


KINDS = {
    "LSTM": lambda layers: layers.LSTM(4, return_sequences=True),
    "LSTM_last": lambda layers: layers.LSTM(4),
    "LSTM_backwards": lambda layers: layers.LSTM(4, return_sequences=True, go_backwards=True),
    "LSTM_time_major": lambda layers: layers.LSTM(4, return_sequences=True, time_major=True),
    "LSTM_with_states": lambda layers: layers.LSTM(4, return_sequences=True, return_state=True),
    "GRU": lambda layers: layers.GRU(4, return_sequences=True),
    "GRU_last": lambda layers: layers.GRU(4),
    "GRU_backwards": lambda layers: layers.GRU(4, go_backwards=True),
    "GRU_with_state": lambda layers: layers.GRU(4, return_state=True),
    "both_ways": lambda layers: layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
    "both_ways_GRU": lambda layers: layers.Bidirectional(layers.GRU(4)),
}


def of_another_class(layers):
    class Own(layers.LSTM):
        def call(self, x, **options):
            return 2 * super().call(x, **options)

    return Own


KERAS = {  # left to Keras
    "LSTM_dropout": lambda layers: layers.LSTM(4, dropout=0.5),
    "LSTM_of_another_class": lambda layers: of_another_class(layers)(4),
    "LSTM_relu": lambda layers: layers.LSTM(4, activation="relu"),
    "LSTM_no_bias": lambda layers: layers.LSTM(4, use_bias=False),
    "LSTM_recurrent_dropout": lambda layers: layers.LSTM(4, recurrent_dropout=0.5),
    "GRU_reset_before": lambda layers: layers.GRU(4, reset_after=False),
}


def computed(tf, layer, x, weights):
    """Outputs and gradients by x and by the weights, in a graph, of a loss that no part of the outputs leaves alone."""

    @tf.function
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = tf.nest.flatten(layer(x))
            loss = sum(tf.reduce_sum(tf.sin((1 + i) * o) * np.arange(1, 1 + o.shape[-1])) for i, o in enumerate(outputs))
        return outputs, tape.gradient(loss, [x, *weights])

    return run(x)


@pytest.mark.sampled(one_in=2)
@pytest.mark.parametrize("kind", [*KINDS, *KERAS])
def test_outputs_and_gradients_are_those_of_keras(tensorflow, layers, kind):
    from fedlab.models.lifting import parts
    from fedlab.models.recurrence import fast_recurrence

    rng = np.random.default_rng(0)
    x = tensorflow.constant(rng.normal(size=(BATCH, TIME, INPUTS)).astype(np.float32))
    tensorflow.keras.utils.set_random_seed(0)
    layer = {**KINDS, **KERAS}[kind](layers)
    layer(x)
    for weight in layer.weights:  # biases are 0 or 1 at first
        weight.assign(rng.normal(size=weight.shape) / 2)
    expected = computed(tensorflow, layer, x, layer.trainable_variables)
    with fast_recurrence(parts(layer)):
        found = computed(tensorflow, layer, x, layer.trainable_variables)
    for a, b in zip(tensorflow.nest.flatten(found), tensorflow.nest.flatten(expected)):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", [*KINDS, *KERAS])
def test_it_is_used_where_it_can_be(tensorflow, layers, kind, monkeypatch):
    """In the graph of a round, in which models are built and called: a graph that is no function."""
    from fedlab.models import lifting, recurrence

    calls = []
    for name in ("lstm", "gru"):
        own = getattr(recurrence, name)
        monkeypatch.setattr(recurrence, name, lambda *args, own=own: calls.append(1) or own(*args))

    def build():
        return tensorflow.keras.Sequential([layers.InputLayer((TIME, INPUTS)), {**KINDS, **KERAS}[kind](layers)])

    if "state" in kind:
        pytest.skip("no layer of a Sequential model")
    model, order = lifting.built(build)
    assert not calls
    values = [w.numpy() for w in lifting.listed(model)]
    with tensorflow.Graph().as_default():
        weights = [tensorflow.constant(value) for value in values]
        network = lifting.Network(build, model, order, aside="dropout" in kind)
        output = network(weights, tensorflow.zeros((BATCH, TIME, INPUTS)), True)
    assert output.shape == (BATCH, *model.output_shape[1:])
    assert bool(calls) == (kind in KINDS)


def test_masks_are_left_to_keras(tensorflow, layers):
    from fedlab.models.lifting import parts
    from fedlab.models.recurrence import fast_recurrence

    x = np.random.default_rng(0).normal(size=(BATCH, TIME, INPUTS)).astype(np.float32)
    x[1, 4:] = 0
    model = tensorflow.keras.Sequential([layers.Masking(0.0), layers.LSTM(4)])
    model.build((None, TIME, INPUTS))
    expected = tensorflow.function(model)(x)
    with fast_recurrence(parts(model)):
        found = tensorflow.function(model)(x)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_mixed_precision_computes_in_the_dtype_of_the_layer(tensorflow, layers, kind):
    from fedlab.models.recurrence import fast_recurrence

    x = tensorflow.constant(np.random.default_rng(0).normal(size=(BATCH, TIME, INPUTS)).astype(np.float32))
    tensorflow.keras.utils.set_random_seed(0)
    layer = getattr(layers, kind)(4, dtype="mixed_bfloat16")
    layer(x)

    @tensorflow.function
    def run(x):
        with tensorflow.GradientTape() as tape:
            output = layer(x)
            loss = tensorflow.reduce_sum(tensorflow.cast(output, tensorflow.float32) ** 2)
        return output, tape.gradient(loss, layer.trainable_variables)

    expected = run(x)
    with fast_recurrence([layer]):
        found = tensorflow.function(run.python_function)(x)
    for a, b in zip(tensorflow.nest.flatten(found), tensorflow.nest.flatten(expected)):
        assert a.dtype == b.dtype
        a, b = (np.asarray(tensorflow.cast(t, tensorflow.float32)) for t in (a, b))
        np.testing.assert_allclose(a, b, rtol=0, atol=2**-5 * max(1, np.abs(b).max()))  # bfloat16 rounds to 2**-8


def test_an_error_gives_keras_its_own_functions_back(tensorflow, layers):
    from keras.src.layers.rnn import gru, lstm

    from fedlab.models.recurrence import fast_recurrence

    before = lstm.lstm_with_backend_selection, gru.gru_with_backend_selection
    with pytest.raises(ZeroDivisionError), fast_recurrence([layers.GRU(3)]):
        assert lstm.lstm_with_backend_selection is not before[0]
        raise ZeroDivisionError
    assert (lstm.lstm_with_backend_selection, gru.gru_with_backend_selection) == before
