"""Algorithms whose clients keep something: SCAFFOLD and FedRep by hand, on every engine, and under masks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fedlab.algorithms import Apfl, Ditto, FedAvg, FedPer, FedRep, Ifca, LocalOnly, LocalTraining, PFedMe, Scaffold
from fedlab.algorithms.optimizers import Adam, Cosine, Exponential, Sgd
from fedlab.engine import SecureSumming, Tff
from fedlab.errors import ConfigError
from fedlab.models import Mlp
from fedlab.privacy import NoPrivacy
from fedlab.secure import Masked, Plain
from fedlab.studies.attacks.victims import clients_of
from fedlab.types import Cohort

FLOAT32 = 5e-6  # float32 against float64, see test_local_training.py
RATE = 0.1
KEEPERS = {
    "scaffold": Scaffold(),
    "scaffold_gradient": Scaffold(variate="gradient"),
    "fed_rep": FedRep(head=("dense_1",), head_epochs=2),
    "fed_per": FedPer(),
    "lg_fed_avg": FedPer(kept="body"),
    "ditto": Ditto(personal_strength=0.5, personal_epochs=2),
    "apfl": Apfl(mixture=0.3),
    "apfl_adaptive": Apfl(adaptive=True),
    "ifca": Ifca(num_clusters=3),
    "p_fed_me": PFedMe(personal_strength=2.0, personal_steps=3, local_learning_rate=0.2),
    "kept_optimizer": FedAvg(keep_optimizer=True),
}
TWO_LAYERS = dict(model=Mlp(hidden=(6,)))


def options_of(name):
    """Two layers, and an optimizer with a state where the algorithm keeps it."""
    return {**TWO_LAYERS, **(dict(client_optimizer=Adam(learning_rate=0.01)) if name == "kept_optimizer" else {})}


class Frozen(Scaffold):
    """SCAFFOLD whose variates stay at zero."""

    def renewed(self, old, new):
        return old


def rounds(lab, count, epochs=1, left_out=()):
    """Cohorts and inputs; in rounds after the first, the clients `left_out` take no part."""
    found = []
    for number in range(1, count + 1):
        clients = [c for c in range(len(lab.sizes)) if number == 1 or c not in left_out]
        given = lab.inputs(number, epochs, clients=clients)[-1]
        found.append((Cohort(number, np.array(clients), np.zeros(0, np.int64)), given))
    return found


def weights_after(lab, process, given, **options):
    trainer = lab.training(process, **options)
    found = []
    for cohort, round_input in given:
        trainer.next(cohort, round_input)
        models = trainer.models or [trainer.weights]
        found.append([np.asarray(w) for model in models for w in model])
    return found


@pytest.mark.sampled
@pytest.mark.parametrize("client", [LocalTraining(batch_size=5, local_epochs=2), LocalTraining(batch_size=5, max_local_steps=3)])
def test_scaffold_without_variates_is_fed_avg(lab, client):
    given = rounds(lab, 3, client.local_epochs)
    ours, plain = (weights_after(lab, process, given, client=client) for process in (Frozen(), FedAvg()))
    assert all(map(lab.same_bits, ours, plain))


def test_fed_rep_without_a_head_is_fed_avg(lab):
    client = LocalTraining(batch_size=5, local_epochs=2)
    given = rounds(lab, 3, client.local_epochs)
    ours, plain = (weights_after(lab, p, given, client=client, **TWO_LAYERS) for p in (FedRep(head=()), FedAvg()))
    assert all(lab.same_bits(models, model * len(lab.sizes)) for models, model in zip(ours, plain))


@pytest.mark.sampled
@pytest.mark.parametrize("weighting", ["examples", "uniform"])
@pytest.mark.parametrize("variate", ["difference", "gradient"])
def test_scaffold_is_algorithm_1_of_karimireddy(lab, by_hand, variate, weighting):
    examples, client, given = lab.examples(), LocalTraining(batch_size=5, local_epochs=2), rounds(lab, 3, 2, left_out=(1,))
    decay = Exponential(decay_rate=0.5)
    options = dict(
        client=client, client_optimizer=Sgd(learning_rate=RATE), schedule=decay, server_optimizer=Sgd(learning_rate=0.7)
    )
    found = weights_after(lab, Scaffold(variate=variate, client_weighting=weighting), given, examples=examples, **options)
    hand, x = by_hand(examples), [w.astype(np.float64) for w in lab.parts(examples, _perceptron()).model.initial_weights[0]]
    common = [np.zeros_like(w) for w in x]
    variates = [[np.zeros_like(w) for w in x] for _ in lab.sizes]
    for number, (cohort, round_input) in enumerate(given):
        rate, updates, changes, sizes = RATE * 0.5**number, [], [], []
        for c, (rows, order) in zip(cohort.clients, lab.clients(round_input)):
            y = x
            batches = [rows[epoch[i : i + 5]] for epoch in order for i in range(0, len(rows), 5)]
            for batch in batches:
                step = zip(hand.gradient(y, batch), variates[c], common)
                y = [w - rate * (g - mine + all_of_us) for w, (g, mine, all_of_us) in zip(y, step)]
            if variate == "gradient":
                new = hand.gradient(x, rows)
            else:
                new = [m - a + (w0 - w) / (len(batches) * rate) for m, a, w0, w in zip(variates[c], common, x, y)]
            updates.append([w0 - w for w0, w in zip(x, y)])
            changes.append([n - m for n, m in zip(new, variates[c])])
            sizes.append(len(rows) if weighting == "examples" else 1)
            variates[c] = new
        x = [w - 0.7 * u for w, u in zip(x, hand.mean(updates, sizes))]
        everybody = sum(lab.sizes) if weighting == "examples" else len(lab.sizes)
        common = [c + sum(s * d for s, d in zip(sizes, each)) / everybody for c, each in zip(common, zip(*changes))]
        assert lab.distance(found[number], x) < 10 * FLOAT32  # variates divide by K η, and so multiply what rounding left


@pytest.mark.sampled
@pytest.mark.parametrize("weighting", ["examples", "uniform"])
def test_scaffold_ends_where_the_weighted_gradient_is_zero(lab, by_hand, weighting):
    """Where many local steps take FedAvg elsewhere (Karimireddy et al. 2020, section 3), and whatever clients count for."""
    examples, client = lab.examples(shape=(1, 1, 1), dtype=np.float32), LocalTraining(batch_size=20, local_epochs=5)
    given, hand, rows = rounds(lab, 60, 5), by_hand(examples), lab.partition().indices
    options = dict(examples=examples, client=client, client_optimizer=Sgd(learning_rate=1.0))
    norms = []
    for kind in (FedAvg, Scaffold):
        weights = weights_after(lab, kind(client_weighting=weighting), given, **options)[-1]
        each = [hand.gradient([w.astype(np.float64) for w in weights], r) for r in rows]
        mean = hand.mean(each, lab.sizes if weighting == "examples" else [1] * len(rows))
        norms.append(np.sqrt(sum(np.sum(g**2) for g in mean)))
    assert norms[1] < 1e-4 < 5e-3 < norms[0]  # 2e-9 and at least 9e-3 in float64


@pytest.mark.sampled
@pytest.mark.parametrize("weighting", ["examples", "uniform"])
def test_an_attacker_finds_the_updates_of_scaffold_among_what_clients_send(lab, weighting):
    protocol = SecureSumming(Plain(observe="last"), len(lab.sizes), 3, 1, adds_noise=False)
    trainer = lab.training(Scaffold(client_weighting=weighting), summing=protocol)
    before = tuple(np.asarray(w) for w in trainer.weights)
    trainer.next(*rounds(lab, 1)[0])
    view = dataclasses.replace(trainer.observed, model=before)
    found = clients_of(view, protocol.spec, [str(c) for c in range(len(lab.sizes))], len(before), len(lab.sizes), 3)
    weights = lab.sizes if weighting == "examples" else None
    mean = [np.average(tensors, axis=0, weights=weights) for tensors in zip(*(victim.weights for victim in found))]
    assert lab.distance(mean, [np.asarray(w) for w in trainer.weights]) < 1e-5


def test_a_learning_rate_that_has_come_to_zero_leaves_variates_as_they_are(lab):
    trainer = lab.training(Scaffold(), schedule=Cosine(decay_rounds=1))
    (first, second) = rounds(lab, 2)
    trainer.next(*first)
    before = [np.array(a) for a in trainer.kept_by(2)]
    assert trainer.next(*second).metrics["non_finite_clients"] == 0
    assert lab.same_bits(before, trainer.kept_by(2)) and any(np.any(a) for a in before)


def test_fed_rep_sends_the_body_and_each_client_trains_its_own_head(lab):
    """A head is as it was for clients that took no part; bodies are one; what is sent has the size of a body."""
    examples, client = lab.examples(), LocalTraining(batch_size=5)
    process = KEEPERS["fed_rep"]
    trainer = lab.training(process, examples=examples, client=client, **TWO_LAYERS)
    before = [[np.array(w) for w in model] for model in trainer.models]
    (cohort, given) = rounds(lab, 2, process.epochs(client), left_out=(0, 2))[1]
    outcome = trainer.next(cohort, given)
    after = trainer.models
    for c in range(len(lab.sizes)):
        body_moved, head_moved = (not lab.same_bits(before[c][s], after[c][s]) for s in (slice(0, 2), slice(2, 4)))
        assert body_moved and head_moved == (c not in (0, 2))
        assert lab.same_bits(after[c][:2], after[0][:2])
    body = sum(w.nbytes for w in before[0][:2])
    assert 0 < outcome.bytes_up / len(cohort.clients) - body < 100  # beside it a weight, and metrics


@pytest.mark.sampled
@pytest.mark.parametrize("name", KEEPERS)
def test_engines_agree(lab, name):
    process, options = KEEPERS[name], options_of(name)
    given = rounds(lab, 3, process.epochs(LocalTraining()), left_out=(1, 3))
    compiled, stock = (weights_after(lab, process, given, engine=engine, **options) for engine in (None, Tff()))
    for ours, theirs in zip(compiled, stock):
        assert lab.distance(ours, theirs) < 1e-5


@pytest.mark.sampled
@pytest.mark.parametrize("name", KEEPERS)
def test_no_protocol_gets_what_clients_keep(lab, name):
    """Masked sums are those of plain ones to their rounding, and the server sees numbers as many as are sent."""
    process, options = KEEPERS[name], options_of(name)
    given = rounds(lab, 3, process.epochs(LocalTraining()), left_out=(1,))
    protocol = SecureSumming(Masked(observe="all"), len(lab.sizes), 3, 3, adds_noise=False)
    plain, masked = lab.training(process, **options), lab.training(process, summing=protocol, **options)
    for cohort, round_input in given:
        sent = plain.next(cohort, round_input).bytes_up / len(cohort.clients)
        masked.next(cohort, round_input)
        assert lab.distance([np.asarray(w) for w in masked.weights], [np.asarray(w) for w in plain.weights]) < 1e-6
        received = next(iter(masked.observed.received.values()))
        masked_bytes = max(np.asarray(value).nbytes for value in received.values())
        assert 0 <= masked_bytes - 8 * sent / 4 <= 16, "64 bits for each float that is sent, and none for what is kept"


@pytest.mark.sampled
@pytest.mark.parametrize("name", KEEPERS)
def test_a_state_is_taken_up_again_and_one_of_another_model_is_not(lab, name):
    process, options = KEEPERS[name], options_of(name)
    given = rounds(lab, 4, process.epochs(LocalTraining()), left_out=(1,))
    whole, first, second = (lab.training(process, **options) for _ in range(3))
    for cohort, round_input in given[:2]:
        first.next(cohort, round_input)
    state = first.state  # of two rounds: what comes later must not change it
    first.next(*given[2])
    second.restore([np.asarray(t) for t in state])
    for cohort, round_input in given:
        whole.next(cohort, round_input)
    for cohort, round_input in given[2:]:
        second.next(cohort, round_input)
    assert lab.same_bits(whole.weights, second.weights) and lab.same_bits(whole.hashed, second.hashed)
    if name == "fed_rep":  # clients' heads count in the hash of a round
        first.restore([*(np.asarray(t) for t in state[:-1]), np.asarray(state[-1]) + 1])
        changed = first.hashed
        first.restore([np.asarray(t) for t in state])
        assert lab.same_bits(changed[:-1], first.hashed[:-1]) and not lab.same_bits(changed[-1:], first.hashed[-1:])
    assert lab.same_bits([np.asarray(t) for t in whole.state], [np.asarray(t) for t in second.state])
    other = lab.training(process, model=Mlp(hidden=(5,)))
    for wrong in ([np.asarray(t) for t in state], [np.asarray(t) for t in state][:2], []):
        with pytest.raises(Exception, match="belongs to another model"):
            other.restore(wrong)


def test_a_client_that_sends_no_number_keeps_what_it_had(lab):
    examples = lab.examples(dtype=np.float32)
    poisoned = lab.partition().indices[2]
    trainer = lab.training(Scaffold(), examples=examples)
    given = rounds(lab, 2)
    trainer.next(*given[0])
    before = [np.array(a) for a in trainer.kept_by(2)]
    assert any(np.any(a) for a in before)
    broken = examples.x.copy()
    broken[poisoned] = np.nan
    other = lab.training(Scaffold(), examples=type(examples)(broken, examples.y, examples.num_classes))
    other.restore([np.asarray(t) for t in trainer.state])
    outcome = other.next(*given[1])
    assert outcome.metrics["non_finite_clients"] == 1
    assert lab.same_bits(other.kept_by(2), before)
    assert all(np.isfinite(np.asarray(t)).all() for t in other.state)


@pytest.mark.parametrize(
    ("process", "told"),
    [
        (FedRep(head=("dense_7",)), r"process\.head=dense_7 is no layer with weights: dense, dense_1\. Did you mean"),
        (FedPer(head=(), kept="body"), r"process\.head=\[\] with process\.kept=body leaves no layer for clients to share"),
        (FedRep(head=("dense", "dense_1")), "leaves no layer for clients to share: use process=local_only"),
    ],
)
def test_heads_that_cannot_be(lab, process, told):
    with pytest.raises(ConfigError, match=told):
        lab.training(process, **TWO_LAYERS)


def test_fed_per_without_a_head_is_fed_avg(lab):
    client = LocalTraining(batch_size=5, local_epochs=2)
    given = rounds(lab, 3, client.local_epochs)
    ours, plain = (weights_after(lab, p, given, client=client, **TWO_LAYERS) for p in (FedPer(head=()), FedAvg()))
    assert all(lab.same_bits(models, model * len(lab.sizes)) for models, model in zip(ours, plain))


@pytest.mark.sampled
@pytest.mark.parametrize("kept", ["head", "body"])
def test_clients_keep_one_part_and_share_the_mean_of_the_other(lab, kept):
    """Everybody trains all layers from the same weights, so a client's own part is that of FedAvg with this client alone."""
    client, (first, *_) = LocalTraining(batch_size=5), rounds(lab, 1)
    trainer = lab.training(FedPer(kept=kept), client=client, **TWO_LAYERS)
    start = [np.array(w) for w in trainer.models[0]]
    trainer.next(*first)
    own, shared = (slice(2, 4), slice(0, 2)) if kept == "head" else (slice(0, 2), slice(2, 4))
    alone = []
    for c in range(len(lab.sizes)):
        training = lab.training(FedAvg(), client=client, **TWO_LAYERS)
        training.next(Cohort(1, np.array([c]), np.zeros(0, np.int64)), lab.inputs(1, 1, clients=[c])[0])
        alone.append([np.asarray(w) for w in training.weights])
        assert lab.distance([np.asarray(w) for w in trainer.models[c][own]], alone[c][own]) < FLOAT32
    mean = [np.average(tensors, axis=0, weights=lab.sizes) for tensors in zip(*(model[shared] for model in alone))]
    assert lab.distance([np.asarray(w) for w in trainer.models[0][shared]], mean) < FLOAT32
    assert not lab.same_bits(start[shared], [np.asarray(w) for w in trainer.models[0][shared]])


