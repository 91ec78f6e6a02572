"""A user's own TFF learning process: those of `tff.learning.algorithms` on both engines, and what is refused."""

from __future__ import annotations

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedlab.aggregation import CoordinateMedian
from fedlab.algorithms import FedAvg, LocalTraining, TffProcess
from fedlab.algorithms.optimizers import Exponential, Sgd
from fedlab.engine import Compiled, SecureSumming, Tff
from fedlab.errors import ConfigError, FedlabError
from fedlab.models import Mlp
from fedlab.secure import Masked
from fedlab.types import Cohort

algorithms, optimizers = tff.learning.algorithms, tff.learning.optimizers
CLIENT = LocalTraining(batch_size=5, local_epochs=2)
SHAPE = (6, 6, 1)


def fed_avg(model, client_optimizer, server_optimizer, aggregator):
    return algorithms.build_weighted_fed_avg(model, client_optimizer, server_optimizer, model_aggregator=aggregator)


def fed_avg_of_equals(model, client_optimizer, server_optimizer, aggregator):
    uniform = tff.learning.ClientWeighting.UNIFORM
    return algorithms.build_weighted_fed_avg(
        model, client_optimizer, server_optimizer, client_weighting=uniform, model_aggregator=aggregator
    )


def scheduled(model, client_schedule, learning_rate):
    return algorithms.build_mime_lite_with_optimizer_schedule(
        model,
        lambda number: learning_rate * client_schedule(tf.cast(number, tf.float32) + 1.0),
        optimizers.build_sgdm(learning_rate, momentum=0.9),
    )


def k_means(num_clusters, input_shape, seed):
    return algorithms.build_fed_kmeans(num_clusters, input_shape, random_seed=(seed, 0))


def recon(keras, input_shape, client_optimizer):
    """Clients share all layers but the last, which each reconstructs in every round."""

    def model():
        layers = [tf.keras.layers.Flatten(input_shape=input_shape)]
        for i, layer in enumerate(keras.layers[1:]):
            layers.append(tf.keras.layers.Dense(layer.units, kernel_initializer=tf.keras.initializers.GlorotUniform(seed=i)))
        own = tf.keras.Sequential(layers)
        spec = collections.OrderedDict(x=tf.TensorSpec([None, *input_shape], tf.float32), y=tf.TensorSpec([None], tf.int32))
        return tff.learning.models.ReconstructionModel.from_keras_model_and_layers(
            keras_model=own, global_layers=own.layers[:-1], local_layers=own.layers[-1:], input_spec=spec
        )

    def loss():
        return tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    return algorithms.build_fed_recon(model, loss_fn=loss, client_optimizer_fn=client_optimizer)


def largest(input_shape, first):
    """The mean over clients of the largest value of `first` batches: TensorFlow reads a part of a data set."""
    element = tff.types.to_type((tff.TensorType(np.float32, (None, *input_shape)), tff.TensorType(np.int32, (None,))))

    @tff.tensorflow.computation
    def start():
        return tf.constant(0.0)

    @tff.tensorflow.computation(tff.SequenceType(element))
    def work(data):
        return data.take(first).reduce(tf.constant(0.0), lambda most, xy: tf.maximum(most, tf.reduce_max(xy[0])))

    @tff.federated_computation
    def initialize():
        return tff.federated_eval(start, tff.SERVER)

    @tff.federated_computation(
        tff.FederatedType(np.float32, tff.SERVER), tff.FederatedType(tff.SequenceType(element), tff.CLIENTS)
    )
    def next_fn(state, data):
        found = tff.federated_mean(tff.federated_map(work, data))
        metrics = tff.federated_zip(collections.OrderedDict(largest=found, num_clients=found))
        return tff.learning.templates.LearningProcessOutput(found, metrics)

    get, put = (tff.tensorflow.computation(f, *t) for f, t in ((lambda s: s, [np.float32]), (lambda s, w: w, [np.float32] * 2)))
    return tff.learning.templates.LearningProcess(initialize, next_fn, get, put)


