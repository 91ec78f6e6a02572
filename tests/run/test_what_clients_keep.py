"""What clients keep from round to round gets no noise: ε is about what they share, says so, and what they keep reaches nobody."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.algorithms import FedAvg, FedRep, LocalTraining
from fedlab.algorithms.optimizers import Sgd
from fedlab.cohort import All, Poisson, Uniform
from fedlab.data import Digits
from fedlab.models import Mlp
from fedlab.partition import Iid
from fedlab.privacy import GaussianFixed
from fedlab.run.privacy import PrivacyAccount, sampling_of
from fedlab.secure import Plain, ServerView
from tests.run.test_promises import CLIENTS, experiment

KEEPING, KEEPING_NOTHING = FedRep(), [FedRep(head=()), FedAvg()]


def account(process, cohort):
    one = experiment(process=process, cohort=cohort)
    return PrivacyAccount(one, one.partition(Digits().load(0).train, 0), num_weights=10)


def test_cohorts_of_a_fixed_size_are_not_amplified():
    uniform, everyone = Uniform(clients_per_round=CLIENTS // 4), All()
    kept = account(KEEPING, uniform)
    assert kept.spent(3).epsilon == account(KEEPING, everyone).spent(3).epsilon
    assert any("no amplification" in line and "clients keep heads" in line for line in kept.lines())
    for process in KEEPING_NOTHING:
        assert "fixed size" in sampling_of(experiment(process=process, cohort=uniform), CLIENTS).words


def test_poisson_cohorts_are():
    """Whether the others were chosen is independent of the user in question."""
    poisson = Poisson(sampling_rate=0.5)
    spent = [account(process, poisson).spent(3) for process in (KEEPING, *KEEPING_NOTHING)]
    assert spent[0] == spent[1] == spent[2]


@pytest.mark.parametrize("process", [KEEPING, *KEEPING_NOTHING], ids=["keeps", "no head", "fed_avg"])
def test_the_promise_says_that_it_is_about_what_is_shared(process):
    lines = account(process, Poisson(sampling_rate=0.5)).lines()
    assert any("ε covers the weights that clients share, and neither heads nor" in line for line in lines) == bool(process.keeps)


SMALL = dict(
    num_rounds=8,
    eval_every=1,
    process=FedRep(head_epochs=1),
    model=Mlp(hidden=(4,)),
    cohort=All(),
    partition=Iid(num_clients=2),
    client=LocalTraining(batch_size=1, max_local_steps=1),
    privacy=GaussianFixed(noise_multiplier=1.0, delta=0.1),
)


def test_no_head_ends_no_private_run(run_of, npz, tmp_path):
    """One example in three has pixels of up to 1e38. A head that has met one is finite, and predictions by it are not; a body
    that has met none is an update like others."""
    loaded = dict(np.load(npz.path))
    x = loaded["x"] / np.float32(255)
    x[::3] *= np.float32(1e38)
    np.savez(tmp_path / "huge.npz", **{**loaded, "x": x.astype(np.float32), "x_test": loaded["x_test"].astype(np.float32)})
    data = npz.model_copy(update={"path": str(tmp_path / "huge.npz")})
    with np.errstate(all="ignore"):
        records = run_of(**{**SMALL, "data": data, "client_optimizer": Sgd(learning_rate=1.0)}).records
    assert len(records) == 8
    assert not all("test_loss" in r for r in records)  # such a head there was
    assert None not in [value for r in records for value in r.values()]


def test_no_head_is_in_the_view_of_the_server(run_of):
    run = run_of(**{**SMALL, "num_rounds": 2, "secure": Plain(observe="all")})
    view = ServerView.load(run.folder.observed / "round_000002.npz")
    assert [w.shape for w in view.model] == [(36, 4), (4,)]  # the body


def test_the_model_of_a_single_client_is_saved_in_its_own_order(run_of):
    """Its head comes before its body here, and model.keras gives the figures of the summary."""
    run = run_of(
        num_rounds=2,
        process=FedRep(head=("dense",), head_epochs=1),
        model=Mlp(hidden=(6,)),
        partition=Iid(num_clients=1),
        cohort=All(),
    )
    test = run.test
    predicted = run.model.predict(test.x.astype(np.float32) / 255, verbose=0).argmax(1)
    assert np.mean(predicted == test.y) == pytest.approx(run.summary["test_accuracy"])
