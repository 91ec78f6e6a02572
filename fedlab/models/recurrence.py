"""LSTM and GRU layers in less time than Keras' own loop takes on a processor, with the same results but for rounding.

Keras multiplies each time step's inputs with the kernel, and the backward pass adds a gradient of the size of all weights in each
step. Here inputs are multiplied before the loop, and gradients of weights are one matrix product after it, over all time steps.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest import mock

import tensorflow as tf

_MODULES = {"LSTM": "keras.src.layers.rnn.lstm", "GRU": "keras.src.layers.rnn.gru"}


@contextlib.contextmanager
def fast_recurrence(layers: Iterable[Any]) -> Iterator[None]:
    """Within the context, those of `layers` that are LSTM and GRU layers compute by `lstm` and `gru` where these cover them.

    Others (masks, ragged sequences, other activations, dropout), and all of them where TensorFlow sees a GPU, on which this has
    not been measured, are computed by Keras.
    """
    covered = [] if tf.config.list_logical_devices("GPU") else [layer for layer in layers if _is_covered(layer)]
    with contextlib.ExitStack() as stack:
        for layer in covered:
            stack.enter_context(mock.patch.object(layer, "_could_use_gpu_kernel", True))  # Keras asks for it, see `LSTM.call`
        for kind, fast in (("LSTM", lstm), ("GRU", gru)) if covered else ():
            module, name = importlib.import_module(_MODULES[kind]), kind.lower()
            chosen = _chosen(fast, getattr(module, f"standard_{name}"))
            stack.enter_context(mock.patch.object(module, f"{name}_with_backend_selection", chosen))
        yield


def _is_covered(layer: Any) -> bool:
    """Returns True for layers of Keras with its default activations, and without dropout."""
    kinds = tf.keras.layers.LSTM, tf.keras.layers.GRU
    if not any(isinstance(layer, kind) and type(layer).call is kind.call for kind in kinds):
        return False
    activations = tf.keras.activations
    usual = layer.activation is activations.tanh and layer.recurrent_activation is activations.sigmoid
    plain = layer.use_bias and not (layer.unroll or layer.dropout or layer.recurrent_dropout)
    return usual and plain and getattr(layer, "reset_after", True)


def _chosen(fast: Callable, standard: Callable) -> Callable:
    """Returns a function with Keras' options: `fast` where it covers them, `standard` otherwise."""

    def compute(**options: Any) -> tuple:
        if options["mask"] is not None or options["sequence_lengths"] is not None:
            return standard(**options)
        x = options["inputs"] if options["time_major"] else _swapped(options["inputs"])
        x = tf.reverse(x, [0]) if options["go_backwards"] else x
        states = [options[name] for name in ("init_h", "init_c") if name in options]
        outputs, *states = fast(x, *states, options["kernel"], options["recurrent_kernel"], options["bias"])
        outputs.set_shape([*x.shape[:2], outputs.shape[-1]])
        last = outputs[-1]
        if not options["return_sequences"]:
            outputs = last[tf.newaxis]
        outputs = outputs if options["time_major"] else _swapped(outputs)
        return (last, outputs, *states, tf.constant(0.0))  # the last: the device, which only Keras' own tests read

    return compute


def _swapped(x: tf.Tensor) -> tf.Tensor:
    """[batch, time, …] from [time, batch, …], and the other way round."""
    return tf.transpose(x, [1, 0, 2])


@tf.custom_gradient
def lstm(x: tf.Tensor, h: tf.Tensor, c: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor) -> tuple:
    """Long short-term memory (Hochreiter and Schmidhuber 1997) with a forget gate (Gers et al. 2000), as Keras computes it.

    `x` [time, batch, inputs]; `h`, `c` [batch, units]: the first output and state; `kernel` [inputs, 4 units], `recurrent`
    [units, 4 units], `bias` [4 units]: for the gates i and f, the candidate g, and the gate o. Returns the outputs [time, batch,
    units], and the last output and state.
    """
    projected = tf.tensordot(x, kernel, 1) + bias

    def step(t: tf.Tensor, h: tf.Tensor, c: tf.Tensor) -> tuple:
        i, f, g, o = tf.split(projected[t] + tf.matmul(h, recurrent), 4, axis=1)
        i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
        c = f * c + i * g
        h = o * tf.tanh(c)
        return (h, c), (h, c, tf.concat([i, f, g, o], axis=1))

    (last_h, last_c), (hs, cs, gates) = _loop(step, tf.shape(x)[0], (h, c), (h.shape, c.shape, [None, 4 * h.shape[-1]]))

    def gradient(d_hs: tf.Tensor, d_last_h: tf.Tensor, d_last_c: tf.Tensor) -> tuple:
        before_h, before_c = tf.concat([h[tf.newaxis], hs[:-1]], 0), tf.concat([c[tf.newaxis], cs[:-1]], 0)
        i, f, g, o = tf.split(gates, 4, axis=2)
        squashed = tf.tanh(cs)
        of_output = squashed * o * (1 - o)  # derivatives by the gates before their activation
        of_state = tf.concat([g * i * (1 - i), before_c * f * (1 - f), i * (1 - tf.square(g))], axis=2)
        c_by_h = o * (1 - tf.square(squashed))
        transposed = tf.transpose(recurrent)

        def back(t: tf.Tensor, d_h: tf.Tensor, d_c: tf.Tensor) -> tuple:
            d_h += d_hs[t]
            d_c += d_h * c_by_h[t]
            d_gates = tf.concat([tf.tile(d_c, [1, 3]) * of_state[t], d_h * of_output[t]], axis=1)
            return (tf.matmul(d_gates, transposed), d_c * f[t]), (d_gates,)

        (d_h, d_c), (d_gates,) = _loop(back, tf.shape(x)[0], (d_last_h, d_last_c), ([None, 4 * h.shape[-1]],), backwards=True)
        flat = _rows(d_gates)
        d_kernel, d_recurrent = (tf.matmul(_rows(a), flat, transpose_a=True) for a in (x, before_h))
        return tf.tensordot(d_gates, tf.transpose(kernel), 1), d_h, d_c, d_kernel, d_recurrent, tf.reduce_sum(flat, axis=0)

    return (hs, last_h, last_c), gradient