def two_exchanges(input_shape):
    """Clients send their numbers of batches, the server their sum, of which clients send the root: not one aggregation."""
    process = largest(input_shape, 1)
    state, data = process.next.type_signature.parameter

    @tff.tensorflow.computation(data.member)
    def count(batches):
        return batches.reduce(tf.constant(0.0), lambda n, _: n + 1)

    @tff.tensorflow.computation(np.float32)
    def root(total):
        return tf.sqrt(total)

    @tff.federated_computation(state, data)
    def next_fn(state, data):
        total = tff.federated_broadcast(tff.federated_sum(tff.federated_map(count, data)))
        found = tff.federated_mean(tff.federated_map(root, total))
        return tff.learning.templates.LearningProcessOutput(found, tff.federated_zip(collections.OrderedDict(root=found)))

    return tff.learning.templates.LearningProcess(
        process.initialize, next_fn, process.get_model_weights, process.set_model_weights
    )


PROCESSES = {
    "fed_avg": TffProcess(build=fed_avg),
    "mime_lite": TffProcess(build=scheduled, options={"learning_rate": 0.1}),
    "k_means": TffProcess(build=k_means, options={"num_clusters": 3}, trains_model=False),
    "part_of_a_data_set": TffProcess(build=largest, options={"first": 2}, trains_model=False),
}


def rounds(lab, count, epochs=2):
    found = []
    for number in range(1, count + 1):
        clients = [c for c in range(len(lab.sizes)) if number != 2 or c != 1]
        found.append((Cohort(number, np.array(clients), np.zeros(0, np.int64)), lab.inputs(number, epochs, clients=clients)[-1]))
    return found


def trained(lab, process, given, **options):
    trainer = lab.training(process, **{"client": CLIENT, **options})
    outcomes = [trainer.next(*one) for one in given]
    return trainer, outcomes


def arrays(tensors):
    return [np.asarray(t) for t in tensors]


@pytest.mark.sampled(one_in=2)
@pytest.mark.parametrize("engine", [Compiled(), Tff()], ids=["compiled", "tff"])
@pytest.mark.parametrize("weighting", ["auto", "uniform"])
def test_fed_avg_of_tff_is_that_of_fedlab(lab, weighting, engine):
    """TFF weighs by the examples of all steps, fedlab by those that a client has: equal, unless some clients take fewer steps."""
    few = LocalTraining(batch_size=4, local_epochs=3, max_local_steps=5)
    client, process = (CLIENT, PROCESSES["fed_avg"]) if weighting == "auto" else (few, TffProcess(build=fed_avg_of_equals))
    given, options = (
        rounds(lab, 3, client.local_epochs),
        dict(client=client, server_optimizer=Sgd(learning_rate=0.7, momentum=0.5)),
    )
    theirs, outcomes = trained(lab, process, given, engine=engine, **options)
    ours, expected = trained(lab, FedAvg(client_weighting=weighting), given, **options)
    assert lab.distance(arrays(theirs.weights), arrays(ours.weights)) < 1e-5
    for found, wanted in zip(outcomes, expected):
        assert found.metrics["train_loss"] == pytest.approx(wanted.metrics["train_loss"], rel=1e-5)
        assert found.num_clients == wanted.num_clients
        assert wanted.bytes_down == found.bytes_down + 4 * found.num_clients, "fedlab also sends the factor of a schedule"


@pytest.mark.sampled(one_in=2)
@pytest.mark.parametrize("name", PROCESSES)
def test_engines_agree(lab, name):
    given, options = rounds(lab, 3), dict(schedule=Exponential(decay_rate=0.5))
    compiled, stock = (trained(lab, PROCESSES[name], given, engine=engine, **options) for engine in (None, Tff()))
    assert lab.distance(arrays(compiled[0].weights), arrays(stock[0].weights)) < 1e-5
    alone, _ = trained(lab, PROCESSES[name], given, engine=Compiled(parallel_clients=1), **options)
    assert lab.same_bits(compiled[0].weights, alone.weights)
    assert [o.metrics for o in compiled[1]] == [pytest.approx(o.metrics, rel=1e-5) for o in stock[1]]