def test_ditto_is_algorithm_1_of_li(lab, by_hand):
    """The global model is that of FedAvg; each own model is pulled to the one that its client received."""
    examples, client = lab.examples(), LocalTraining(batch_size=5, local_epochs=2)
    process = Ditto(personal_strength=0.5, personal_epochs=3)
    given = rounds(lab, 3, process.epochs(client), left_out=(1,))
    options = dict(examples=examples, client=client, client_optimizer=Sgd(learning_rate=RATE))
    found = weights_after(lab, process, given, **options)
    hand, x = by_hand(examples), [w.astype(np.float64) for w in lab.parts(examples, _perceptron()).model.initial_weights[0]]
    own = [x] * len(lab.sizes)
    for number, (cohort, round_input) in enumerate(given):
        updates, sizes = [], []
        for c, (rows, order) in zip(cohort.clients, lab.clients(round_input)):
            updates.append(hand.local_update(x, rows, order[:2], RATE, 5)[0])
            sizes.append(len(rows))
            for batch in (rows[epoch[i : i + 5]] for epoch in order[2:] for i in range(0, len(rows), 5)):
                gradient = hand.gradient(own[c], batch)
                own[c] = [v - RATE * (g + 0.5 * (v - w)) for v, g, w in zip(own[c], gradient, x)]
        x = [w - u for w, u in zip(x, hand.mean(updates, sizes))]
        assert lab.distance(found[number], [w for model in own for w in model]) < FLOAT32


