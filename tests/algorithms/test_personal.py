"""APFL and pFedMe by hand, and in the settings in which they are FedAvg or training alone."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.algorithms import Apfl, FedAvg, LocalOnly, LocalTraining, PFedMe
from fedlab.algorithms.optimizers import Exponential, Sgd
from fedlab.models import Perceptron
from tests.algorithms.test_keeping import FLOAT32, RATE, rounds, weights_after

CLIENT = LocalTraining(batch_size=5, local_epochs=2)


def batches_of(cohort, round_input, lab):
    """(client, its examples, its batches) of each client of a round."""
    for c, (rows, order) in zip(cohort.clients, lab.clients(round_input)):
        yield c, rows, [rows[epoch[i : i + 5]] for epoch in order for i in range(0, len(rows), 5)]


def initial(lab, examples):
    return [w.astype(np.float64) for w in lab.parts(examples, Perceptron()).model.initial_weights[0]]


def stepped(weights, gradient, rate):
    return [w - rate * g for w, g in zip(weights, gradient)]


@pytest.mark.parametrize("adaptive", [False, True])
def test_apfl_is_algorithm_1_of_deng(lab, by_hand, adaptive):
    examples, given = lab.examples(), rounds(lab, 3, 2, left_out=(1,))
    options = dict(
        examples=examples, client=CLIENT, client_optimizer=Sgd(learning_rate=RATE), schedule=Exponential(decay_rate=0.5)
    )
    found = weights_after(lab, Apfl(mixture=0.3, adaptive=adaptive), given, **options)
    hand, common = by_hand(examples), initial(lab, examples)
    own, share = [common] * len(lab.sizes), [0.3] * len(lab.sizes)

    def mixed(a, v, w):
        return [a * mine + (1 - a) * all_of_us for mine, all_of_us in zip(v, w)]

    for number, (cohort, round_input) in enumerate(given):
        rate, updates, sizes = RATE * 0.5**number, [], []
        for c, rows, batches in batches_of(cohort, round_input, lab):
            w, v, a = common, own[c], share[c]
            for batch in batches:
                g, h = hand.gradient(w, batch), hand.gradient(mixed(a, v, w), batch)
                slope = sum(np.sum(x * (mine - all_of_us)) for x, mine, all_of_us in zip(h, v, w))
                w, v = stepped(w, g, rate), stepped(v, [a * x for x in h], rate)
                a = np.clip(a - rate * slope, 0, 1) if adaptive else a
            own[c], share[c] = v, a
            updates.append([w0 - w1 for w0, w1 in zip(common, w)])
            sizes.append(len(rows))
        common = stepped(common, hand.mean(updates, sizes), 1.0)
        expected = [w for v, a in zip(own, share) for w in mixed(a, v, common)]
        assert lab.distance(found[number], expected) < FLOAT32
    assert not adaptive or len(set(np.round(share, 3))) == len(share)  # each client has an α of its own


@pytest.mark.parametrize("mixture", [0.0, 0.5, 1.0])
def test_the_global_model_of_apfl_is_that_of_fed_avg_and_the_mixtures_ends_are_known(lab, mixture):
    """α = 0: everybody predicts with the global model. α = 1: everybody trains alone."""
    apfl = lab.training(Apfl(mixture=mixture), client=CLIENT)
    plain, alone = (lab.training(process, client=CLIENT) for process in (FedAvg(), LocalOnly()))
    for one in rounds(lab, 3, 2):
        for training in (apfl, plain, alone):
            training.next(*one)
    assert lab.same_bits(apfl.weights, plain.weights)
    if mixture == 0.0:
        assert all(lab.same_bits(model, plain.weights) for model in apfl.models)
    if mixture == 1.0:
        for ours, theirs in zip(apfl.models, alone.models):
            assert lab.distance([np.asarray(w) for w in ours], [np.asarray(w) for w in theirs]) < FLOAT32


def test_p_fed_me_is_algorithm_1_of_dinh(lab, by_hand):
    examples, given = lab.examples(), rounds(lab, 3, 2, left_out=(1,))
    strength, steps, eta, beta = 2.0, 3, 0.2, 0.7
    process = PFedMe(personal_strength=strength, personal_steps=steps, local_learning_rate=eta)
    options = dict(client_optimizer=Sgd(learning_rate=RATE), server_optimizer=Sgd(learning_rate=beta))
    trainer = lab.training(process, examples=examples, client=CLIENT, schedule=Exponential(decay_rate=0.5), **options)
    hand, common = by_hand(examples), initial(lab, examples)
    own = [common] * len(lab.sizes)
    for number, (cohort, round_input) in enumerate(given):
        trainer.next(cohort, round_input)
        factor, updates, sizes = 0.5**number, [], []
        for c, rows, batches in batches_of(cohort, round_input, lab):
            w = theta = common
            for batch in batches:
                for _ in range(steps):
                    pulled = [g + strength * (t - u) for g, t, u in zip(hand.gradient(theta, batch), theta, w)]
                    theta = stepped(theta, pulled, RATE * factor)
                w = [u - eta * factor * strength * (u - t) for u, t in zip(w, theta)]
            own[c] = theta
            updates.append([w0 - w1 for w0, w1 in zip(common, w)])
            sizes.append(len(rows))
        common = stepped(common, hand.mean(updates, sizes), beta)
        assert lab.distance([np.asarray(w) for w in trainer.weights], common) < FLOAT32
        assert lab.distance([np.asarray(w) for model in trainer.models for w in model], [w for t in own for w in t]) < FLOAT32


@pytest.mark.parametrize("strength", [0.5, 4.0])
def test_p_fed_me_with_one_step_that_w_follows_is_fed_avg(lab, strength):
    """η λ = 1: w is at θ after each batch, and the pull of θ to w is zero. η λ is a power of two over itself, and exact."""
    process = PFedMe(personal_strength=strength, personal_steps=1, local_learning_rate=1 / strength)
    ours, plain = lab.training(process, client=CLIENT), lab.training(FedAvg(), client=CLIENT)
    for one in rounds(lab, 3, 2):
        outcomes = ours.next(*one), plain.next(*one)
        assert outcomes[0].metrics["train_loss"] == pytest.approx(outcomes[1].metrics["train_loss"], rel=1e-5)
    assert lab.distance([np.asarray(w) for w in ours.weights], [np.asarray(w) for w in plain.weights]) < FLOAT32
