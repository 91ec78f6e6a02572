"""Every kind of training that TFF's runtime accepts ends in the weights of the compiled engine; every other is refused by name.

The grid: algorithm × noise × aggregator × cohorts. Refusals are tried for all of it. A fixed part of it is trained, which
contains every pair of choices that can be trained together.

Both engines train on the same noise: a tree's follows from the secret, a GAN's is replaced by a table, and the other mechanisms
clip and add noise of multiplier 0. `test_the_noise_of_tffs_runtime_has_the_deviation_that_is_accounted` has their noise.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from fedlab.aggregation import Compressed, CoordinateMedian, Krum, Mean, Robust
from fedlab.algorithms import (
    Apfl,
    Ditto,
    DpSgd,
    FedAvg,
    FedBn,
    FedBuff,
    FedDyn,
    FedExp,
    FedNova,
    FedPer,
    FedProx,
    FedRep,
    FedSgd,
    FineTune,
    Gan,
    Ifca,
    LocalOnly,
    LocalTraining,
    MimeLite,
    PFedMe,
    QFedAvg,
    Scaffold,
)
from fedlab.algorithms.optimizers import Constant, Sgd
from fedlab.clock import HalfNormal, NoClock
from fedlab.cohort import All, Buffered, Poisson
from fedlab.engine import Compiled, Tff
from fedlab.errors import ConfigError
from fedlab.evaluation import Evaluation, GanEvaluation
from fedlab.models import Gan as Networks
from fedlab.models import Mlp, Perceptron, ResNet
from fedlab.models.adversarial import GanModel
from fedlab.partition import Quantity
from fedlab.privacy import GaussianAdaptive, GaussianFixed, Tree
from fedlab.randomness import Secret
from fedlab.run import inputs, rules
from fedlab.run.experiment import Experiment
from fedlab.run.training import Training

NUM_CLIENTS, NUM_ROUNDS, BATCH, NOISE_DIMENSION = 5, 3, 5, 4
AGREEMENT = 1e-5  # |a − b| / |b| of each tensor, as in tests/engine/test_engines_agree.py
NETWORKS = Networks(
    noise_dimension=NOISE_DIMENSION,
    generator_hidden=(),
    generator_filters=(4, 3),
    discriminator_filters=(4,),
    discriminator_hidden=(),
    discriminator_normalization="none",
)
NORMALIZED = ResNet(blocks=(1,), filters=(2,), normalization="batch")
PROCESSES: dict[str, Any] = {
    "fed_avg": FedAvg(),
    "fed_buff": FedBuff(),
    "fed_prox": FedProx(proximal_strength=0.5),
    "fed_sgd": FedSgd(),
    "fed_nova": FedNova(),
    "fed_exp": FedExp(),
    "fed_dyn": FedDyn(),
    "q_fed_avg": QFedAvg(),
    "mime_lite": MimeLite(),
    "scaffold": Scaffold(),
    "fed_rep": FedRep(head_epochs=2),
    "fed_per": FedPer(),
    "fed_bn": FedBn(),
    "ditto": Ditto(),
    "apfl": Apfl(adaptive=True),
    "p_fed_me": PFedMe(personal_steps=2),
    "ifca": Ifca(),
    "fine_tune": FineTune(),
    "local_only": LocalOnly(),
    "gan": Gan(generator_steps=2, generator_batch_size=7),
}
NOISES: dict[str, dict[str, Any]] = {
    "none": {},
    "gaussian_fixed": {"privacy": GaussianFixed(noise_multiplier=0.0, clip_norm=0.05)},
    "gaussian_adaptive": {"privacy": GaussianAdaptive(noise_multiplier=0.0, initial_clip_norm=0.05)},
    "tree": {"privacy": Tree(noise_multiplier=0.5, clip_norm=0.05, restart_every=2)},
    "dp_sgd": {"client": DpSgd(batch_size=BATCH, clip_norm=0.5, noise_multiplier=0.0, batches="shuffled")},
}
AGGREGATORS: dict[str, Any] = {
    "mean": Mean(),
    "compressed": Compressed(),  # tensors of fewer than 20,000 elements are not rounded, and pass through the same process
    "robust": Robust(),
    "coordinate_median": CoordinateMedian(),
    "krum": Krum(num_byzantine=0),
}
COHORTS: dict[str, Any] = {"all": All(), "poisson": Poisson(sampling_rate=0.5)}
BUFFERED = {"all": Buffered(concurrency=5, buffer_size=5), "poisson": Buffered(concurrency=4, buffer_size=3)}  # for fed_buff
AXES = (PROCESSES, NOISES, AGGREGATORS, COHORTS)
GRID = list(itertools.product(*AXES))


def options(point: tuple[str, ...]) -> dict[str, Any]:
    process, noise, aggregator, cohort = (axis[name] for axis, name in zip(AXES, point))
    is_gan, buffers = isinstance(process, Gan), isinstance(process, FedBuff)
    return {
        "seed": 3,
        "num_rounds": NUM_ROUNDS,
        "partition": Quantity(num_clients=NUM_CLIENTS, sigma=1.0),
        "cohort": BUFFERED[point[3]] if buffers else cohort,
        "clock": HalfNormal() if buffers else NoClock(),
        "model": NETWORKS if is_gan else NORMALIZED if isinstance(process, FedBn) else Mlp(hidden=(6,)),
        "process": process,
        "client": LocalTraining(batch_size=BATCH),
        "client_optimizer": Sgd(learning_rate=0.1),
        "client_schedule": Constant(),
        "server_optimizer": Sgd(learning_rate=1.0),
        "aggregator": aggregator,
        "evaluation": GanEvaluation(num_images=4, grid_size=1) if is_gan else Evaluation(per_client=False),
        **noise,
    }


def refusal(point: tuple[str, ...]) -> str | None:
    """What must be said of a point of the grid that cannot be trained: words of the reason; None if it can."""
    process, noise, aggregator, _ = point
    mechanism = noise in ("gaussian_fixed", "gaussian_adaptive", "tree")
    if process == "local_only" and (mechanism or aggregator != "mean"):
        return "process=local_only sends no updates to be summed: it goes with "
    if process in ("fed_nova", "fed_exp", "q_fed_avg") and aggregator != "mean":
        return f"process={process} needs the mean of"
    if process == "fed_buff" and (mechanism or noise == "dp_sgd"):
        return f"process=fed_buff {'sends more updates' if mechanism else 'has no account of'}"
    if process in ("fed_nova", "fed_exp", "q_fed_avg", "mime_lite") and (mechanism or noise == "dp_sgd"):
        return f"process={process} sends "
    if process == "fed_dyn" and (mechanism or noise == "dp_sgd"):
        return "process=fed_dyn sends the way" if mechanism else "process=fed_dyn keeps plain ways"
    if process == "scaffold" and mechanism:
        return "process=scaffold sends changes of variates"
    if process == "ifca" and mechanism:
        return "process=ifca divides the sum of each model's updates by the share of its clients"
    if process == "ifca" and aggregator != "mean":
        return "process=ifca sends zeros for the models that a client did not choose"
    if noise == "dp_sgd" and process == "ifca":
        return "process=ifca chooses a model without noise: use client=standard"
    if noise == "dp_sgd" and process == "scaffold":
        return "process=scaffold corrects plain steps: use client=standard"
    if noise == "dp_sgd" and process == "fine_tune":
        return "process=fine_tune fine-tunes a client's model without noise: use client=standard"
    if noise == "dp_sgd" and process == "fed_sgd":
        return "process=fed_sgd trains nothing on clients: use client=standard"
    if noise == "dp_sgd" and process == "fed_rep":
        return "process=fed_rep trains a client's head without noise: use client=standard"
    if noise == "dp_sgd" and process == "fed_per":
        return "process=fed_per trains the layers that a client keeps without noise: use client=standard"
    if noise == "dp_sgd" and process == "fed_bn":
        return "process=fed_bn trains what a client keeps without noise: use client=standard"
    if noise == "dp_sgd" and process in ("ditto", "apfl", "p_fed_me"):
        return f"process={process} trains a client's own model without noise: use client=standard"
    if noise == "dp_sgd" and process == "gan":
        return "process=gan protects users, not examples: use client=standard"
    if mechanism and aggregator != "mean":
        return "which only aggregator=mean computes"
    return None


def covering() -> list[tuple[str, ...]]:
    """Greedily chosen points that can be trained, so that every pair of choices of any of them is in one of those returned."""
    trained = [point for point in GRID if refusal(point) is None]

    def pairs(point: tuple[str, ...]) -> set[tuple]:
        return set(itertools.combinations(enumerate(point), 2))

    left, chosen = set().union(*map(pairs, trained)), []
    while left:
        chosen.append(max(trained, key=lambda point: len(pairs(point) & left)))  # the first of several
        left -= pairs(chosen[-1])
    return chosen


@pytest.mark.parametrize("engine", [Compiled(), Tff()], ids=["compiled", "tff"])
def test_what_cannot_be_trained_is_refused_by_name_before_data_is_read(npz, engine):
    """`rules.check` reads no data; here the file does not even exist."""
    nowhere = npz.model_copy(update={"path": "/nowhere/images.npz"})
    refused = 0
    for point in GRID:
        expected, experiment = refusal(point), Experiment(data=nowhere, engine=engine, **options(point))
        if expected is None:
            rules.check(experiment)
            continue
        with pytest.raises(ConfigError) as caught:
            rules.check(experiment)
        assert expected in str(caught.value) and "\n" not in str(caught.value), point
        refused += 1
    assert 0 < refused < len(GRID)


@pytest.fixture
def same_noise_of_gans(monkeypatch):
    """Every draw of a GAN's noise gives the same numbers, because TFF's runtime draws by itself."""
    table = np.random.default_rng(5).normal(size=(64, NOISE_DIMENSION)).astype(np.float32)
    monkeypatch.setattr(GanModel, "noise", lambda self, n: tf.constant(table)[:n])
    monkeypatch.setattr(tf.random, "uniform", lambda shape: tf.linspace(0.1, 0.9, shape[0]))


def weights_of(data, engine, point):
    """The weights of every round, of all clients' models if each has one; and the records."""
    experiment = Experiment(data=data, engine=engine, **options(point))
    rules.check(experiment)
    training = Training(experiment, *inputs.load(experiment), Secret(2**255 + 7))
    try:
        weights, records = [], []
        for record in training.rounds(1):
            models = training.trainer.models
            found = training.weights if models is None else [w for model in models for w in model]
            weights.append([np.asarray(w) for w in found])
            records.append(record)
        return weights, records
    finally:
        training.close()