def test_the_global_model_of_ditto_is_that_of_fed_avg_and_without_a_term_clients_train_alone(lab):
    client = LocalTraining(batch_size=5, local_epochs=2)
    process = Ditto(personal_strength=0.0, personal_epochs=2)
    given = rounds(lab, 3, process.epochs(client))
    ditto = lab.training(process, client=client)
    plain, alone = lab.training(FedAvg(), client=client), lab.training(LocalOnly(), client=client)
    for cohort, round_input in given:
        ditto.next(cohort, round_input)
        halves = (round_input.order[:2], round_input.order[2:])
        plain.next(cohort, dataclasses.replace(round_input, order=halves[0]))
        alone.next(cohort, dataclasses.replace(round_input, order=halves[1]))
    assert lab.same_bits(ditto.weights, plain.weights)
    for ours, theirs in zip(ditto.models, alone.models):
        assert lab.distance([np.asarray(w) for w in ours], [np.asarray(w) for w in theirs]) < FLOAT32


def test_scaffold_refuses_optimizers_that_it_would_take_for_sgd():
    class Stages:
        client, privacy, why_uniform = LocalTraining(), NoPrivacy(), None
        client_optimizer = Adam(learning_rate=0.1)

    with pytest.raises(ConfigError, match="use client_optimizer=sgd with momentum 0"):
        Scaffold().check(Stages())


def _perceptron():
    from fedlab.models import Perceptron

    return Perceptron()


def test_a_training_asks_once_what_clients_keep(lab, monkeypatch):
    asked, keeping = [], Scaffold.keeping
    monkeypatch.setattr(Scaffold, "keeping", lambda self, parts: asked.append(parts) or keeping(self, parts))
    lab.training(Scaffold())
    assert len(asked) == 1