@pytest.mark.sampled(one_in=2)
@pytest.mark.parametrize("name", PROCESSES)
def test_resumed_equals_uninterrupted(lab, name):
    given = rounds(lab, 4)
    whole, _ = trained(lab, PROCESSES[name], given)
    first, _ = trained(lab, PROCESSES[name], given[:2])
    second = lab.training(PROCESSES[name], client=CLIENT)
    second.restore(arrays(first.state))
    for one in given[2:]:
        second.next(*one)
    assert lab.same_bits(whole.state, second.state)


def test_k_means_is_mini_batch_k_means(lab):
    """Mini-batch k-means over the union of the cohort's examples, visited once per epoch."""
    examples, given = lab.examples(), rounds(lab, 3)
    trainer = lab.training(PROCESSES["k_means"], client=CLIENT, examples=examples)
    centroids, counts = arrays(trainer.weights)[0].reshape(3, -1).astype(np.float64), np.ones(3)
    for cohort, one in given:
        outcome = trainer.next(cohort, one)
        rows = np.concatenate([np.tile(rows, 2) for rows, _ in lab.clients(one)])
        points = examples.x[rows].reshape(len(rows), -1) / 255.0
        nearest = np.argmin(((points[:, None] - centroids) ** 2).sum(2), 1)
        sums, new = (np.stack([f(points[nearest == k]) for k in range(3)]) for f in (lambda p: p.sum(0), len))
        keeps, moves = counts / (counts + new), (new > 0) / (counts + new)
        centroids, counts = keeps[:, None] * centroids + moves[:, None] * sums, counts + new
        assert np.allclose(arrays(trainer.weights)[0].reshape(3, -1), centroids, atol=1e-5)
        assert outcome.metrics["num_examples"] == len(rows)


def test_a_metric_never_replaces_one_of_the_record(lab):
    _, (outcome, *_) = trained(lab, PROCESSES["part_of_a_data_set"], rounds(lab, 1))
    assert set(outcome.metrics) == {"largest", "process_num_clients"}


@pytest.mark.slow
def test_fed_recon_needs_the_runtime_of_tff(lab):
    process = TffProcess(build=recon, trains_model=False)
    options = dict(model=Mlp(hidden=(4,)), client=CLIENT)
    with pytest.raises(FedlabError, match="computes with variables, which clients in parallel would share: use engine=tff"):
        lab.training(process, **options)
    trainer = lab.training(process, engine=Tff(), **options)
    before = arrays(trainer.weights)
    losses = [trainer.next(*one).metrics["train_loss"] for one in rounds(lab, 3)]
    assert [w.shape for w in before] == [(36, 4), (4,)] and not lab.same_bits(before, trainer.weights)
    assert np.isfinite(losses).all()