@pytest.mark.sampled(one_in=3)
@pytest.mark.parametrize("point", covering(), ids="-".join)
def test_the_engines_agree(npz, lab, same_noise_of_gans, point):
    """A GAN's generator follows the discriminator in two steps of its own each round, which is allowed ten times as much."""
    (ours, records), (theirs, stock) = (weights_of(npz, engine, point) for engine in (Compiled(), Tff()))
    assert len(ours) == len(theirs) == NUM_ROUNDS
    assert [r["num_clients"] for r in records] == [r["num_clients"] for r in stock]
    assert {name: r.get(name) for r in records for name in r if name.startswith("epsilon")} == {
        name: r.get(name) for r in stock for name in r if name.startswith("epsilon")
    }
    assert not lab.same_bits(ours[0], ours[-1])  # the rounds did something
    for a, b in zip(ours, theirs):
        assert lab.distance(a, b) < (10 if point[0] == "gan" else 1) * AGREEMENT


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["gaussian_fixed", "gaussian_adaptive", "dp_sgd"])
def test_the_noise_of_tffs_runtime_has_the_deviation_that_is_accounted(npz, noise):
    """The squares of all weights' moves, over the variance, are χ²: both engines stay between its quantiles of 2.5e-7 each.

    The clients' own part is below 1e-4 of the noise: they train with a learning rate of 1e-9, or one client takes a step by 60
    gradients of clip norm 1 beside noise of deviation 1,000,000.
    """
    clip, z = 0.5, 2.0
    kinds = {
        "gaussian_fixed": {"privacy": GaussianFixed(noise_multiplier=z, clip_norm=clip)},
        "gaussian_adaptive": {"privacy": GaussianAdaptive(noise_multiplier=z, initial_clip_norm=clip, clipped_count_stddev=50.0)},
        "dp_sgd": {"client": DpSgd(batch_size=60, clip_norm=1e-4, noise_multiplier=1e6, batches="shuffled")},
    }
    for engine in (Compiled(), Tff()):
        point = {**options(("fed_avg", "none", "mean", "all")), **kinds[noise], "model": Perceptron(), "num_rounds": 1}
        if noise == "dp_sgd":
            point["partition"], rate, stddev = Quantity(num_clients=1, sigma=0.0), 0.1, 1e6 * 1e-4 / 60
        else:
            point["client_optimizer"], rate = Sgd(learning_rate=1e-9), 1.0
            of_sum = z if noise == "gaussian_fixed" else (z**-2 - (2 * 50.0) ** -2) ** -0.5
            stddev = of_sum * clip / NUM_CLIENTS
        experiment = Experiment(data=npz, engine=engine, **point)
        training = Training(experiment, *inputs.load(experiment), Secret(2**255 + 7))
        try:
            before = [np.asarray(w) for w in training.weights]
            list(training.rounds(1))
            moved = np.concatenate([np.ravel(np.asarray(a) - b) for a, b in zip(training.weights, before)]) / rate
        finally:
            training.close()
        low, high = stats.chi2.ppf([2.5e-7, 1 - 2.5e-7], moved.size)
        assert low < np.sum(np.square(moved.astype(np.float64) / stddev)) < high
