"""FedAvg and FedProx against training written out by hand."""

from __future__ import annotations

import types

import numpy as np
import pytest
import tensorflow as tf

from fedlab.aggregation import CoordinateMedian, Mean
from fedlab.algorithms import FedAvg, FedProx, FedSgd, LocalTraining
from fedlab.algorithms.optimizers import Adam, Constant, Cosine, Exponential, Sgd
from fedlab.errors import ConfigError
from fedlab.models import Cnn, Mlp, Perceptron, functional
from fedlab.privacy import NoPrivacy

# float32 against float64: a step rounds a dot product over 36 pixels and some ten elementwise results, each to 2⁻²⁴ = 6e-8 of
# numbers no larger than the weights, times the learning rate; there are at most 24 steps (3 rounds × 2 epochs × 4 batches)
FLOAT32 = 5e-6
# The same numbers summed in another order, in float32 on both sides
ORDER = 1e-6
# Two computations in float32 whose sums over examples have other terms differ by at most twice FLOAT32: with other data
# (1,000 added to the seeds of NumPy in the tests) by 3.1e-6
RATE = 0.1


def stages(client=None, client_optimizer=None, aggregator=None):
    client, client_optimizer = client or LocalTraining(), client_optimizer or Sgd(learning_rate=0.1)
    server = dict(aggregator=aggregator or Mean(), privacy=NoPrivacy())
    return types.SimpleNamespace(client=client, client_optimizer=client_optimizer, **server)


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def cut(lab, inputs):
    return [lab.clients(i) for i in inputs]


def assert_agree(lab, trained, expected, within=FLOAT32):
    assert len(trained) == len(expected)
    for ours, theirs in zip(trained, expected):
        assert lab.distance(ours, theirs) < within