def test_two_exchanges_per_round_need_the_runtime_of_tff(lab):
    process = TffProcess(build=two_exchanges, trains_model=False)
    with pytest.raises(FedlabError, match=r"more than a broadcast, the work of clients and one aggregation.*use engine=tff"):
        lab.training(process, client=CLIENT)
    trainer, (outcome, *_) = trained(lab, process, rounds(lab, 1), engine=Tff())
    batches = sum(2 * -(-n // 5) for n in lab.sizes)
    assert outcome.metrics["root"] == pytest.approx(np.sqrt(batches)) and outcome.bytes_up == 0
    assert any("traffic is not counted" in line for line in trainer.lines())


def dropping(input_shape, num_classes):
    layers = tf.keras.layers
    return tf.keras.Sequential([layers.Flatten(input_shape=input_shape), layers.Dropout(0.5), layers.Dense(num_classes)])


def test_dropout_follows_from_the_seed(lab):
    given = rounds(lab, 2)
    first, again, alone = (
        trained(lab, PROCESSES["fed_avg"], given, model=dropping, engine=Compiled(parallel_clients=p))[0] for p in (2, 2, 1)
    )
    assert lab.same_bits(first.weights, again.weights) and lab.same_bits(first.weights, alone.weights)
    key = trained(lab, PROCESSES["fed_avg"], [(c, _other_keys(g)) for c, g in given], model=dropping)[0]
    assert not lab.same_bits(first.weights, key.weights)


def _other_keys(given):
    return type(given)(**{**vars(given), "keys": given.keys + 1})


def test_masked_sums_are_the_plain_ones(lab):
    given = rounds(lab, 2)
    protocol = SecureSumming(Masked(observe="all"), len(lab.sizes), 3, 2, adds_noise=False)
    plain, masked = trained(lab, PROCESSES["fed_avg"], given)[0], trained(lab, PROCESSES["fed_avg"], given, summing=protocol)[0]
    assert lab.distance(arrays(masked.weights), arrays(plain.weights)) < 1e-6


def test_an_aggregator_is_used_if_the_builder_takes_it(lab):
    given, median = rounds(lab, 2), dict(aggregator=CoordinateMedian())
    uniform = TffProcess(build=fed_avg_of_equals)
    found, wanted = (trained(lab, process, given, **median)[0] for process in (uniform, FedAvg()))
    assert lab.distance(arrays(found.weights), arrays(wanted.weights)) < 1e-5


def normalized(input_shape, num_classes):
    layers = tf.keras.layers
    return tf.keras.Sequential([layers.Flatten(input_shape=input_shape), layers.BatchNormalization(), layers.Dense(num_classes)])


def regularized(input_shape, num_classes):
    layers = tf.keras.layers
    return tf.keras.Sequential([layers.Flatten(input_shape=input_shape), layers.Dense(num_classes, kernel_regularizer="l2")])


def nothing(model):
    return None


def iterative(model, client_optimizer, server_optimizer, aggregator):
    process = fed_avg(model, client_optimizer, server_optimizer, aggregator)
    return tff.templates.IterativeProcess(process.initialize, process.next)


def failing(model):
    raise KeyError("temperature")


def unseeded(input_shape):
    return algorithms.build_fed_kmeans(3, input_shape, random_seed=(np.random.default_rng().integers(2**30), 0))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (dict(build=nothing), r"nothing returned None; it must return a tff\.learning\.templates\.LearningProcess"),
        (dict(build=iterative), "iterative returned a IterativeProcess; it must return a tff.learning"),
        (dict(build=failing), "process.build: KeyError: 'temperature'"),
        (dict(build=unseeded, trains_model=False), "unseeded builds another process each time it is called: draw its"),
        (dict(build=k_means, options={"num_clusters": 3}), r"has weights of shapes \[\(3, 6, 6, 1\)\], and the model"),
        (
            dict(build=lambda seed: k_means(3, (6, 6), seed), trains_model=False),
            r"expects data sets of float32\[6,6\], and this data gives <float32\[\?,6,6,1\],int32\[\?\]>, or the same",
        ),
        (dict(build=fed_avg, model=normalized), "process=tff does not support models with batch normalization"),
        (dict(build=fed_avg, model=regularized), "a layer of this model adds a loss, such as a regularizer"),
    ],
)
def test_other_processes_are_refused(lab, options, told):
    model = {"model": options.pop("model")} if "model" in options else {}
    with pytest.raises(ConfigError, match=told) as caught:
        lab.training(TffProcess(**options), client=CLIENT, **model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {},
            r"k_means takes num_clusters: set \+process.options.num_clusters=VALUE, or take what fedlab gives by name: model",
        ),
        (
            {"num_cluster": 3},
            r"num_cluster: k_means takes no num_cluster, but num_clusters, input_shape, seed\. Did you mean 'num_clusters'",
        ),
        ({"num_clusters": 3, "seed": 1}, "process.options.seed: fedlab passes seed to the builder itself"),
    ],
)
def test_arguments_are_checked_before_data_is_read(options, told):
    with pytest.raises(ConfigError, match=told):
        _ = TffProcess(build=k_means, options=options).taken


def test_the_user_is_told_of_options_without_effect(lab):
    parts = lab.parts(lab.examples(), Mlp(hidden=(4,)), schedule=Exponential(decay_rate=0.5))
    told = "fed_avg takes no client_schedule, so the options of these have no effect"
    assert PROCESSES["fed_avg"].lines(parts) == [told]
    assert PROCESSES["fed_avg"].lines(lab.parts(lab.examples(), Mlp(hidden=(4,)))) == []
