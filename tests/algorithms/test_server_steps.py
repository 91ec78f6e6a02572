"""Algorithms that change the server's step, or send more than an update: by hand in NumPy, on both engines, and their limits."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.algorithms import DpSgd, FedAvg, FedDyn, FedExp, FedNova, LocalTraining, MimeLite, QFedAvg
from fedlab.algorithms.optimizers import Adam, Exponential, Sgd
from fedlab.engine import SecureSumming, Tff
from fedlab.errors import ConfigError
from fedlab.privacy import GaussianFixed, NoPrivacy
from fedlab.run import rules
from fedlab.secure import Masked
from fedlab.types import Cohort
from tests.run.test_promises import experiment

FLOAT32 = 5e-5  # float32 against float64; some of these algorithms divide by what nearly cancels
RATE, SERVER = 0.1, 0.7
CLIENT = LocalTraining(batch_size=5, local_epochs=2)
PROCESSES = {
    "fed_nova": FedNova(),
    "fed_exp": FedExp(epsilon=0.01),
    "fed_dyn": FedDyn(regularization=0.5),
    "q_fed_avg": QFedAvg(fairness=2.0),
    "mime_lite": MimeLite(momentum=0.8),
}


def rounds(lab, count, epochs=2, left_out=(1,)):
    found = []
    for number in range(1, count + 1):
        clients = [c for c in range(len(lab.sizes)) if number == 1 or c not in left_out]
        given = lab.inputs(number, epochs, clients=clients)[-1]
        found.append((Cohort(number, np.array(clients), np.zeros(0, np.int64)), given))
    return found


def trained(lab, process, given, **options):
    trainer = lab.training(process, **{"client": CLIENT, "client_optimizer": Sgd(learning_rate=RATE), **options})
    for cohort, round_input in given:
        trainer.next(cohort, round_input)
    return trainer


def weights(trainer):
    return [np.asarray(w) for w in trainer.weights]


def squared(tensors):
    return sum(float(np.sum(t**2)) for t in tensors)


class ByHand:
    """A round of each algorithm: (weights, [(rows, order)], learning rate, state) → update, state."""

    def __init__(self, hand):
        self.hand = hand

    def losses(self, w, rows):
        x, y = self.hand.x[rows], self.hand.y[rows]
        logits = x @ w[0] + w[1]
        logits -= logits.max(1, keepdims=True)
        return float(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y]))

    def updates(self, w, clients, rate):
        found = [self.hand.local_update(w, rows, order, rate, 5) for rows, order in clients]
        return [u for u, _ in found], [len(b) for _, b in found], [len(rows) for rows, _ in clients]

    def fed_nova(self, w, clients, rate, state):
        updates, steps, sizes = self.updates(w, clients, rate)
        shares = np.array(sizes) / sum(sizes)
        effective = float(shares @ steps)
        return [effective * sum(p * d / t for p, d, t in zip(shares, each, steps)) for each in zip(*updates)], state

    def fed_exp(self, w, clients, rate, state):
        updates, _, sizes = self.updates(w, clients, rate)
        shares, mean = np.array(sizes) / sum(sizes), self.hand.mean(updates, sizes)
        length = max(1.0, sum(p * squared(u) for p, u in zip(shares, updates)) / (2 * (squared(mean) + 0.01)))
        return [length * m for m in mean], state

    def fed_dyn(self, w, clients, rate, state, alpha=0.5, of_all=4):
        """`w`: the mean of the clients' models; `state`: h, and the linear term of each client by its first example."""
        h, linear = state or ([np.zeros_like(t) for t in w], {})
        x, found = [t - a / alpha for t, a in zip(w, h)], []
        for rows, order in clients:
            own, y = linear.get(min(rows), [np.zeros_like(t) for t in w]), x
            for epoch in order:
                for i in range(0, len(rows), 5):
                    g = self.hand.gradient(y, rows[epoch[i : i + 5]])
                    y = [t - rate * (a - b + alpha * (t - c)) for t, a, b, c in zip(y, g, own, x)]
            linear = {**linear, min(rows): [b - alpha * (t - c) for b, t, c in zip(own, y, x)]}
            found.append(y)
        h = [a - alpha / of_all * sum(t - c for t in each) for a, c, each in zip(h, x, zip(*found))]
        return [t - np.mean(each, axis=0) for t, each in zip(w, zip(*found))], (h, linear)

    def q_fed_avg(self, w, clients, rate, state, q=2.0):
        updates, _, _ = self.updates(w, clients, rate)
        total, h, smoothness = [np.zeros_like(t) for t in w], 0.0, 1 / rate
        for update, (rows, _) in zip(updates, clients):
            loss, scaled = self.losses(w, rows), [smoothness * u for u in update]
            total = [t + loss**q * s for t, s in zip(total, scaled)]
            h += q * loss ** (q - 1) * squared(scaled) + smoothness * loss**q
        return [t / h for t in total], state

    def mime_lite(self, w, clients, rate, state, beta=0.8):
        momentum = state or [np.zeros_like(t) for t in w]
        updates, gradients, sizes = [], [], []
        for rows, order in clients:
            y = w
            for epoch in order:
                for i in range(0, len(rows), 5):
                    g = self.hand.gradient(y, rows[epoch[i : i + 5]])
                    y = [t - rate * ((1 - beta) * a + beta * m) for t, a, m in zip(y, g, momentum)]
            updates.append([a - b for a, b in zip(w, y)])
            gradients.append(self.hand.gradient(w, rows))
            sizes.append(len(rows))
        mean = self.hand.mean(gradients, sizes)
        return self.hand.mean(updates, sizes), [(1 - beta) * g + beta * m for g, m in zip(mean, momentum)]