class TestFedAvg:
    @pytest.mark.parametrize(
        "client, weighting, dtype",
        [
            (LocalTraining(batch_size=5), "auto", np.uint8),
            (LocalTraining(batch_size=5, local_epochs=2), "examples", np.float32),
            (LocalTraining(batch_size=5, local_epochs=2), "uniform", np.uint8),
            (LocalTraining(batch_size=5, local_epochs=3, max_local_steps=4), "auto", np.uint8),
            slow(LocalTraining(batch_size=5, local_epochs=2, max_local_steps=100), "auto", np.uint8),
            slow(LocalTraining(batch_size=1, max_local_steps=1), "auto", np.uint8),
            slow(LocalTraining(batch_size=100, local_epochs=2), "auto", np.uint8),
        ],
    )
    def test_is_algorithm_1_of_mcmahan(self, lab, by_hand, client, weighting, dtype):
        examples, inputs = lab.examples(dtype=dtype), lab.inputs(3, client.local_epochs)
        trainer = lab.trainer(FedAvg(client_weighting=weighting), examples=examples, client=client)
        expected = by_hand(examples).fed_avg(
            trainer.initial_weights,
            cut(lab, inputs),
            [RATE] * 3,
            client.batch_size,
            by_examples=weighting != "uniform",
            max_steps=client.max_local_steps,
        )
        assert_agree(lab, trainer.run(inputs).weights, expected)

    def test_batches_end_with_their_epoch_and_the_last_may_be_short(self, lab, by_hand):
        """7 examples in batches of 5 and two epochs: 5, 2, 5, 2, and neither 5, 5, 4 nor 5, 5."""
        examples, inputs = lab.examples(), lab.inputs(1, 2, clients=[0])
        trainer = lab.trainer(client=LocalTraining(batch_size=5, local_epochs=2), client_optimizer=Sgd(learning_rate=1.0))
        (trained,) = trainer.run(inputs).weights
        hand, ((rows, order),) = by_hand(examples), lab.clients(inputs[0])
        update, batches = hand.local_update(trainer.initial_weights, rows, order, 1.0, 5)
        assert [len(b) for b in batches] == [5, 2, 5, 2]
        assert lab.distance(trained, [w - u for w, u in zip(trainer.initial_weights, update)]) < FLOAT32
        straddling, _ = hand.local_update(trainer.initial_weights, np.tile(rows, 2)[None][0], np.array([_joined(order)]), 1.0, 5)
        dropped, _ = hand.local_update(trainer.initial_weights, rows[:5], np.arange(5)[None], 1.0, 5)
        for wrong in (straddling, dropped):
            assert lab.distance(trained, [w - u for w, u in zip(trainer.initial_weights, wrong)]) > 1000 * FLOAT32

    def test_doubling_every_client_changes_nothing(self, lab):
        once = lab.inputs(2)
        twice = [lab.permuted(i, [0, 1, 2, 3, 0, 1, 2, 3]) for i in once]
        trainer = lab.trainer()
        assert_agree(lab, trainer.run(twice).weights, trainer.run(once).weights, ORDER)

    @pytest.mark.parametrize("process", [slow(FedAvg()), FedSgd()], ids=["fed_avg", "fed_sgd"])
    def test_doubling_every_example_changes_nothing(self, lab, process):
        """With a full batch, in which every example then counts twice."""
        trainer = lab.trainer(process, client=LocalTraining(batch_size=1000))
        once = lab.partition()
        twice = type(once)(once.client_ids, tuple(np.tile(i, 2) for i in once.indices))
        ours = trainer.run(lab.inputs(2, partition=twice)).weights
        assert_agree(lab, ours, trainer.run(lab.inputs(2, partition=once)).weights, 2 * FLOAT32)

    @pytest.mark.parametrize("process", [FedAvg(), slow(FedSgd())], ids=["fed_avg", "fed_sgd"])
    @pytest.mark.parametrize("permutation", [[3, 2, 1, 0], [1, 3, 0, 2]])
    def test_the_order_of_clients_does_not_matter(self, lab, process, permutation):
        """But for the rounding of the sum, which engines take in the order of the cohort; cohorts are ascending."""
        trainer = lab.trainer(process, model=Mlp(hidden=(8,), dropout=0.5))
        inputs = lab.inputs(2)
        turned = [lab.permuted(i, permutation) for i in inputs]
        assert_agree(lab, trainer.run(turned).weights, trainer.run(inputs).weights, ORDER)


def _joined(order):
    """Two epochs as one that does not stop between them."""
    return np.concatenate([order[0], order[1] + order.shape[1]])


class TestFedProx:
    def test_with_strength_0_is_fed_avg_bit_for_bit(self, lab):
        epochs = 3
        client, model, inputs = (
            LocalTraining(batch_size=5, local_epochs=epochs),
            Mlp(hidden=(8,), dropout=0.5),
            lab.inputs(3, epochs),
        )
        prox = lab.trainer(FedProx(proximal_strength=0.0), client=client, model=model).run(inputs)
        avg = lab.trainer(FedAvg(), client=client, model=model).run(inputs)
        assert lab.same_bits(prox.states[-1], avg.states[-1])

    def test_adds_the_gradient_of_equation_2(self, lab, by_hand):
        mu, client = 2.0, LocalTraining(batch_size=5, local_epochs=2)
        examples, inputs = lab.examples(), lab.inputs(3, 2)
        trainer = lab.trainer(FedProx(proximal_strength=mu), examples=examples, client=client)
        trained = trainer.run(inputs).weights
        expected = by_hand(examples).fed_avg(trainer.initial_weights, cut(lab, inputs), [RATE] * 3, mu=mu)
        assert_agree(lab, trained, expected)
        without = by_hand(examples).fed_avg(trainer.initial_weights, cut(lab, inputs), [RATE] * 3)
        assert lab.distance(trained[0], without[0]) > 1000 * FLOAT32


