"""FedBuff: its limits are FedAvg, three steps by hand in NumPy, engines agree, a resumed training is an uninterrupted one."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.aggregation import CoordinateMedian, Krum, Robust
from fedlab.algorithms import DpSgd, FedAvg, FedBuff, LocalOnly, LocalTraining
from fedlab.algorithms.optimizers import Exponential, Sgd
from fedlab.algorithms.split import Split
from fedlab.clock import Constant, HalfNormal, Trace
from fedlab.cohort import All, Buffered, Uniform
from fedlab.engine import SecureSumming, Tff
from fedlab.errors import ConfigError
from fedlab.privacy import GaussianFixed, NoPrivacy
from fedlab.run import rules
from fedlab.run.rounds import round_input
from fedlab.secure import Ckks, Masked, Plain
from tests.run.test_promises import experiment

RATE, SERVER, DECAY = 0.1, 0.7, 0.5
SECONDS = np.array([1.0, 2.0, 5.0, 0.6])
ASYNC = Buffered(concurrency=4, buffer_size=2, max_staleness=3)
CLIENT = LocalTraining(batch_size=5, local_epochs=2)


def rounds(lab, count, spec=ASYNC, seconds=SECONDS):
    sampler = spec.timed(seconds)
    cohorts = [sampler(len(lab.sizes), 0, r) for r in range(1, count + 1)]
    return [(cohort, round_input(lab.partition(), cohort, CLIENT.local_epochs, 0)) for cohort in cohorts]


def training(lab, process=None, **options):
    given = {"client": CLIENT, "client_optimizer": Sgd(learning_rate=RATE), "max_staleness": 3, **options}
    return lab.training(process or FedBuff(), **given)


def trained(lab, given, process=None, **options):
    trainer = training(lab, process, **options)
    outcomes = [trainer.next(*entry) for entry in given]
    return trainer, outcomes


def weights(trainer):
    return [np.asarray(w) for w in trainer.weights]


@pytest.mark.parametrize("weighting", ["sqrt", "none"])
@pytest.mark.parametrize("client_weighting", ["examples", "uniform"])
def test_steps_are_those_computed_by_hand(lab, by_hand, weighting, client_weighting):
    """Every client trains from the version, and with the learning rate, of the step at which it started."""
    given, examples = rounds(lab, 6), lab.examples()
    assert max(int(cohort.staleness.max()) for cohort, _ in given) >= 2  # something is stale
    process = FedBuff(staleness_weighting=weighting, client_weighting=client_weighting)
    options = dict(schedule=Exponential(decay_rate=DECAY), server_optimizer=Sgd(learning_rate=SERVER), examples=examples)
    hand, versions = by_hand(examples), [[w.astype(np.float64) for w in weights(training(lab, process, **options))]]
    for number, (cohort, entry) in enumerate(given):
        updates, factors = [], []
        for (rows, order), staleness in zip(lab.clients(entry), cohort.staleness):
            started = number - staleness
            delta, _ = hand.local_update(versions[started], rows, order, RATE * DECAY**started, 5)
            scale = 1 / np.sqrt(1 + staleness) if weighting == "sqrt" else 1.0
            updates.append([scale * d for d in delta])
            factors.append(len(rows) if client_weighting == "examples" else 1)
        mean = hand.mean(updates, factors)
        versions.append([w - SERVER * u for w, u in zip(versions[-1], mean)])
    found, _ = trained(lab, given, process, **options)
    assert lab.distance(weights(found), versions[-1]) < 5e-5


@pytest.mark.parametrize("max_staleness", [0, 3])
def test_without_staleness_it_is_fed_avg_to_the_bit(lab, max_staleness):
    everybody = Buffered(concurrency=4, buffer_size=4, max_staleness=max_staleness)
    given = rounds(lab, 4, everybody, np.ones(4))
    options = dict(max_staleness=max_staleness, server_optimizer=Sgd(learning_rate=1.0, momentum=0.5))
    buffered, outcomes = trained(lab, given, **options)
    plain, theirs = trained(lab, given, FedAvg(), **options)
    assert lab.same_bits(weights(buffered), weights(plain))
    assert [o.bytes_down for o in outcomes] == [o.bytes_down for o in theirs]  # one version of the model per client is counted
    assert [o.bytes_up for o in outcomes] == [o.bytes_up for o in theirs]
    assert all(o.metrics["staleness_mean"] == o.metrics["staleness_max"] == 0 for o in outcomes)


def test_engines_agree_and_a_resumed_training_is_an_uninterrupted_one(lab):
    given = rounds(lab, 6)
    whole, outcomes = trained(lab, given)
    reference, _ = trained(lab, given, engine=Tff())
    assert lab.distance(weights(whole), weights(reference)) < 1e-5
    assert lab.same_bits(weights(trained(lab, given)[0]), weights(whole))
    half, _ = trained(lab, given[:3])
    resumed = training(lab)
    resumed.restore([np.asarray(t) for t in half.state])
    for cohort, entry in given[3:]:
        resumed.next(cohort, entry)
    assert lab.same_bits(resumed.state, whole.state)
    assert [o.metrics["staleness_max"] for o in outcomes] == [int(cohort.staleness.max()) for cohort, _ in given]


@pytest.mark.slow
def test_ckks_sums_buffers_and_robust_aggregators_take_them(lab):
    given = rounds(lab, 3)
    plain, _ = trained(lab, given)
    encrypted, _ = trained(lab, given, summing=SecureSumming(Ckks(), 2, 3, 3, adds_noise=False))
    assert lab.distance(weights(encrypted), weights(plain)) < 1e-3
    for aggregator in (CoordinateMedian(), Krum(num_byzantine=0), Robust()):
        found, _ = trained(lab, given, aggregator=aggregator)
        reference, _ = trained(lab, given, aggregator=aggregator, engine=Tff())
        assert lab.distance(weights(found), weights(reference)) < 1e-5


def test_updates_without_numbers_change_nothing(lab):
    examples = lab.examples(dtype=np.float32)
    broken = type(examples)(np.full_like(examples.x, np.nan), examples.y, examples.num_classes)
    before = weights(training(lab, examples=broken))
    after, outcomes = trained(lab, rounds(lab, 4), examples=broken)
    assert lab.same_bits(weights(after), before) and [o.metrics["non_finite_clients"] for o in outcomes] == [2] * 4


@pytest.mark.parametrize(
    ("stages", "line"),
    [
        (
            {"privacy": GaussianFixed(noise_multiplier=1.0, clip_norm=1.0)},
            "process=fed_buff sends more updates from fast clients",
        ),
        ({"client": DpSgd()}, "process=fed_buff has no account of clients' noise"),
        ({"client": LocalTraining(weight_noise=0.1)}, "process=fed_buff has no account of clients' noise"),
        ({"secure": Masked()}, "process=fed_buff takes no secure=masked"),
        ({"secure": Plain(observe="all")}, "process=fed_buff cannot be observed"),
        ({"cohort": Uniform(clients_per_round=5)}, "process FedBuff takes updates as they arrive: use cohort=buffered"),
        ({"process": FedAvg()}, "process FedAvg needs those of one: use process=fed_buff"),
        ({"clock": None}, "cohort=buffered needs the clients' speeds"),
        ({"clock": Trace(path="/nowhere.csv")}, "clock.path=/nowhere.csv cannot be read"),
        ({"process": LocalOnly(), "cohort": All()}, "clock: in the rounds of process LocalOnly no server waits"),
        ({"process": Split(), "cohort": All()}, "clock: in the rounds of process Split no server waits"),
        ({"cohort": Buffered(concurrency=21, buffer_size=2)}, "cohort.concurrency is 21, but there are only 20 clients"),
    ],
)
def test_what_cannot_be_is_refused_by_name_before_data_is_read(stages, line):
    options = {"process": FedBuff(), "cohort": ASYNC, "clock": HalfNormal(), "privacy": NoPrivacy(), **stages}
    with pytest.raises(ConfigError, match=line.replace(".", r"\.")) as caught:
        rules.check(experiment(**{name: stage for name, stage in options.items() if stage is not None}))
    assert "\n" not in str(caught.value)
    rules.check(experiment(process=FedBuff(), cohort=ASYNC, clock=Constant(), privacy=NoPrivacy()))
