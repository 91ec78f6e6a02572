"""FedAvg whose clients keep the state of their optimizers between rounds."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.algorithms import DpSgd, FedAvg, LocalTraining
from fedlab.algorithms.optimizers import Adam, Exponential, Sgd
from fedlab.config.composing import build_experiment, compose
from fedlab.errors import ConfigError
from fedlab.models import Perceptron
from fedlab.run import rules
from fedlab.types import Cohort

FLOAT32 = 5e-6  # float32 against float64, see test_local_training.py
CLIENT = LocalTraining(batch_size=5, local_epochs=2)
KEPT = FedAvg(keep_optimizer=True)


def rounds(lab, count, clients=None, left_out=()):
    found = []
    for number in range(1, count + 1):
        mine = [c for c in clients or range(len(lab.sizes)) if number == 1 or c not in left_out]
        found.append((Cohort(number, np.array(mine), np.zeros(0, np.int64)), lab.inputs(number, 2, clients=mine)[-1]))
    return found


def weights_after(lab, process, given, **options):
    trainer, found = lab.training(process, client=CLIENT, **options), []
    for one in given:
        trainer.next(*one)
        found.append([np.asarray(w) for w in trainer.weights])
    return found


class Momentum:
    """Heavy-ball momentum in float64."""

    def __init__(self, weights):
        self.v = [np.zeros_like(w) for w in weights]

    def step(self, weights, gradient, rate):
        self.v = [0.9 * v + g for v, g in zip(self.v, gradient)]
        return [w - rate * v for w, v in zip(weights, self.v)]


class Moments:
    """Adam (Kingma & Ba 2015, algorithm 1) in float64, with the ε of TensorFlow's form at the end of section 2."""

    def __init__(self, weights):
        self.t, self.m, self.v = 0, [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]

    def step(self, weights, gradient, rate):
        self.t += 1
        self.m = [0.9 * m + 0.1 * g for m, g in zip(self.m, gradient)]
        self.v = [0.999 * v + 0.001 * g**2 for v, g in zip(self.v, gradient)]
        rate = rate * np.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
        return [w - rate * m / (np.sqrt(v) + 1e-3) for w, m, v in zip(weights, self.m, self.v)]


OPTIMIZERS = {
    "momentum": (Sgd(learning_rate=0.1, momentum=0.9), Momentum),
    "adam": (Adam(learning_rate=0.1, epsilon=1e-3), Moments),  # a small ε would divide rounding by a root of near zero
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_three_rounds_by_hand(lab, by_hand, name):
    """Each client continues from its own state; one that took no part in the second round from that of the first."""
    optimizer, kind = OPTIMIZERS[name]
    examples, given = lab.examples(), rounds(lab, 3, left_out=(1,))
    options = dict(client_optimizer=optimizer, schedule=Exponential(decay_rate=0.5), server_optimizer=Sgd(learning_rate=0.7))
    found = weights_after(lab, KEPT, given, examples=examples, **options)
    hand, x = by_hand(examples), [w.astype(np.float64) for w in lab.parts(examples, Perceptron()).model.initial_weights[0]]
    own = [kind(x) for _ in lab.sizes]
    for number, (cohort, round_input) in enumerate(given):
        updates, sizes = [], []
        for c, (rows, order) in zip(cohort.clients, lab.clients(round_input)):
            y = x
            for batch in (rows[epoch[i : i + 5]] for epoch in order for i in range(0, len(rows), 5)):
                y = own[c].step(y, hand.gradient(y, batch), 0.1 * 0.5**number)
            updates.append([w0 - w for w0, w in zip(x, y)])
            sizes.append(len(rows))
        x = [w - 0.7 * u for w, u in zip(x, hand.mean(updates, sizes))]
        assert lab.distance(found[number], x) < 20 * FLOAT32


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_client_trains_as_if_there_were_no_rounds(lab, by_hand, name):
    optimizer, kind = OPTIMIZERS[name]
    examples, given = lab.examples(), rounds(lab, 4, clients=[2])
    found = weights_after(lab, KEPT, given, examples=examples, client_optimizer=optimizer)[-1]
    plain = weights_after(lab, FedAvg(), given, examples=examples, client_optimizer=optimizer)[-1]
    hand, w = by_hand(examples), [w.astype(np.float64) for w in lab.parts(examples, Perceptron()).model.initial_weights[0]]
    one = kind(w)
    for _, round_input in given:
        for rows, order in lab.clients(round_input):
            for batch in (rows[epoch[i : i + 5]] for epoch in order for i in range(0, len(rows), 5)):
                w = one.step(w, hand.gradient(w, batch), 0.1)
    assert lab.distance(found, w) < 20 * FLOAT32 < 1e-2 < lab.distance(plain, w)


def test_without_a_state_it_is_fed_avg(lab):
    given = rounds(lab, 3, left_out=(1,))
    kept, plain = (weights_after(lab, process, given) for process in (KEPT, FedAvg()))
    assert all(map(lab.same_bits, kept, plain))


def test_what_is_sent_has_the_size_of_an_update(lab):
    given, options = rounds(lab, 1), dict(client=CLIENT, client_optimizer=Adam(learning_rate=0.01))
    kept, plain = (lab.training(process, **options).next(*given[0]) for process in (KEPT, FedAvg()))
    assert (kept.bytes_up, kept.bytes_down) == (plain.bytes_up, plain.bytes_down)


@pytest.mark.parametrize("client", [DpSgd(), LocalTraining(weight_noise=0.1)])
def test_noise_on_clients_is_refused(client):
    with pytest.raises(ConfigError, match=r"^process\.keep_optimizer=true keeps gradients without noise: use client=standard"):
        rules.check(build_experiment(compose(["process.keep_optimizer=true"])).model_copy(update={"client": client}))