class TestCentralised:
    """One client with all data is training without federation."""

    @pytest.mark.parametrize(
        "model, ours, theirs",
        [
            slow(Mlp(hidden=(8,)), Sgd(learning_rate=0.1), lambda: tf.keras.optimizers.SGD(0.1)),
            (Mlp(hidden=(8,)), Sgd(learning_rate=0.05, momentum=0.9), lambda: tf.keras.optimizers.SGD(0.05, momentum=0.9)),
            (Cnn(filters=(3,), hidden=(6,)), Sgd(learning_rate=0.1), lambda: tf.keras.optimizers.SGD(0.1)),
        ],
        ids=["mlp", "momentum", "cnn"],
    )
    def test_one_client_with_everything_is_a_loop_over_batches(self, lab, model, ours, theirs):
        sizes, epochs, batch_size = (23,), 3, 5
        examples, (round_input,) = lab.examples(sizes), lab.inputs(1, epochs, partition=lab.partition(sizes))
        client = LocalTraining(batch_size=batch_size, local_epochs=epochs)
        trainer = lab.trainer(examples=examples, model=model, client=client, client_optimizer=ours)
        (trained,) = trainer.run([round_input]).weights

        keras, optimizer = model(examples.x.shape[1:], examples.num_classes), theirs()
        functional.set_keras_weights(keras, (tuple(trainer.initial_weights), ()))
        loss_of = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        rows, order = lab.clients(round_input)[0]
        for epoch in order:
            for i in range(0, len(rows), batch_size):
                batch = rows[epoch[i : i + batch_size]]
                with tf.GradientTape() as tape:
                    loss = loss_of(examples.y[batch], keras(examples.x[batch].astype(np.float32) / 255, training=True))
                optimizer.apply_gradients(zip(tape.gradient(loss, keras.trainable_variables), keras.trainable_variables))
        assert lab.distance(trained, [v.numpy() for v in keras.trainable_variables]) < 1e-6


class TestFedSgd:
    def test_is_one_full_batch_of_fed_avg(self, lab):
        """A client step of rate η and a server step of 1 are a server step of rate η."""
        inputs, model, rate = lab.inputs(3), Mlp(hidden=(8,)), 0.3
        avg = lab.trainer(
            FedAvg(), model=model, client=LocalTraining(batch_size=max(lab.sizes)), client_optimizer=Sgd(learning_rate=rate)
        )
        sgd = lab.trainer(FedSgd(), model=model, server_optimizer=Sgd(learning_rate=rate))
        assert_agree(lab, sgd.run(inputs).weights, avg.run(inputs).weights, ORDER)

    @pytest.mark.parametrize("batch_size", [slow(1), 3, slow(20), slow(21)])
    def test_does_not_depend_on_the_batch_size(self, lab, batch_size):
        inputs = lab.inputs(2)
        ours = lab.trainer(FedSgd(), client=LocalTraining(batch_size=batch_size)).run(inputs)
        reference = lab.trainer(FedSgd(), client=LocalTraining(batch_size=1000)).run(inputs)
        assert_agree(lab, ours.weights, reference.weights, 2 * FLOAT32)
        for a, b in zip(ours.metrics, reference.metrics):
            assert a["client_work/train/loss"] == pytest.approx(b["client_work/train/loss"], rel=2 * FLOAT32)

    @pytest.mark.parametrize("weighting", ["examples", "uniform"])
    def test_is_the_mean_gradient(self, lab, by_hand, weighting):
        examples, (round_input,) = lab.examples(), lab.inputs(1)
        trainer = lab.trainer(FedSgd(client_weighting=weighting), examples=examples, server_optimizer=Sgd(learning_rate=0.5))
        clients = [rows for rows, _ in lab.clients(round_input)]
        gradients = [by_hand(examples).gradient(trainer.initial_weights, rows) for rows in clients]
        mean = by_hand.mean(gradients, [len(rows) if weighting == "examples" else 1 for rows in clients])
        (trained,) = trainer.run([round_input]).weights
        assert lab.distance(trained, [w - 0.5 * g for w, g in zip(trainer.initial_weights, mean)]) < FLOAT32

    @pytest.mark.parametrize("client", [LocalTraining(local_epochs=2), LocalTraining(max_local_steps=1)])
    def test_refuses_what_it_would_ignore(self, client):
        with pytest.raises(ConfigError, match="one gradient over all"):
            FedSgd().check(stages(client))
        FedAvg().check(stages(client))

    @pytest.mark.parametrize("optimizer", [Adam(learning_rate=0.1), Sgd(learning_rate=0.1, momentum=0.9)], ids=repr)
    def test_refuses_a_client_optimizer_that_it_would_ignore(self, optimizer):
        with pytest.raises(ConfigError, match="choose a server_optimizer"):
            FedSgd().check(stages(client_optimizer=optimizer))
        FedAvg().check(stages(client_optimizer=optimizer))