@pytest.mark.parametrize("name", PROCESSES)
def test_three_rounds_by_hand(lab, by_hand, name):
    """With a schedule, a server learning rate, and a client that misses rounds."""
    examples, given = lab.examples(), rounds(lab, 3)
    hand, server = ByHand(by_hand(examples)), 1.0 if name == "fed_dyn" else SERVER
    w, state = None, None
    for number, (_, round_input) in enumerate(given):
        if w is None:
            w = [np.asarray(t, np.float64) for t in lab.training(PROCESSES[name], examples=examples).weights]
        update, state = getattr(hand, name)(w, lab.clients(round_input), RATE * 0.5**number, state)
        w = [t - server * u for t, u in zip(w, update)]
    options = dict(schedule=Exponential(decay_rate=0.5), server_optimizer=Sgd(learning_rate=server))
    assert lab.distance(weights(trained(lab, PROCESSES[name], given, examples=examples, **options)), w) < FLOAT32


@pytest.mark.sampled
@pytest.mark.parametrize("name", PROCESSES)
def test_engines_agree_masks_leave_no_trace_and_a_resumed_training_is_an_uninterrupted_one(lab, name):
    process, given = PROCESSES[name], rounds(lab, 3)
    whole, reference = trained(lab, process, given), trained(lab, process, given, engine=Tff())
    assert lab.distance(weights(whole), weights(reference)) < 1e-5
    summing = SecureSumming(Masked(), len(lab.sizes), 3, 3, adds_noise=False)
    assert lab.distance(weights(trained(lab, process, given, summing=summing)), weights(whole)) < 1e-4
    half = trained(lab, process, given[:2])
    resumed = lab.training(process, client=CLIENT, client_optimizer=Sgd(learning_rate=RATE))
    resumed.restore([np.asarray(t) for t in half.state])
    resumed.next(*given[2])
    assert lab.same_bits(weights(resumed), weights(whole))


def test_equal_numbers_of_steps_make_fed_nova_fed_avg(lab):
    given, client = rounds(lab, 3), LocalTraining(batch_size=5, local_epochs=2, max_local_steps=2)  # every client takes two
    for momentum in (0.0, 0.9):
        optimizer = Sgd(learning_rate=RATE, momentum=momentum)
        nova, plain = (trained(lab, p, given, client=client, client_optimizer=optimizer) for p in (FedNova(), FedAvg()))
        assert lab.distance(weights(nova), weights(plain)) < 1e-5


