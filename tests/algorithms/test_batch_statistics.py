"""Batch normalization in a federation: statistics are averaged like weights, or stay on their clients; constraints hold."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from fedlab.aggregation import CoordinateMedian
from fedlab.algorithms import (
    Apfl,
    Ditto,
    DpSgd,
    FedAvg,
    FedBn,
    FedDyn,
    FedPer,
    FedProx,
    FedRep,
    FedSgd,
    Ifca,
    LocalTraining,
    PFedMe,
    Scaffold,
)
from fedlab.algorithms.optimizers import Adam, Sgd
from fedlab.engine import SecureSumming, Tff
from fedlab.errors import ConfigError
from fedlab.models import Mlp
from fedlab.privacy import GaussianFixed
from fedlab.secure import Masked
from fedlab.types import Cohort

layers = tf.keras.layers
RATE, BATCH = 0.1, 5
CLIENT = LocalTraining(batch_size=BATCH, local_epochs=2)


def normalized(input_shape, num_classes):
    """A small network with all that a training step may have beyond its output."""
    return tf.keras.Sequential(
        [
            layers.InputLayer(input_shape),
            layers.Flatten(),
            layers.Dense(6, use_bias=False, kernel_regularizer="l2", kernel_constraint=tf.keras.constraints.MaxNorm(0.8)),
            layers.BatchNormalization(momentum=0.8),
            layers.ReLU(),
            layers.Dense(num_classes),
        ]
    )


def unconstrained(input_shape, num_classes):
    """The same without a constraint."""
    plain = [layers.InputLayer(input_shape), layers.Flatten(), layers.Dense(6, use_bias=False, kernel_regularizer="l2")]
    return tf.keras.Sequential([*plain, layers.BatchNormalization(momentum=0.8), layers.ReLU(), layers.Dense(num_classes)])


def rounds(lab, count, epochs=2, left_out=()):
    found = []
    for number in range(1, count + 1):
        clients = [c for c in range(len(lab.sizes)) if number == 1 or c not in left_out]
        given = lab.inputs(number, epochs, clients=clients)[-1]
        found.append((Cohort(number, np.array(clients), np.zeros(0, np.int64)), given))
    return found


def trained(lab, process, given, **options):
    trainer = lab.training(process, **{"model": normalized, "client": CLIENT, **options})
    for cohort, round_input in given:
        trainer.next(cohort, round_input)
    return trainer


def arrays(tensors):
    return [np.asarray(t) for t in tensors]


class ByKeras:
    """A client's training by Keras alone: its own model, gradients, moving averages, losses and constraints."""

    def __init__(self, lab, examples, model=normalized):
        self.examples = examples
        self.keras = lab.parts(examples, model).keras
        self.start = arrays(self.keras.trainable_variables), arrays(self.keras.non_trainable_variables)

    def weights(self):
        return arrays([*self.keras.trainable_variables, *self.keras.non_trainable_variables])

    def train(self, weights, rows, order):
        """The weights after visiting the examples at `rows` in `order` [epochs, n], from `weights`, trainable first."""
        variables = [*self.keras.trainable_variables, *self.keras.non_trainable_variables]
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)
        entropy = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        for epoch in order:
            for i in range(0, len(rows), BATCH):
                batch = rows[epoch[i : i + BATCH]]
                with tf.GradientTape() as tape:
                    output = self.keras(self.examples.x[batch].astype(np.float32) / 255, training=True)
                    loss = entropy(self.examples.y[batch], output) + sum(self.keras.losses)
                gradients = tape.gradient(loss, self.keras.trainable_variables)
                for variable, gradient in zip(self.keras.trainable_variables, gradients):
                    variable.assign_sub(RATE * gradient)
                    if variable.constraint is not None:
                        variable.assign(variable.constraint(variable))
        return self.weights()