class TestWeighting:
    def test_by_examples_is_refused_where_all_clients_have_to_count_alike(self):
        with pytest.raises(ConfigError, match=r"treats all clients alike: use process\.client_weighting=uniform"):
            FedAvg(client_weighting="examples").check(stages(aggregator=CoordinateMedian()))
        FedAvg(client_weighting="examples").check(stages())


class TestSchedules:
    @pytest.mark.parametrize(
        "schedule, factors",
        [
            (Constant(), [1, 1, 1, 1, 1]),
            (Exponential(decay_rate=0.5), [1, 0.5, 0.25, 0.125, 0.0625]),
            (Exponential(decay_rate=0.5, decay_rounds=2), [1, 1, 0.5, 0.5, 0.25]),
            (Exponential(decay_rate=0.25, decay_rounds=2, staircase=False), [1, 0.5, 0.25, 0.125, 0.0625]),
            (Exponential(decay_rate=1.0), [1, 1, 1, 1, 1]),
            # (1 + cos(π p)) / 2 at p = 0, ¼, ½, ¾, 1
            (Cosine(decay_rounds=4), [1, (2 + np.sqrt(2)) / 4, 0.5, (2 - np.sqrt(2)) / 4, 0]),
            (Cosine(decay_rounds=2, final_factor=0.2), [1, 0.6, 0.2, 0.2, 0.2]),
        ],
        ids=repr,
    )
    def test_factor_of_each_round(self, schedule, factors):
        given = [float(schedule.factor(tf.constant(float(r)))) for r in range(1, 6)]
        assert given == pytest.approx(factors, abs=1e-6)

    @pytest.mark.parametrize(
        "schedule, factors",
        [(Exponential(decay_rate=0.5), [1, 0.5, 0.25]), (Cosine(decay_rounds=2, final_factor=0.5), [1, 0.75, 0.5])],
    )
    def test_is_what_clients_train_with(self, lab, by_hand, schedule, factors):
        examples, inputs = lab.examples(), lab.inputs(3)
        trainer = lab.trainer(examples=examples, schedule=schedule)
        expected = by_hand(examples).fed_avg(trainer.initial_weights, cut(lab, inputs), [RATE * f for f in factors])
        assert_agree(lab, trainer.run(inputs).weights, expected)

    def test_scales_adam_on_clients(self, lab):
        """The first step of Adam is the learning rate, whatever the gradient: halve one, halve the other."""
        inputs = lab.inputs(2, clients=[1])  # one example, one step
        trainer = lab.trainer(client_optimizer=Adam(learning_rate=0.01), schedule=Exponential(decay_rate=0.5))
        result = trainer.run(inputs)
        first = [a - b for a, b in zip(trainer.initial_weights, result.weights[0])]
        second = [a - b for a, b in zip(*result.weights)]
        assert np.abs(first[1]) == pytest.approx(0.01, rel=1e-3) and np.abs(second[1]) == pytest.approx(0.005, rel=1e-3)

    def test_scales_the_gradient_of_fed_sgd(self, lab, by_hand):
        examples, inputs = lab.examples(), lab.inputs(2, clients=[2])
        trainer = lab.trainer(FedSgd(), examples=examples, schedule=Exponential(decay_rate=0.5))
        weights = trainer.initial_weights
        for trained, round_input, factor in zip(trainer.run(inputs).weights, inputs, (1, 0.5)):
            gradient = by_hand(examples).gradient(weights, round_input.indices)
            weights = [w - factor * g for w, g in zip(weights, gradient)]
            assert lab.distance(trained, weights) < FLOAT32


