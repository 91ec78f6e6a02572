"""Whole runs of split learning: FedAvg's weights where they must be, resume, records, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.aggregation import CoordinateMedian
from fedlab.algorithms import DpSgd, FedAvg, LocalTraining
from fedlab.algorithms.optimizers import Adam, Exponential, Sgd
from fedlab.algorithms.split import Split
from fedlab.cohort import All, Uniform
from fedlab.engine import Tff
from fedlab.errors import ConfigError
from fedlab.models import Mlp
from fedlab.partition import Iid, Single
from fedlab.privacy import GaussianFixed
from fedlab.run.checkpointing import Checkpointing
from fedlab.secure import Masked

SMALL = dict(num_rounds=3, model=Mlp(hidden=(8, 6)), cohort=All(), partition=Single())
TUNED = dict(SMALL, client_optimizer=Sgd(learning_rate=0.05, momentum=0.9), client_schedule=Exponential(decay_rate=0.5))


def comparable(run):
    return [{k: v for k, v in record.items() if not k.endswith("seconds")} for record in run.records]


def assert_near(a, b, atol=3e-6):
    for x, y in zip(a.model.get_weights(), b.model.get_weights(), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=atol)


@pytest.fixture(scope="module")
def single(run_of):
    return run_of(process=Split(), **TUNED)


@pytest.mark.parametrize("labels", ["server", pytest.param("client", marks=pytest.mark.slow)])
def test_one_client_is_fed_avg_with_one_client(run_of, single, labels):
    split = single if labels == "server" else run_of(process=Split(labels=labels), **TUNED)
    whole = run_of(process=FedAvg(), **TUNED)
    assert_near(split, whole)
    for mine, theirs in zip(split.records, whole.records):
        for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "train_num_examples"):
            assert mine[name] == pytest.approx(theirs[name], abs=1e-5)


@pytest.mark.parametrize("weighting", ["auto", pytest.param("uniform", marks=pytest.mark.slow)])
def test_in_parallel_it_is_fed_avg(run_of, weighting):
    options = dict(SMALL, partition=Iid(num_clients=3), cohort=Uniform(clients_per_round=2), client=LocalTraining(batch_size=7))
    split = run_of(process=Split(order="parallel", client_weighting=weighting), **options)
    assert_near(split, run_of(process=FedAvg(client_weighting=weighting), **options))


def test_in_parallel_with_one_client_is_in_sequence(run_of, lab, single):
    parallel = run_of(process=Split(order="parallel"), **TUNED)
    assert lab.same_bits(parallel.model.get_weights(), single.model.get_weights())


def test_how_weights_are_handed_on_changes_bytes_only(run_of, lab):
    options = dict(SMALL, partition=Iid(num_clients=3))
    server, peer = (run_of(process=Split(handover=handover), **options) for handover in ("server", "peer"))
    assert lab.same_bits(server.model.get_weights(), peer.model.get_weights())
    lower = 36 * 8 + 8 + 8 * 6 + 6
    message = 3 + (2 + 8) * 2 + (2 + 4) * 2 + lower * 4
    last = server.records[-1], peer.records[-1]
    assert last[0]["bytes_up_weights"] == last[0]["bytes_down_weights"] == 3 * message
    assert last[1]["bytes_across_weights"] == 3 * message and "bytes_up_weights" not in last[1]
    assert peer.records[0]["bytes_down_weights"] == message  # the first client of all gets them from somewhere
    assert last[0]["bytes_up"] == sum(v for k, v in last[0].items() if k.startswith("bytes_up_"))


@pytest.mark.parametrize(
    "process",
    [Split(handover="peer", labels="client"), pytest.param(Split(order="parallel"), marks=pytest.mark.slow)],
    ids=["turns", "parallel"],
)
def test_a_resumed_run_equals_an_uninterrupted_one(run_of, lab, killed, process):
    options = dict(
        SMALL,
        process=process,
        model=Mlp(hidden=(8, 6), dropout=0.3),
        partition=Iid(num_clients=4),
        cohort=Uniform(clients_per_round=2, dropout_rate=0.2),
        client_optimizer=Adam(learning_rate=0.01),
        eval_every=3,
    )
    options.update(num_rounds=4, checkpoint=Checkpointing(every=1, keep=9))
    whole = run_of(**options)
    resumed = run_of(folder=killed(whole, 2), goes_on=True, **options)
    assert comparable(whole) == comparable(resumed)
    assert lab.same_bits(whole.model.get_weights(), resumed.model.get_weights())
    assert 0 < whole.summary["leakage_distance_correlation"] <= 1


@pytest.mark.slow
def test_split_stands_beside_fed_avg_in_one_run(run_of):
    run = run_of(**{**SMALL, "partition": Iid(num_clients=2)}, arms={"split": {"process": Split()}, "fed_avg": {}})
    assert {"split/test_accuracy", "fed_avg/test_accuracy", "split/leakage_distance_correlation"} <= set(run.summary)
    assert run.folder.arm("split").model.is_file()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (dict(aggregator=CoordinateMedian()), "aggregator=mean"),
        (dict(privacy=GaussianFixed(noise_multiplier=1.0)), "privacy=none"),
        (dict(secure=Masked()), "secure=plain"),
        (dict(engine=Tff()), "engine=compiled"),
        (dict(server_optimizer=Adam(learning_rate=0.1)), "server_optimizer"),
        (dict(client=DpSgd()), "client=standard"),
    ],
    ids=lambda o: next(iter(o)) if isinstance(o, dict) else "",
)
def test_what_has_no_meaning_here_is_refused_before_data_is_read(run_of, options, told):
    with pytest.raises(ConfigError, match=told) as error:
        run_of(process=Split(), **options)
    assert "\n" not in str(error.value)