@pytest.mark.parametrize("process", [FedAvg(), FedBn()], ids=["average", "local"])
def test_two_rounds_are_those_of_keras(lab, process):
    """Also for a client that misses a round, and with a server optimizer that is no plain average."""
    examples, given = lab.examples(), rounds(lab, 2, left_out=(1,))
    hand, server_rate = ByKeras(lab, examples), 0.7
    names = ["kernel", "gamma", "beta", "kernel", "bias", "moving_mean", "moving_variance"]
    own = [process.personal and n in ("gamma", "beta", "moving_mean", "moving_variance") for n in names]
    common = [*hand.start[0], *hand.start[1]]
    models = {c: common for c in range(len(lab.sizes))}
    for cohort, round_input in given:
        results, sizes = [], []
        for c, (rows, order) in zip(cohort.clients, lab.clients(round_input)):
            begin = [mine if is_own else shared for mine, shared, is_own in zip(models[c], common, own)]
            models[c] = hand.train(begin, rows, order)
            results.append(models[c])
            sizes.append(len(rows))
        means = [np.average([r[i] for r in results], axis=0, weights=sizes) for i in range(len(common))]
        statistics = 5  # the server optimizer steps along the trainable weights only
        stepped = [w - server_rate * (w - m) if i < statistics else m for i, (w, m) in enumerate(zip(common, means))]
        stepped[0] = np.asarray(hand.keras.trainable_variables[0].constraint(tf.constant(stepped[0], tf.float32)))
        common = [w if is_own else s for w, s, is_own in zip(common, stepped, own)]
    trainer = trained(
        lab, process, given, examples=examples, client_optimizer=Sgd(learning_rate=RATE), server_optimizer=Sgd(learning_rate=0.7)
    )
    if process.personal:
        for c, model in enumerate(trainer.models):
            expected = [mine if is_own else shared for mine, shared, is_own in zip(models[c], common, own)]
            assert lab.distance(arrays(model), expected) < 1e-4
    else:
        assert lab.distance(arrays(trainer.weights), common) < 1e-4


def test_a_server_optimizer_does_not_touch_statistics(lab):
    given = rounds(lab, 1)
    plain, adam = (trained(lab, FedAvg(), given, server_optimizer=o) for o in (Sgd(learning_rate=1.0), Adam(learning_rate=0.1)))
    a, b = arrays(plain.weights), arrays(adam.weights)
    assert lab.same_bits(a[5:], b[5:]) and not lab.same_bits(a[:5], b[:5])
    assert all(np.abs(w - w0).max() > 0.01 for w, w0 in zip(a[5:], ([0.0], [1.0])))


PROCESSES = {
    "fed_avg": FedAvg(),
    "fed_sgd": FedSgd(),
    "ditto": Ditto(),
    "fed_per": FedPer(),
    "lg_fed_avg": FedPer(head=("dense_1",), kept="body"),
    "fed_rep": FedRep(head_epochs=1),
    "fed_bn": FedBn(),
    "fed_dyn": FedDyn(),
    "apfl": Apfl(adaptive=True),
    "p_fed_me": PFedMe(personal_steps=2),
    "ifca": Ifca(num_clusters=2),
}
WITHOUT_CONSTRAINTS = ("fed_dyn", "apfl", "p_fed_me", "ifca")


@pytest.mark.sampled
@pytest.mark.parametrize("name", PROCESSES)
def test_engines_agree_and_a_resumed_training_is_an_uninterrupted_one(lab, name):
    process = PROCESSES[name]
    epochs = process.epochs(LocalTraining(batch_size=BATCH))
    given, model = rounds(lab, 3, epochs, left_out=(2,)), unconstrained if name in WITHOUT_CONSTRAINTS else normalized
    options = dict(client=LocalTraining(batch_size=BATCH), model=model)
    whole, reference = trained(lab, process, given, **options), trained(lab, process, given, engine=Tff(), **options)
    models = lambda t: [w for m in (t.models or [t.weights]) for w in arrays(m)]  # noqa: E731
    assert lab.distance(models(whole), models(reference)) < 1e-5
    half = trained(lab, process, given[:2], **options)
    saved = [np.asarray(t[:] if hasattr(t, "pieces") else t) for t in half.state]
    resumed = lab.training(process, **options)
    resumed.restore(saved)
    resumed.next(*given[2])
    assert lab.same_bits(models(resumed), models(whole)) and lab.same_bits(arrays(resumed.hashed), arrays(whole.hashed))


