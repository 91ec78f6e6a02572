"""Who is measured. Each contender is a generator that does one round per step and yields the weights it ended with, as arrays.

The suite runs this file in processes of their own: `contenders.py run CONTENDER WORKLOAD DATA ROUNDS OUT.npz` measures one,
`contenders.py export WORKLOAD DATA ROUNDS EXERCISE.npz` writes the work down for the programs of other frameworks, and
`contenders.py score WORKLOAD DATA OUT.npz…` prints the test accuracies they all ended with, as a JSON list.
"""

from __future__ import annotations

import collections
import json
import os
import sys

import numpy as np
import ours  # this and the next two beside this file
import work
from rivals import exercise

from fedlab.algorithms import FedAvg, LocalTraining, Process, Scaffold
from fedlab.engine import Compiled, EngineSpec, Tff
from fedlab.models import Cnn, Mlp, Perceptron, Recurrent, ResNet

NAMES = {Perceptron: "perceptron", Mlp: "mlp", Cnn: "cnn", ResNet: "resnet18_gn", Recurrent: "char_lstm"}  # for the rivals


def stock_tff(task: work.Task) -> ours.Rounds:
    """TFF as its tutorials write it: a Keras model, a `tf.data.Dataset` per client, TFF's runtime as it comes."""
    import tensorflow as tf
    import tensorflow_federated as tff

    loss, metric = tf.keras.losses.SparseCategoricalCrossentropy, tf.keras.metrics.SparseCategoricalAccuracy
    datasets = {}
    for c in task.visited_clients():
        x, y = task.client(c)
        datasets[c] = tf.data.Dataset.from_tensor_slices(collections.OrderedDict(x=x, y=y)).batch(task.workload.batch_size)
    spec = next(iter(datasets.values())).element_spec

    def model():
        return tff.learning.models.from_keras_model(
            task.keras_model(), loss=loss(from_logits=True), input_spec=spec, metrics=[metric()]
        )

    process = tff.learning.algorithms.build_weighted_fed_avg(
        model,
        client_optimizer_fn=tff.learning.optimizers.build_sgdm(task.workload.learning_rate),
        server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
    )
    weights = tff.learning.models.ModelWeights(task.initial_weights(), [])
    state = process.set_model_weights(process.initialize(), weights)
    for cohort in task.cohorts():
        state = process.next(state, [datasets[int(c)] for c in cohort]).state
        yield [np.asarray(w) for w in process.get_model_weights(state).trainable]


def _fedlab(task: work.Task, spec: EngineSpec, algorithm: Process) -> ours.Rounds:
    def model():
        from fedlab.models import functional
        from fedlab.tasks import encoding

        train, initial = task.dataset.train, (tuple(task.initial_weights()), ())
        dtype = encoding.input_dtype(train.x.dtype)
        return functional.functional_model(task.keras_model, initial, train.x.shape[1:], train.task, dtype)

    client, rate = LocalTraining(batch_size=task.workload.batch_size), task.workload.learning_rate
    return ours.rounds(task, spec, algorithm, client, rate, model)


def fedlab_tff(task: work.Task) -> ours.Rounds:
    """`engine=tff`"""
    return _fedlab(task, Tff(), task.workload.algorithm)


def fedlab_compiled(task: work.Task) -> ours.Rounds:
    """`engine=compiled`, which is the default"""
    return _fedlab(task, Compiled(), task.workload.algorithm)


def fedlab_fed_avg(task: work.Task) -> ours.Rounds:
    """`engine=compiled`, without the state that clients keep in the workload's own algorithm"""
    return _fedlab(task, Compiled(), FedAvg())


def plain_tensorflow(task: work.Task) -> ours.Rounds:
    """The same arithmetic by hand, with no framework: a `tf.function` per client, TensorFlow's own thread settings."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # by the same kernels
    import tensorflow as tf

    batch, rate = task.workload.batch_size, task.workload.learning_rate

    def logits(weights, x):
        layers = list(zip(weights[::2], weights[1::2]))
        for kernel, bias in layers[:-1]:
            if len(kernel.shape) == 4:
                x = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "VALID") + bias), 2, 2, "VALID")
            else:
                x = tf.nn.relu(tf.matmul(tf.reshape(x, [-1, kernel.shape[0]]), kernel) + bias)
        kernel, bias = layers[-1]
        return tf.matmul(tf.reshape(x, [-1, kernel.shape[0]]), kernel) + bias

    @tf.function
    def add_client(weights, total, x, y, share):
        begin = tf.constant(0)
        while begin < tf.shape(y)[0]:
            xb, yb = x[begin : begin + batch], y[begin : begin + batch]
            with tf.GradientTape() as tape:
                tape.watch(weights)
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(yb, logits(weights, xb)))
            weights = [w - rate * g for w, g in zip(weights, tape.gradient(loss, weights))]
            begin += batch
        return [t + share * w for t, w in zip(total, weights)]

    weights = [tf.constant(w) for w in task.initial_weights()]
    clients = {c: tuple(map(tf.constant, task.client(c))) for c in task.visited_clients()}
    for cohort in task.cohorts():
        total = [tf.zeros_like(w) for w in weights]
        for c in cohort:
            total = add_client(weights, total, *clients[int(c)], tf.constant(1 / len(cohort)))
        weights = total
        yield [w.numpy() for w in weights]


CONTENDERS = {f.__name__: f for f in (stock_tff, fedlab_tff, fedlab_compiled, fedlab_fed_avg, plain_tensorflow)}


def run(contender: str, workload: str, data: str, num_rounds: int, out: str) -> None:
    """Writes the seconds of every round, the time of day at the end of the first, and the final weights."""
    rounds = CONTENDERS[contender](work.load(work.WORKLOADS[workload], data, num_rounds))
    exercise.run(out, rounds)


def export(workload: str, data: str, num_rounds: int, out: str) -> None:
    """Writes the task for programs that import nothing of fedlab."""
    task = work.load(work.WORKLOADS[workload], data, num_rounds)
    numbers, options = task.visited_clients(), task.workload
    x, y = zip(*map(task.client, numbers))
    exercise.Exercise(
        model=NAMES[type(options.model)],
        algorithm="scaffold" if isinstance(options.algorithm, Scaffold) else "fed_avg",
        num_clients=options.num_clients,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        x=np.stack(x),
        y=np.stack(y),
        cohorts=np.array([[numbers.index(int(c)) for c in cohort] for cohort in task.cohorts()]),
        weights=task.initial_weights(),
    ).save(out)


def score(workload: str, data: str, *outs: str) -> None:
    """Prints the test accuracy of each run's final weights; in text, of the targets that are no padding."""
    task = work.load(work.WORKLOADS[workload], data, 0)
    model = task.keras_model()
    test = task.dataset.test.select(np.arange(min(len(task.dataset.test), work.NUM_SCORED[task.workload.examples])))
    counted = test.y > 0 if task.workload.examples == "text" else np.ones_like(test.y, bool)
    accuracies = []
    for out in outs:
        with np.load(out) as saved:
            model.set_weights([saved[f"arr_{i}"] for i in range(len(model.weights))])
        logits = model.predict(work.scaled(test.x), batch_size=100, verbose=0)
        accuracies.append(float(np.mean((logits.argmax(-1) == test.y)[counted])))
    print(json.dumps(accuracies))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    verb, *arguments = sys.argv[1:]
    if verb == "run":
        run(*arguments[:3], num_rounds=int(arguments[3]), out=arguments[4])
    elif verb == "export":
        export(*arguments[:2], num_rounds=int(arguments[2]), out=arguments[3])
    else:
        score(*arguments)