@tf.custom_gradient
def gru(x: tf.Tensor, h: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor) -> tuple:
    """Gated recurrent units (Cho et al. 2014) with the reset gate after the matrix product, as Keras computes them.

    `x` [time, batch, inputs]; `h` [batch, units]: the first state; `kernel` [inputs, 3 units], `recurrent` [units, 3 units],
    `bias` [2, 3 units] (of either): for the gates z and r, and the candidate. Returns the outputs [time, batch, units], and the
    last one.
    """
    projected = tf.tensordot(x, kernel, 1) + bias[0]

    def step(t: tf.Tensor, h: tf.Tensor) -> tuple:
        x_z, x_r, x_n = tf.split(projected[t], 3, axis=1)
        h_z, h_r, h_n = tf.split(tf.matmul(h, recurrent) + bias[1], 3, axis=1)
        z, r = tf.sigmoid(x_z + h_z), tf.sigmoid(x_r + h_r)
        n = tf.tanh(x_n + r * h_n)
        h = z * h + (1 - z) * n
        return (h,), (h, tf.concat([z, r, n, h_n], axis=1))

    (last,), (hs, parts) = _loop(step, tf.shape(x)[0], (h,), (h.shape, [None, 4 * h.shape[-1]]))

    def gradient(d_hs: tf.Tensor, d_last: tf.Tensor) -> tuple:
        before = tf.concat([h[tf.newaxis], hs[:-1]], 0)
        z, r, n, h_n = tf.split(parts, 4, axis=2)
        by_z = (before - n) * z * (1 - z)  # derivatives of the output by the gates before their activation
        by_n = (1 - z) * (1 - tf.square(n))
        by_r = h_n * r * (1 - r)  # of the candidate
        transposed = tf.transpose(recurrent)

        def back(t: tf.Tensor, d_h: tf.Tensor) -> tuple:
            d_h += d_hs[t]
            d_z, d_n = d_h * by_z[t], d_h * by_n[t]
            d_r = d_n * by_r[t]
            of_inputs, of_recurrent = tf.concat([d_z, d_r, d_n], axis=1), tf.concat([d_z, d_r, d_n * r[t]], axis=1)
            return (d_h * z[t] + tf.matmul(of_recurrent, transposed),), (of_inputs, of_recurrent)

        wide = [None, 3 * h.shape[-1]]
        (d_h,), (d_inputs, d_inner) = _loop(back, tf.shape(x)[0], (d_last,), (wide, wide), backwards=True)
        d_kernel = tf.matmul(_rows(x), _rows(d_inputs), transpose_a=True)
        d_recurrent = tf.matmul(_rows(before), _rows(d_inner), transpose_a=True)
        d_bias = tf.stack([tf.reduce_sum(_rows(d), axis=0) for d in (d_inputs, d_inner)])
        return tf.tensordot(d_inputs, tf.transpose(kernel), 1), d_h, d_kernel, d_recurrent, d_bias

    return (hs, last), gradient


def _loop(step: Callable, length: tf.Tensor, first: tuple, shapes: tuple, backwards: bool = False) -> tuple[tuple, tuple]:
    """Calls step(t, *state) → (state, written) for each time step; returns the last state and all that was written, [time, …]."""
    arrays = tuple(tf.TensorArray(first[0].dtype, length, element_shape=shape) for shape in shapes)

    def body(k: tf.Tensor, state: tuple, arrays: tuple) -> tuple:
        t = length - 1 - k if backwards else k
        state, written = step(t, *state)
        return k + 1, state, tuple(array.write(t, value) for array, value in zip(arrays, written))

    _, last, arrays = tf.while_loop(lambda k, *_: k < length, body, (tf.constant(0), first, arrays), parallel_iterations=1)
    return last, tuple(array.stack() for array in arrays)


def _rows(x: tf.Tensor) -> tf.Tensor:
    """[time, batch, n] → [time × batch, n]."""
    return tf.reshape(x, [-1, x.shape[-1]])