SAME = {
    "ifca of one model": (Ifca(num_clusters=1), FedAvg(), 2),
    "p_fed_me of one step": (PFedMe(personal_steps=1, personal_strength=10.0, local_learning_rate=0.1), FedAvg(), 2),
    "the global model of apfl": (Apfl(mixture=0.3), FedAvg(), 2),
    "the first round of fed_dyn": (FedDyn(regularization=0.5), FedProx(proximal_strength=0.5, client_weighting="uniform"), 1),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", SAME)
def test_statistics_are_averaged_as_in_fed_avg_where_an_algorithm_equals_it(lab, name):
    process, plain, count = SAME[name]
    given = rounds(lab, count, left_out=(1,))
    found, wanted = (trained(lab, p, given, model=unconstrained) for p in (process, plain))
    models = [found.models[c] for c in (0, 2)] if isinstance(process, Ifca) else [found.weights]
    for model in models:
        assert lab.distance(arrays(model), arrays(wanted.weights)) < 1e-5
    assert all(np.abs(w - w0).max() > 0.01 for w, w0 in zip(arrays(wanted.weights)[-2:], ([0.0], [1.0])))


def test_apfl_with_the_own_model_alone_is_keras_on_each_client(lab):
    """Weights and statistics of α = 1 over three rounds; client 1 misses two of them."""
    examples, given = lab.examples(), rounds(lab, 3, left_out=(1,))
    hand = ByKeras(lab, examples, unconstrained)
    models = {c: [*hand.start[0], *hand.start[1]] for c in range(len(lab.sizes))}
    for cohort, round_input in given:
        for c, (rows, order) in zip(cohort.clients, lab.clients(round_input)):
            models[c] = hand.train(models[c], rows, order)
    options = dict(examples=examples, model=unconstrained, client_optimizer=Sgd(learning_rate=RATE))
    found = trained(lab, Apfl(mixture=1.0), given, **options)
    for c, model in enumerate(found.models):
        assert lab.distance(arrays(model), models[c]) < 1e-4


def test_each_model_of_ifca_has_statistics_of_its_own(lab):
    found = trained(lab, Ifca(num_clusters=3), rounds(lab, 3), model=unconstrained)
    mean = arrays(found.weights)[-2]  # [models, features]
    chosen = {int(found.kept_by(c)[0]) for c in range(len(lab.sizes))}
    assert mean.shape == (3, 6) and all(np.abs(mean[j]).max() > 0.01 for j in chosen)
    assert [np.asarray(w).shape for w in found.models[0]][-2:] == [(6,), (6,)]


@pytest.mark.parametrize("process", [FedDyn(), Apfl(), PFedMe(), Ifca()], ids=lambda process: type(process).__name__)
def test_constraints_are_refused_where_they_would_be_ignored(lab, process):
    with pytest.raises(ConfigError, match="does not support models with a constraint on their weights"):
        trained(lab, process, [])


@pytest.mark.parametrize("process", [FedAvg(), FedBn()], ids=["average", "local"])
def test_masked_sums_are_plain_sums(lab, process):
    given = rounds(lab, 2)
    summing = SecureSumming(Masked(), len(lab.sizes), 3, 2, adds_noise=False)
    masked, plain = trained(lab, process, given, summing=summing), trained(lab, process, given)
    assert lab.distance(arrays(masked.weights), arrays(plain.weights)) < 1e-3


def test_the_median_covers_statistics(lab):
    trainer = trained(lab, FedAvg(), rounds(lab, 1), aggregator=CoordinateMedian())
    assert np.all(np.isfinite(trainer.weights[6])) and np.all(trainer.weights[6] > 0)


def test_statistics_that_nothing_protects_are_refused(lab):
    with pytest.raises(ConfigError, match=r"batch normalization, whose statistics client=dp_sgd and weight_noise cannot protect"):
        trained(lab, FedAvg(), [], client=DpSgd(batch_size=5, clip_norm=1.0, noise_multiplier=1.0))
    with pytest.raises(ConfigError, match=r"batch normalization, whose statistics .* cannot protect"):
        trained(lab, FedAvg(), [], client=LocalTraining(batch_size=5, weight_noise=0.1))
    with pytest.raises(ConfigError, match=r"batch normalization, and a privacy mechanism cannot protect .* process=fed_bn"):
        trained(lab, FedAvg(), [], privacy=GaussianFixed(clip_norm=1.0, noise_multiplier=1.0))
    trained(lab, FedBn(), [], privacy=GaussianFixed(clip_norm=1.0, noise_multiplier=1.0))  # sends no statistics


def test_combinations_that_mean_nothing_are_refused(lab):
    with pytest.raises(ConfigError, match="the model has no batch normalization to keep: use process=fed_avg"):
        trained(lab, FedBn(), [], model=Mlp(hidden=(4,)))
    with pytest.raises(ConfigError, match=r"process\.head contains batch normalization"):
        trained(lab, FedRep(head=("batch_normalization", "dense_1")), [])
    with pytest.raises(ConfigError, match=r"process=scaffold .* constraint"):
        trained(lab, Scaffold(), [])
