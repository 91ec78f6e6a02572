"""What the server makes of clients' messages: their models in the clear, nonsense under masks and encryption."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fedlab.errors import FedlabError
from fedlab.secure import Ckks, Layout, Masked, Plain
from fedlab.studies.attacks.victims import Victim, clients_of

MODEL = [np.ones((300, 4), np.float32), np.full(4, 2, np.float32), np.full(3, 7, np.float32)]  # the last is not trained
NAMES = [f"user {i}" for i in range(9)]
CLIENTS = (2, 5, 7)


def message(client, weighted=True):
    """Two metrics, the update, times the weight where there is one, which follows."""
    rng, weight = np.random.default_rng(client), np.float32(client if weighted else 1)
    update = [(weight * rng.normal(0, 0.1, w.shape)).astype(np.float32) for w in MODEL[:2]]
    return [np.float32(3), np.zeros(4, np.float32), *update, *([weight] if weighted else [])]


def trained(client):
    rng = np.random.default_rng(client)
    return [w - rng.normal(0, 0.1, w.shape) for w in MODEL[:2]]


def view_of(spec, weighted=True):
    messages = [message(c, weighted) for c in CLIENTS]
    with spec.build(Layout.of(messages[0]), len(CLIENTS), num_rounds=1) as protocol:
        view = protocol.run_round(1, CLIENTS, messages).server_view
    return dataclasses.replace(view, model=tuple(MODEL))


def found(view, spec, most=9):
    return clients_of(view, spec, NAMES, 2, most, 0)


@pytest.mark.parametrize("weighted", [True, False])
def test_a_plain_record_gives_each_clients_model(weighted, tmp_path):
    spec = Plain(observe="last")
    view = view_of(spec, weighted)
    view.save(tmp_path / "round.npz")
    victims = found(type(view).load(tmp_path / "round.npz"), spec)
    assert [v.name for v in victims] == ["client user 2", "client user 5", "client user 7"]
    for victim, client in zip(victims, CLIENTS):
        assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(victim.weights, trained(client)))
        assert np.array_equal(victim.weights[2], MODEL[2]) and {w.dtype for w in victim.weights} == {np.dtype(np.float32)}


def test_of_many_clients_evenly_spaced_ones_are_taken():
    spec = Plain(observe="last")
    assert [v.name for v in found(view_of(spec), spec, most=2)] == ["client user 2", "client user 7"]


@pytest.mark.parametrize("spec", [Masked(observe="last"), Ckks(observe="last", num_workers=1)], ids=lambda s: s.name)
def test_a_protected_record_gives_nothing_like_it(spec):
    for victim, client in zip(found(view_of(spec), spec), CLIENTS):
        models = (victim.weights, trained(client))
        update, real = (np.concatenate([np.ravel(m - w) for m, w in zip(model, MODEL[:2])]) for model in models)
        assert len(update) == 1204 and np.std(update) > 0.1 and abs(np.corrcoef(update, real)[0, 1]) < 0.15  # 5 σ


def test_what_cannot_be_read_is_told():
    spec = Plain(observe="last")
    view = view_of(spec)
    with pytest.raises(FedlabError, match="does not say which model"):
        found(dataclasses.replace(view, model=()), spec)
    with pytest.raises(FedlabError, match=r"no plain update: .* needs aggregator=mean or robust"):
        found(dataclasses.replace(view, model=(MODEL[0][:7], *MODEL[1:])), spec)
    with pytest.raises(FedlabError, match="no client sent anything"):
        found(dataclasses.replace(view, received={}), spec)


def test_noise_is_drawn_for_a_name_and_spares_what_is_not_trained():
    victim = Victim("client 0", tuple(MODEL))
    one, two, other = victim.with_noise(0.1, 2, 0), victim.with_noise(0.1, 2, 0), victim.with_noise(0.1, 2, 1)
    assert np.array_equal(one.weights[0], two.weights[0]) and not np.array_equal(one.weights[0], other.weights[0])
    assert np.array_equal(one.weights[2], MODEL[2]) and one.noise == 0.1
    assert np.std(one.weights[0] - MODEL[0]) == pytest.approx(0.1, rel=0.1)
