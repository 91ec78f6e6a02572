"""APFL, pFedMe and IFCA by hand, and in the settings in which they are FedAvg or training alone."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.algorithms import Apfl, FedAvg, FineTune, Ifca, LocalOnly, LocalTraining, PFedMe
from fedlab.algorithms.optimizers import Exponential, Sgd
from fedlab.engine import Tff
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


@pytest.mark.sampled
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


class HandIfca:
    """IFCA with losses and gradients in float64."""

    def __init__(self, hand, models):
        self.hand, self.models = hand, models

    def loss(self, weights, rows):
        x, y = self.hand.x[rows], self.hand.y[rows]
        logits = x @ weights[0] + weights[1]
        logits = logits - logits.max(1, keepdims=True)
        return np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y])

    def round(self, clients, rate, server_rate, by_examples):
        chosen, updates = {}, {}
        for c, rows, batches in clients:
            j = int(np.argmin([self.loss(model, rows) for model in self.models]))
            w = self.models[j]
            for batch in batches:
                w = stepped(w, self.hand.gradient(w, batch), rate)
            chosen[c] = j
            updates.setdefault(j, []).append(([a - b for a, b in zip(self.models[j], w)], len(rows) if by_examples else 1))
        for j, each in updates.items():
            mean = self.hand.mean([u for u, _ in each], [n for _, n in each])
            self.models[j] = stepped(self.models[j], mean, server_rate)
        return chosen


@pytest.mark.parametrize("weighting", ["examples", "uniform"])
def test_ifca_is_algorithm_1_of_ghosh(lab, by_hand, weighting):
    examples, given = lab.examples(), rounds(lab, 4, 2, left_out=(1,))
    options = dict(client_optimizer=Sgd(learning_rate=RATE), server_optimizer=Sgd(learning_rate=0.7))
    trainer = lab.training(Ifca(num_clusters=3, client_weighting=weighting), examples=examples, client=CLIENT, **options)
    stacked = [np.array(w, np.float64) for w in trainer.weights[:-1]]
    hand = HandIfca(by_hand(examples), [[w[j] for w in stacked] for j in range(3)])
    assert lab.distance(hand.models[0], initial(lab, examples)) < FLOAT32
    chosen, seen = {}, set()
    for cohort, round_input in given:
        trainer.next(cohort, round_input)
        chosen |= hand.round(batches_of(cohort, round_input, lab), RATE, 0.7, weighting == "examples")
        seen |= set(chosen.values())
        expected = [np.stack(tensors) for tensors in zip(*hand.models)]
        assert lab.distance([np.asarray(w) for w in trainer.weights[:-1]], expected) < FLOAT32
        assert {c: int(trainer.kept_by(c)[0]) for c in chosen} == chosen
        for c, model in enumerate(trainer.models):
            assert lab.distance([np.asarray(w) for w in model], hand.models[chosen[c]]) < FLOAT32
    assert len(seen) > 1 and not np.any(np.asarray(trainer.weights[-1]))


def test_ifca_with_one_cluster_is_fed_avg(lab):
    ours, plain = (lab.training(process, client=CLIENT) for process in (Ifca(num_clusters=1), FedAvg()))
    for one in rounds(lab, 3, 2, left_out=(1,)):
        for training in (ours, plain):
            training.next(*one)
    assert all(lab.same_bits(model, plain.weights) for model in ours.models)


def test_the_models_of_ifca_begin_apart_with_the_scale_of_the_first(lab):
    def models(difference, seed=3):
        weights = lab.training(Ifca(num_clusters=3, initial_difference=difference), seed=seed).weights
        return np.asarray(weights[0])

    anew, near = models(1.0), models(0.1)
    assert lab.same_bits([anew], [models(1.0)]) and not np.array_equal(anew[1], models(1.0, seed=4)[1])
    assert np.std(anew, axis=(1, 2)) == pytest.approx(np.std(anew[0]), rel=0.2)
    correlation = [np.corrcoef(m[0].ravel(), m[1].ravel())[0, 1] for m in (anew, near)]
    assert abs(correlation[0]) < 0.3 and correlation[1] > 0.98


@pytest.mark.parametrize("flipped", [(0, 2)])
def test_ifca_finds_the_clients_whose_labels_are_of_another_kind(lab, flipped):
    """Half the clients have their labels reversed. One model cannot serve both; each of two models ends with one kind."""
    examples = lab.examples()
    y, partition = examples.y.copy(), lab.partition()
    for c in flipped:
        y[partition.indices[c]] = examples.num_classes - 1 - y[partition.indices[c]]
    mixed = type(examples)(examples.x, y, examples.num_classes)
    trainer = lab.training(Ifca(), examples=mixed, client=CLIENT)
    for one in rounds(lab, 15, 2):
        outcome = trainer.next(*one)
    choices = [int(trainer.kept_by(c)[0]) for c in range(len(lab.sizes))]
    assert choices[0] == choices[2] != choices[3]
    plain = lab.training(FedAvg(), examples=mixed, client=CLIENT)
    for one in rounds(lab, 15, 2):
        alone = plain.next(*one)
    assert outcome.metrics["train_loss"] < 0.7 * alone.metrics["train_loss"]


def tuned_by_hand(lab, hand, weights, epochs, rate):
    """Each client's model, fine-tuned from `weights` in the order of the seed."""
    from fedlab import randomness

    found = []
    for c, rows in enumerate(lab.partition().indices):
        order = np.broadcast_to(np.arange(len(rows), dtype=np.int32), (epochs, len(rows)))
        order = randomness.generator(3, "order of fine-tuning", c).permuted(order, axis=1)
        change, _ = hand.local_update(weights, rows, order, rate, 5)
        found.append([w - d for w, d in zip(weights, change)])
    return found


@pytest.mark.sampled
@pytest.mark.parametrize("engine", [None, Tff()], ids=["compiled", "tff"])
@pytest.mark.parametrize("rate", [None, 0.02])
def test_fine_tuning_trains_the_current_model_and_leaves_the_training_as_it_is(lab, by_hand, engine, rate):
    """By hand; a server optimizer, a schedule and a limit of steps, which training has, change nothing in it."""
    examples, given = lab.examples(), rounds(lab, 2, 2, left_out=(1,))
    options = dict(
        examples=examples,
        engine=engine,
        client=LocalTraining(batch_size=5, local_epochs=2, max_local_steps=3),
        client_optimizer=Sgd(learning_rate=RATE),
        server_optimizer=Sgd(learning_rate=0.7),
        schedule=Exponential(decay_rate=0.5),
    )
    process = FineTune(fine_tuning_epochs=3, fine_tuning_rate=rate)
    ours, plain = lab.training(process, **options), lab.training(FedAvg(), **options)
    for one in given:
        for training in (ours, plain):
            training.next(*one)
        first = [[np.array(w) for w in model] for model in ours.models]
        assert all(map(lab.same_bits, first, ours.models))  # reading changes nothing
        current = [np.array(w, np.float64) for w in ours.weights]
        for found, expected in zip(first, tuned_by_hand(lab, by_hand(examples), current, 3, rate or RATE)):
            assert lab.distance(found, expected) < FLOAT32
    assert lab.same_bits(ours.weights, plain.weights) and lab.same_bits(ours.state, plain.state)


def test_a_fine_tuned_model_follows_from_the_state_of_the_training(lab):
    whole, other = (lab.training(FineTune(), client=CLIENT) for _ in range(2))
    for one in rounds(lab, 2, 2):
        whole.next(*one)
    other.restore([np.asarray(t) for t in whole.state])
    assert all(map(lab.same_bits, whole.models, other.models))
