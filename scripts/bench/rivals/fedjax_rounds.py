"""Rounds in FedJAX: fedjax_rounds.py EXERCISE.npz OUT.npz. It has no SCAFFOLD."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from exercise import Exercise, run

if not hasattr(jax, "tree_map"):  # FedJAX 0.0.17 still calls it
    jax.tree_map = jax.tree_util.tree_map
import fedjax


def dense(weights: list, x: jnp.ndarray) -> jnp.ndarray:
    """Dense layers with ReLU between them."""
    x = x.reshape(x.shape[0], -1)
    for i in range(0, len(weights), 2):
        x = x @ weights[i] + weights[i + 1]
        x = jax.nn.relu(x) if i + 2 < len(weights) else x
    return x


def cnn(weights: list, x: jnp.ndarray) -> jnp.ndarray:
    """Two convolutions with max pooling, and dense layers."""
    for kernel, bias in (weights[:2], weights[2:4]):
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.lax.reduce_window(jax.nn.relu(x + bias), -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return dense(weights[4:], x)


def char_lstm(weights: list, x: jnp.ndarray) -> jnp.ndarray:
    """An embedding, two LSTM layers, a logit per token at each place."""
    h = weights[0][x].transpose(1, 0, 2)  # time first
    for kernel, recurrent, bias in (weights[1:4], weights[4:7]):
        units = recurrent.shape[0]

        def step(carry: tuple, gates: jnp.ndarray, recurrent: jnp.ndarray = recurrent) -> tuple:
            hidden, cell = carry
            i, f, g, o = jnp.split(gates + hidden @ recurrent, 4, axis=-1)
            cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
            hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
            return (hidden, cell), hidden

        zeros = jnp.zeros((x.shape[0], units))
        _, h = jax.lax.scan(step, (zeros, zeros), h @ kernel + bias)
    return h.transpose(1, 0, 2) @ weights[7] + weights[8]


NETWORKS = {"perceptron": dense, "mlp": dense, "cnn": cnn, "char_lstm": char_lstm}


def rounds(exercise: Exercise) -> Iterator[list[np.ndarray]]:
    """Federated averaging."""
    outputs = NETWORKS[exercise.model]

    def loss(weights: list, batch: dict, rng: jnp.ndarray) -> jnp.ndarray:
        del rng
        logs = jax.nn.log_softmax(outputs(weights, batch["x"]))
        nats = -jnp.take_along_axis(logs, batch["y"][..., None], -1)[..., 0]
        if nats.ndim == 1:
            return jnp.mean(nats)
        counted = batch["y"] > 0
        return jnp.sum(nats * counted) / jnp.maximum(1, jnp.sum(counted))

    fedjax.set_for_each_client_backend("jit")
    algorithm = fedjax.algorithms.fed_avg.federated_averaging(
        jax.grad(loss),
        fedjax.optimizers.sgd(exercise.learning_rate),
        fedjax.optimizers.sgd(1.0),
        fedjax.ShuffleRepeatBatchHParams(batch_size=exercise.batch_size, num_epochs=1, skip_shuffle=True),
    )
    clients = [fedjax.ClientDataset({"x": x, "y": y}) for x, y in zip(exercise.x, exercise.y)]
    state, key = algorithm.init([jnp.asarray(w) for w in exercise.weights]), jax.random.PRNGKey(0)
    for cohort in exercise.cohorts.tolist():
        key, drawn = jax.random.split(key)
        keys = jax.random.split(drawn, len(cohort))
        state, _ = algorithm.apply(state, [(client, clients[client], k) for client, k in zip(cohort, keys)])
        yield [np.asarray(w) for w in state.params]


if __name__ == "__main__":
    run(sys.argv[2], rounds(Exercise.load(sys.argv[1])))