class TestNonFinite:
    """A client whose update is not finite counts for nothing, and is counted."""

    @staticmethod
    def spoilt(lab, value, client=2):
        """One of the client's examples is `value` throughout; "huge" is finite, and overflows the first logit."""
        examples = lab.examples(dtype=np.float32)
        if value == "huge":
            kernel = lab.functional(Perceptron(), examples)[1][0][0]
            value = 3e38 * np.sign(kernel[:, 0]).reshape(examples.x.shape[1:])
        examples.x[lab.partition().indices[client][-1]] = value
        return examples

    @pytest.mark.sampled
    @pytest.mark.parametrize(
        "process, value",
        [
            (FedAvg(), np.nan),
            (FedAvg(), "huge"),
            (FedSgd(), np.inf),
            slow(FedAvg(), np.inf),
            slow(FedSgd(), np.nan),
        ],
    )
    def test_the_others_mean_is_unaffected(self, lab, process, value):
        trainer = lab.trainer(process, examples=self.spoilt(lab, value))
        with_it = trainer.run(lab.inputs(2))
        without = trainer.run(lab.inputs(2, clients=[0, 1, 3]))
        assert all(lab.same_bits(a, b) for a, b in zip(with_it.weights, without.weights))
        for metrics, others in zip(with_it.metrics, without.metrics):
            assert metrics["client_work/non_finite_clients"] == 1 and others["client_work/non_finite_clients"] == 0
            for name in ("loss", "accuracy", "num_examples"):
                assert metrics[f"client_work/train/{name}"] == others[f"client_work/train/{name}"]

    def test_a_loss_that_overflows_leaves_the_update_and_the_others_metrics(self, lab):
        """One step at a tiny rate, from logits of 1e37: the client's loss, summed over its examples, is infinite, its update
        is not."""
        examples = lab.examples(dtype=np.float32)
        examples.x[lab.partition().indices[2]] = 1e37
        options = dict(client=LocalTraining(batch_size=20), client_optimizer=Sgd(learning_rate=1e-25))
        trainer = lab.trainer(examples=examples, **options)
        with_it, without = trainer.run(lab.inputs(1)), trainer.run(lab.inputs(1, clients=[0, 1, 3]))
        metrics, others = with_it.metrics[0], without.metrics[0]
        assert metrics["client_work/non_finite_clients"] == 1
        for name in ("loss", "accuracy", "num_examples"):
            assert metrics[f"client_work/train/{name}"] == others[f"client_work/train/{name}"]
        assert lab.distance(with_it.weights[0], without.weights[0]) > 1e6

    @pytest.mark.slow
    def test_without_weights_too(self, lab):
        trainer = lab.trainer(examples=self.spoilt(lab, np.nan), aggregator=CoordinateMedian())
        with_it, without = trainer.run(lab.inputs(1)), trainer.run(lab.inputs(1, clients=[0, 1, 3]))
        assert lab.same_bits(with_it.weights[0], without.weights[0])

    def test_a_round_of_nobody_else_leaves_the_weights(self, lab):
        trainer = lab.trainer(examples=self.spoilt(lab, np.nan))
        result = trainer.run(lab.inputs(1, clients=[2]))
        assert lab.same_bits(result.weights[0], trainer.initial_weights)
        metrics = {name.split("/")[-1]: float(value) for name, value in result.metrics[0].items()}
        assert metrics["non_finite_clients"] == 1 and metrics["num_examples"] == 0
        assert np.isnan(metrics["loss"]) and np.isnan(metrics["accuracy"])  # of nobody: a loss of 0 would look like success
