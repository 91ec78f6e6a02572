"""The compiled engine: one graph for all rounds, the same bits for the same keys, whatever runs side by side."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fedlab.aggregation import Compressed, CoordinateMedian, Mean, Robust, Secure
from fedlab.algorithms import FedAvg, FedSgd, LocalTraining
from fedlab.algorithms.optimizers import Adam, Exponential
from fedlab.engine import Compiled
from fedlab.errors import ConfigError
from fedlab.models import Cnn, Mlp

DROPOUT = Mlp(hidden=(16,), dropout=0.5)
# Sums of a few float32 terms in another order: each of about 50 additions errs by at most 2⁻²⁴ = 6e-8 of the terms' size,
# and weights move by about their own size
ROUNDING = 1e-6


def test_the_round_is_traced_once_whatever_the_sizes(lab):
    trainer = lab.trainer(client=LocalTraining(batch_size=5, local_epochs=2))
    full = lab.partition()
    rounds = []
    for clients in ([0, 1, 2, 3], [1], [2, 3], [0], [1, 2, 3]):
        rounds += lab.inputs(1, 2, partition=full, clients=clients)
    rounds += lab.inputs(1, 2, partition=lab.partition((3,) * 9))
    trainer.run(rounds)
    assert trainer.engine.num_traces == 1


def test_a_second_engine_leaves_the_first_as_it_was(lab):
    """Names of graph functions are global to TensorFlow."""
    inputs = lab.inputs(2)
    first = lab.trainer(model=DROPOUT)
    before = first.run(inputs).weights[-1]
    lab.trainer(FedSgd(), aggregator=CoordinateMedian(), model=DROPOUT).run(inputs)
    assert lab.same_bits(before, first.run(inputs).weights[-1])
    assert first.engine.num_traces == 1


def test_secure_sums_that_a_class_does_not_own_up_to_are_refused(lab):
    """A subclass of the mean that marks sums: without a protocol they would be made in the clear, or end in an assertion."""

    class Marks(Mean):
        def build(self):
            return Secure().build()

    with pytest.raises(ConfigError, match="state marks_sums = True"):
        lab.trainer(aggregator=Marks(), fresh=True)


@pytest.mark.parametrize(
    "aggregator, numbers",
    [
        (Mean(), (1, 3)),
        pytest.param(Robust(), (1, 2, 3, 8), marks=pytest.mark.slow),
        pytest.param(Compressed(threshold=50), (1, 8), marks=pytest.mark.slow),
        pytest.param(CoordinateMedian(), (1, 8), marks=pytest.mark.slow),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_runs_side_by_side_changes_no_bit(lab, aggregator, numbers):
    examples = lab.examples((2, 5, 1, 9) * 3)
    inputs = lab.inputs(3, partition=lab.partition((2, 5, 1, 9) * 3))
    states = []
    for parallel in numbers:
        trainer = lab.trainer(examples=examples, model=DROPOUT, aggregator=aggregator, engine=Compiled(parallel_clients=parallel))
        states.append([t for state in trainer.run(inputs).states for t in state])
    assert all(lab.same_bits(states[0], other) for other in states[1:])


class TestKeys:
    @pytest.fixture(
        params=[DROPOUT, pytest.param(Cnn(filters=(3,), hidden=(16,), dropout=0.5), marks=pytest.mark.slow)], ids=["mlp", "cnn"]
    )
    def trainer(self, lab, request):
        return lab.trainer(model=request.param, client_optimizer=Adam(learning_rate=0.01))

    def test_equal_keys_give_equal_bits(self, lab, trainer):
        inputs = lab.inputs(2)
        assert lab.same_bits(trainer.run(inputs).states[-1], trainer.run(inputs).states[-1])

    def test_every_client_draws_from_its_own_key(self, lab, trainer):
        (once,) = lab.inputs(1)
        baseline = trainer.run([once]).weights[0]
        for k in range(len(once.keys)):
            keys = once.keys.copy()
            keys[k, 1] += 1
            assert lab.distance(trainer.run([dataclasses.replace(once, keys=keys)]).weights[0], baseline) > 1e-4

    def test_a_key_goes_with_its_client_and_not_with_its_place(self, lab, trainer):
        (once,) = lab.inputs(1)
        turned = lab.permuted(once, [2, 0, 3, 1])
        baseline = trainer.run([once]).weights[0]
        assert lab.distance(trainer.run([turned]).weights[0], baseline) < ROUNDING
        astray = dataclasses.replace(turned, keys=once.keys)
        assert lab.distance(trainer.run([astray]).weights[0], baseline) > 1e-4

    def test_without_draws_keys_decide_nothing(self, lab):
        trainer = lab.trainer()
        (once,) = lab.inputs(1)
        other = dataclasses.replace(once, keys=once.keys + 1, server_key=once.server_key + 1)
        assert lab.same_bits(trainer.run([once]).states[0], trainer.run([other]).states[0])


def test_the_state_is_all_there_is(lab):
    """Rounds 1–2 and then 3 on another engine from the saved state are rounds 1–3, with moments and a schedule in the state."""
    inputs = lab.inputs(3)
    options = dict(server_optimizer=Adam(learning_rate=0.1), schedule=Exponential(decay_rate=0.5), model=DROPOUT)
    straight = lab.trainer(**options).run(inputs)
    saved = [np.asarray(t) for t in straight.states[1]]
    again = lab.trainer(**options, fresh=True)
    assert lab.same_bits(again.run(inputs[2:], state=saved).states[0], straight.states[2])


def test_state_names_lead_to_the_initial_weights(lab):
    trainer = lab.trainer(model=DROPOUT, server_optimizer=Adam(learning_rate=0.1), schedule=Exponential(decay_rate=0.5))
    state = trainer.engine.initialize(np.array([0, 0]))
    assert len(state) == len(trainer.engine.state_names) == len(set(trainer.engine.state_names))
    assert lab.same_bits(trainer.weights(state), trainer.initial_weights)


def test_bytes_are_those_of_the_weights_and_a_few_scalars(lab):
    trainer = lab.trainer(FedAvg())
    num_bytes = 4 * sum(w.size for w in trainer.initial_weights)
    assert trainer.engine.bytes_down == num_bytes + 4  # and the learning-rate factor
    # The weighted update and its weight; loss, correct and number of examples; whether the update was finite
    assert trainer.engine.bytes_up == num_bytes + 4 + 4 * 3 + 4


def test_clients_see_their_own_examples_in_their_own_order(lab):
    """Where the examples lie in memory decides nothing: the same clients from another place give the same bits."""
    examples, partition = lab.examples(), lab.partition()
    shuffle = np.random.default_rng(1).permutation(len(examples))
    where = np.argsort(shuffle)
    moved = dataclasses.replace(partition, indices=tuple(where[i] for i in partition.indices))
    one = lab.trainer(examples=examples).run(lab.inputs(2, 1, partition=partition))
    other = lab.trainer(examples=examples.select(shuffle)).run(lab.inputs(2, 1, partition=moved))
    assert lab.same_bits(one.states[-1], other.states[-1])


def test_metrics_count_every_example_of_every_epoch(lab):
    trainer = lab.trainer(client=LocalTraining(batch_size=5, local_epochs=2))
    metrics = trainer.run(lab.inputs(1, 2)).metrics[0]
    assert metrics["client_work/train/num_examples"] == 2 * sum(lab.sizes)
    assert metrics["client_work/non_finite_clients"] == 0
    assert 0 < metrics["client_work/train/accuracy"] < 1 and metrics["client_work/train/loss"] > 0
