"""Every process with every aggregator gives the same weights on the compiled engine as on TFF's own runtime."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedlab.aggregation import Compressed, CoordinateMedian, Krum, Mean, Robust, TrimmedMean
from fedlab.algorithms import FedAvg, FedProx, FedSgd, LocalTraining
from fedlab.algorithms.optimizers import Adam, Exponential, Sgd
from fedlab.engine import Tff
from fedlab.engine.reference import _end_workers, _workers
from fedlab.models import Cnn, Mlp, Perceptron

PROCESSES = {"fed_avg": FedAvg(), "fed_prox": FedProx(proximal_strength=0.5), "fed_sgd": FedSgd()}
AGGREGATORS = {
    "mean": Mean(),
    "robust": Robust(),
    "coordinate_median": CoordinateMedian(),
    "trimmed_mean": TrimmedMean(trim_fraction=0.25),
    "krum": Krum(num_byzantine=0),
    "multi_krum": Krum(num_byzantine=0, num_selected=3),
}
ENGINES = {"tff": Tff()}  # held to the default engine
AGREEMENT = 1e-5  # what the design promises of all engines, |a − b| / |b| of each tensor
ALWAYS = {("fed_prox", "multi_krum")}
PAIRS = [
    pytest.param(p, a, marks=[] if (p, a) in ALWAYS else pytest.mark.slow, id=f"{p}-{a}") for p in PROCESSES for a in AGGREGATORS
]


def local_training(process):
    return LocalTraining(batch_size=5, local_epochs=1 if isinstance(process, FedSgd) else 2)


def both_engines(lab, engine=ENGINES["tff"], **options):
    return lab.trainer(**options), lab.trainer(**options, engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("process, aggregator", PAIRS)
def test_three_rounds_end_in_the_same_weights(lab, process, aggregator, engine):
    """And a fourth, with the smallest cohort there is: one client with one example."""
    process = PROCESSES[process]
    client = local_training(process)
    inputs = lab.inputs(3, client.local_epochs) + lab.inputs(4, client.local_epochs, clients=[1])[3:]
    options = dict(process=process, aggregator=AGGREGATORS[aggregator], client=client, model=Mlp(hidden=(6,)))
    compiled, stock = both_engines(lab, ENGINES[engine], **options)
    a, b = compiled.run(inputs), stock.run(inputs)
    for ours, theirs, before in zip(a.weights, b.weights, [compiled.initial_weights, *a.weights]):
        assert lab.distance(ours, theirs) < AGREEMENT
        assert lab.distance(ours, before) > 100 * AGREEMENT  # the rounds did something
    for name in ("state_names", "bytes_down", "bytes_up"):
        assert getattr(compiled.engine, name) == getattr(stock.engine, name)
    for ours, theirs in zip(a.metrics, b.metrics):
        assert [(k, v.dtype) for k, v in ours.items()] == [(k, v.dtype) for k, v in theirs.items()]
        assert ours["client_work/train/loss"] == pytest.approx(theirs["client_work/train/loss"], rel=AGREEMENT)
        assert ours["client_work/train/num_examples"] == theirs["client_work/train/num_examples"]


@pytest.mark.slow
@pytest.mark.parametrize("process", PROCESSES)
def test_compressed_updates_differ_by_no_more_than_the_rounding(lab, process):
    """The two engines round stochastically with different numbers, so each round starts from the same state.

    A client's tensor is rounded to one of the two neighbours on a grid of 255 steps over its range, so two roundings of it
    differ by at most one step; the mean of the clients by at most the weighted mean of their steps. Clipping only makes steps
    smaller. A client's range is measured as what the mean of that client alone moves the weights by.
    """
    process = PROCESSES[process]
    client = local_training(process)
    options = dict(process=process, client=client, model=Perceptron())
    inputs = lab.inputs(3, client.local_epochs)
    compiled, stock = both_engines(lab, aggregator=Compressed(threshold=10), **options)
    plain = lab.trainer(**options)
    state = compiled.engine.initialize(np.array([1, 1]))
    for r, round_input in enumerate(inputs):
        kernel, bias = compiled.weights(state)
        ours, theirs = compiled.run([round_input], state=state), stock.run([round_input], state=state)
        step = 0.0
        for k, size in enumerate(lab.sizes):
            alone = lab.inputs(r + 1, client.local_epochs, clients=[k])[r]
            plain_state = plain.engine.initialize(np.array([1, 1]))
            at = [i for i, name in enumerate(plain.engine.state_names) if name[0] == "global_model_weights"]
            plain_state[at[0]], plain_state[at[1]] = tf.constant(kernel), tf.constant(bias)
            (update,) = plain.run([alone], state=plain_state).weights
            step += size / sum(lab.sizes) * np.ptp(kernel - update[0]) / 255
        gap = np.abs(ours.weights[0][0] - theirs.weights[0][0])
        assert 0 < gap.max() < step * 1.001  # rounding to float32 of grid and step
        assert lab.distance(ours.weights[0][1:], theirs.weights[0][1:]) < AGREEMENT  # 4 elements: sent as they are
        state = ours.states[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        dict(model=Cnn(filters=(3,), hidden=(5,))),
        dict(client_optimizer=Adam(learning_rate=0.01), schedule=Exponential(decay_rate=0.5)),
        dict(client_optimizer=Sgd(learning_rate=0.1, momentum=0.9), server_optimizer=Sgd(learning_rate=0.5, momentum=0.9)),
        dict(client=LocalTraining(batch_size=4, local_epochs=2, max_local_steps=3)),
    ],
    ids=["cnn", "adam", "momentum", "max_local_steps"],
)
def test_other_options_end_in_the_same_weights(lab, options):
    client = options.setdefault("client", LocalTraining(batch_size=5, local_epochs=2))
    inputs = lab.inputs(3, client.local_epochs)
    compiled, stock = both_engines(lab, **options)
    for ours, theirs in zip(compiled.run(inputs).weights, stock.run(inputs).weights):
        assert lab.distance(ours, theirs) < AGREEMENT


@pytest.mark.parametrize(
    "model", [Mlp(hidden=(6,)), pytest.param(Cnn(filters=(3,), hidden=(5,)), marks=pytest.mark.slow)], ids=["mlp", "cnn"]
)
def test_fed_avg_is_that_of_tff_on_the_same_batches(lab, model):
    """`tff.learning.algorithms.build_weighted_fed_avg`, fed data sets that hold our batches in our order."""
    epochs, batch_size = 2, 5
    examples = lab.examples()
    inputs = lab.inputs(3, epochs)
    ours = lab.trainer(examples=examples, model=model, client=LocalTraining(batch_size=batch_size, local_epochs=epochs)).run(
        inputs
    )

    functional, _ = lab.functional(model, examples)
    theirs = tff.learning.algorithms.build_weighted_fed_avg(
        functional,
        client_optimizer_fn=tff.learning.optimizers.build_sgdm(0.1),
        server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
        model_aggregator=tff.aggregators.MeanFactory(),
    )

    def batches(indices, order):
        def epoch(permutation):
            x = examples.x[indices][permutation].astype(np.float32) / 255
            return tf.data.Dataset.from_tensor_slices((x, examples.y[indices][permutation])).batch(batch_size)

        data = epoch(order[0])
        for permutation in order[1:]:
            data = data.concatenate(epoch(permutation))
        return data

    context = tff.backends.native.create_sync_local_cpp_execution_context()
    others = {p.pid for p in _workers()}
    try:
        with tff.framework.get_context_stack().install(context):
            state = theirs.initialize()
            for round_input, weights in zip(inputs, ours.weights):
                state = theirs.next(state, [batches(*client) for client in lab.clients(round_input)]).state
                assert lab.distance(weights, list(theirs.get_model_weights(state).trainable)) < AGREEMENT
    finally:
        _end_workers(others)
