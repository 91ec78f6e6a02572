"""Who trains a federated GAN: fedlab's engines, and a loop by hand. Each contender is a generator that does one round per step.

The suite runs this file in processes of their own: `adversaries.py CONTENDER WORKLOAD DATA ROUNDS OUT.npz`.
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np
import ours  # this and `work` beside this file
import psutil
import work

from fedlab.algorithms import Gan, LocalTraining
from fedlab.engine import Compiled, EngineSpec, Tff
from fedlab.models import Gan as Networks

BATCH, PENALTY, STEPS = 32, 10.0, 6
RATE, GENERATOR_RATE, DECAY = 5e-4, 5e-3, 1.25e-5

# 10 clients of 192 examples, six steps on 32 each; the generator takes six, too
NETWORKS = {
    "G1": Networks(
        noise_dimension=64,
        generator_hidden=(256,),
        generator_filters=(64, 32, 16),
        discriminator_filters=(16, 32),
        discriminator_hidden=(128,),
        discriminator_normalization="none",
        leak=0.2,
    ),
    "G2": Networks(),
}


def task_of(workload: str, data: str, num_rounds: int) -> work.Task:
    """60,000 images over 312 clients, 10 of them a round."""
    size = 312
    return work.load(work.Workload(workload, NETWORKS[workload], size, 10, BATCH, RATE, num_rounds), data, num_rounds)


def _fedlab(task: work.Task, spec: EngineSpec) -> ours.Rounds:
    def model():
        from fedlab.models.adversarial import gan_model

        return gan_model(task.workload.model, task.dataset.train.x.shape[1:], work.SEED)

    algorithm = Gan(
        gradient_penalty=PENALTY,
        weight_decay=DECAY,
        generator_steps=STEPS,
        generator_batch_size=BATCH,
        generator_learning_rate=GENERATOR_RATE,
        client_weighting="uniform",
    )
    return ours.rounds(task, spec, algorithm, LocalTraining(batch_size=BATCH, max_local_steps=STEPS), RATE, model)


def fedlab_compiled(task: work.Task) -> ours.Rounds:
    """`engine=compiled`"""
    return _fedlab(task, Compiled())


def fedlab_tff(task: work.Task) -> ours.Rounds:
    """The same process on TFF's runtime."""
    return _fedlab(task, Tff())


def fedlab_tff_without_onednn(task: work.Task) -> ours.Rounds:
    """The same process on TFF's runtime with the kernels that TensorFlow chooses by itself on most processors."""
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    return _fedlab(task, Tff())


def plain_tensorflow(task: work.Task) -> ours.Rounds:
    """The same arithmetic with Keras models, variables and tapes: a `tf.function` per client, TensorFlow's own threads."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # by the same kernels
    import tensorflow as tf

    from fedlab.models.adversarial import gan_model

    networks, shape = task.workload.model, task.dataset.train.x.shape[1:]
    initial = gan_model(networks, shape, work.SEED).initial_weights
    tf.keras.utils.set_random_seed(work.SEED)
    discriminator, generator = networks.discriminator(shape), networks.generator(shape)
    for network, weights in zip((discriminator, generator), initial):
        for variable, value in zip(network.trainable_variables, weights):
            variable.assign(value)

    def decay(network):
        return DECAY * tf.add_n([tf.reduce_sum(tf.square(w)) for w in network.trainable_variables if len(w.shape) > 1])

    def step(network, rate, tape, loss):
        variables = network.trainable_variables
        for variable, gradient in zip(variables, tape.gradient(loss, variables)):
            variable.assign_sub(rate * gradient)

    @tf.function
    def train_client(x):
        for i in tf.range(STEPS):
            real = x[i * BATCH : (i + 1) * BATCH]
            fake = generator(tf.random.normal([BATCH, networks.noise_dimension]), training=True)
            with tf.GradientTape() as tape:
                between = real + tf.random.uniform([BATCH, 1, 1, 1]) * (fake - real)
                with tf.GradientTape() as inner:
                    inner.watch(between)
                    scores = discriminator(between, training=True)
                norms = tf.sqrt(tf.reduce_sum(tf.square(inner.gradient(scores, between)), [1, 2, 3]) + 1e-10)
                loss = tf.reduce_mean(discriminator(fake, training=True)) - tf.reduce_mean(discriminator(real, training=True))
                loss += PENALTY * tf.reduce_mean(tf.square(norms - 1.0)) + decay(discriminator)
            step(discriminator, RATE, tape, loss)

    @tf.function
    def train_generator():
        for _ in tf.range(STEPS):
            with tf.GradientTape() as tape:
                fake = generator(tf.random.normal([BATCH, networks.noise_dimension]), training=True)
                loss = decay(generator) - tf.reduce_mean(discriminator(fake, training=True))
            step(generator, GENERATOR_RATE, tape, loss)

    clients = {c: tf.constant(task.client(c)[0][: STEPS * BATCH] * 2 - 1) for c in task.visited_clients()}
    for cohort in task.cohorts():
        start = [tf.identity(w) for w in discriminator.trainable_variables]
        total = [tf.zeros_like(w) for w in start]
        for c in cohort:
            for variable, value in zip(discriminator.trainable_variables, start):
                variable.assign(value)
            train_client(clients[int(c)])
            total = [t + w / len(cohort) for t, w in zip(total, discriminator.trainable_variables)]
        for variable, value in zip(discriminator.trainable_variables, total):
            variable.assign(value)
        train_generator()
        yield [w.numpy() for network in (discriminator, generator) for w in network.trainable_variables]


CONTENDERS = {f.__name__: f for f in (fedlab_compiled, plain_tensorflow, fedlab_tff, fedlab_tff_without_onednn)}


def run(contender: str, workload: str, data: str, num_rounds: int, out: str) -> None:
    """Writes of every round the seconds and the CPU seconds, TFF's worker included, and how far the weights have moved."""
    task = task_of(workload, data, num_rounds)
    rounds = CONTENDERS[contender](task)
    seconds, cpu_seconds, first, last = [], [], [], []
    for _ in range(task.num_rounds):
        started, busy = time.perf_counter(), _cpu_seconds()
        last = next(rounds)
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(_cpu_seconds() - busy)
        first = first or last
    rounds.close()
    moved = np.sqrt(sum(float(np.square(a - b).sum()) for a, b in zip(last, first)))
    np.savez(out, seconds=seconds, cpu_seconds=cpu_seconds, moved=moved, num_weights=sum(w.size for w in last))


def _cpu_seconds() -> float:
    """Of this process and its children."""
    me = psutil.Process()
    return sum(t.user + t.system for t in (p.cpu_times() for p in (me, *me.children(recursive=True))))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    run(*sys.argv[1:4], num_rounds=int(sys.argv[4]), out=sys.argv[5])