@pytest.mark.sampled
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_fed_nova_moves_along_equal_gradients_whatever_the_number_of_steps(lab, by_hand, momentum):
    """Where gradients hardly change, FedNova's mean of normalised updates is the mean gradient, and FedAvg's is not.

    With momentum, this is so only if ‖a‖₁ is the sum of the weights with which the gradients enter an update.
    """
    examples = lab.examples()
    optimizer = Sgd(learning_rate=1e-5, momentum=momentum)
    given = rounds(lab, 1)
    start = [np.asarray(w, np.float64) for w in lab.training(FedNova(), examples=examples).weights]
    after = trained(lab, FedNova(), given, examples=examples, client_optimizer=optimizer)
    moved = np.concatenate([np.ravel(a - b) for a, b in zip(start, weights(after))])
    hand, rows = by_hand(examples), [r for r, _ in lab.clients(given[0][1])]
    # Each client's batches weigh alike whatever their size, so the expected direction is the mean over its batches
    directions = []
    for indices, order in lab.clients(given[0][1]):
        batches = [indices[epoch[i : i + 5]] for epoch in order for i in range(0, len(indices), 5)]
        scales = np.array([(1 - momentum ** (len(batches) - k)) / (1 - momentum) for k in range(len(batches))])
        gradients = [np.concatenate([g.ravel() for g in hand.gradient(start, batch)]) for batch in batches]
        directions.append(np.average(gradients, axis=0, weights=scales))
    expected = np.average(directions, axis=0, weights=[len(r) for r in rows])
    cosine = moved @ expected / np.linalg.norm(moved) / np.linalg.norm(expected)
    assert cosine > 0.99


def test_the_limits_of_the_others_are_fed_avg(lab):
    given = rounds(lab, 3)
    plain = trained(lab, FedAvg(), given)
    assert lab.same_bits(weights(trained(lab, MimeLite(momentum=0.0), given)), weights(plain))
    # A large ε leaves FedExP's step at 1
    assert lab.distance(weights(trained(lab, FedExp(epsilon=1e6), given)), weights(plain)) < 1e-6
    equal = trained(lab, FedAvg(client_weighting="uniform"), given)
    assert lab.distance(weights(trained(lab, QFedAvg(fairness=0.0), given)), weights(equal)) < 1e-5


def test_fed_dyn_ends_where_the_mean_gradient_is_zero(lab, by_hand):
    """Where many local steps take FedAvg elsewhere (Acar et al. 2021, section 2)."""
    examples, client = lab.examples(shape=(1, 1, 1), dtype=np.float32), LocalTraining(batch_size=20, local_epochs=5)
    given, hand, rows = rounds(lab, 60, 5, left_out=()), by_hand(examples), lab.partition().indices
    options = dict(examples=examples, client=client, client_optimizer=Sgd(learning_rate=0.3))
    norms = []
    for process in (FedAvg(client_weighting="uniform"), FedDyn(regularization=0.3)):
        w = [t.astype(np.float64) for t in weights(trained(lab, process, given, **options))]
        mean = [sum(tensors) / len(rows) for tensors in zip(*(hand.gradient(w, r) for r in rows))]
        norms.append(squared(mean) ** 0.5)
    assert norms[1] < 0.1 * norms[0]


@pytest.mark.slow
def test_a_round_of_clients_without_numbers_changes_nothing(lab):
    examples = lab.examples(dtype=np.float32)
    broken = type(examples)(np.full_like(examples.x, np.nan), examples.y, examples.num_classes)
    for process in PROCESSES.values():
        before = weights(lab.training(process, examples=broken))
        after = trained(lab, process, rounds(lab, 2), examples=broken)
        assert lab.same_bits(weights(after), before), process


@pytest.mark.parametrize("name", PROCESSES)
def test_combinations_that_mean_nothing_are_refused_before_data_is_read(name):
    process = PROCESSES[name]
    for options in (
        {"privacy": GaussianFixed(noise_multiplier=1.0, clip_norm=1.0)},
        {"client": DpSgd(batch_size=5, clip_norm=1.0, noise_multiplier=1.0)},
        {"client": LocalTraining(weight_noise=0.1)},
    ):
        with pytest.raises(ConfigError, match=rf"^process={name} (sends|keeps) .*use (privacy=none|client=standard)") as caught:
            rules.check(experiment(process=process, **options))
        assert "\n" not in str(caught.value)
    if name == "fed_dyn":
        with pytest.raises(ConfigError, match=r"^process=fed_dyn .*server_optimizer=sgd with learning rate 1"):
            rules.check(experiment(process=process, privacy=NoPrivacy(), server_optimizer=Sgd(learning_rate=0.5)))
    elif name != "fed_exp":  # any optimizer gives a norm
        with pytest.raises(ConfigError, match=rf"^process={name} .*client_optimizer=sgd"):
            rules.check(experiment(process=process, privacy=NoPrivacy(), client_optimizer=Adam(learning_rate=0.01)))
