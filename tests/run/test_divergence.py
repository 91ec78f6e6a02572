"""Divergence ends a run in its round, whatever is trained; means over nobody are left out of the record."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedlab import algorithms
from fedlab.algorithms import (
    DpSgd,
    FedAvg,
    FedBuff,
    FedRep,
    FedSgd,
    FineTune,
    Gan,
    LocalOnly,
    LocalTraining,
    Scaffold,
    TffProcess,
)
from fedlab.algorithms.optimizers import Sgd
from fedlab.algorithms.split import Split
from fedlab.archive import RunFolder, make_folder
from fedlab.clock import Constant
from fedlab.cohort import All, Buffered
from fedlab.errors import FedlabError
from fedlab.evaluation import GanEvaluation
from fedlab.models import Gan as Networks
from fedlab.models import Mlp, Perceptron
from fedlab.partition import Iid
from fedlab.privacy import GaussianFixed

NETWORKS = Networks(
    noise_dimension=5,
    generator_hidden=(),
    generator_filters=(4, 3),
    discriminator_filters=(4,),
    discriminator_hidden=(),
    generator_normalization="none",
    discriminator_normalization="none",
)
SMALL = dict(
    num_rounds=8, eval_every=8, model=Perceptron(), cohort=All(), partition=Iid(num_clients=2), client=LocalTraining(batch_size=5)
)
HUGE = Sgd(learning_rate=1e30)
GAN = dict(model=NETWORKS, evaluation=GanEvaluation(num_images=4, grid_size=2))


def fed_avg_of_tff(model, client_optimizer):
    return tff.learning.algorithms.build_weighted_fed_avg(model, client_optimizer)


DIVERGING = {
    # TFF leaves out updates that are not finite; fedlab also those whose norm is not, as after steps of 1e30
    "tff": dict(process=TffProcess(build=fed_avg_of_tff), client_optimizer=Sgd(learning_rate=3e38)),
    "scaffold": dict(process=Scaffold(), client_optimizer=HUGE),
    "fed_rep": dict(process=FedRep(head_epochs=1), model=Mlp(hidden=(4,)), client_optimizer=HUGE),
    "client": dict(process=FedAvg(), client_optimizer=HUGE),
    "fed_buff": dict(process=FedBuff(), client_optimizer=HUGE, cohort=Buffered(concurrency=2, buffer_size=1), clock=Constant()),
    "fine_tune": dict(process=FineTune(fine_tuning_epochs=1), client_optimizer=HUGE),
    "server": dict(process=FedSgd(), client=LocalTraining(batch_size=5), server_optimizer=HUGE),
    "local_only": dict(process=LocalOnly(), client_optimizer=HUGE),
    "split": dict(process=Split(), model=Mlp(hidden=(4,)), client_optimizer=Sgd(learning_rate=3e38)),
    "gan_client": dict(process=Gan(generator_steps=1), client_optimizer=HUGE, **GAN),
    "gan_generator": dict(process=Gan(generator_steps=3, generator_learning_rate=1e30), **GAN),
    "dp_sgd": dict(client=DpSgd(batch_size=5, clip_norm=1e18), client_optimizer=HUGE),
}


def of_ones(input_shape, num_classes):
    """So that pixels of 3e38 overflow in every class."""
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [layers.InputLayer(input_shape), layers.Flatten(), layers.Dense(num_classes, kernel_initializer="ones")]
    )


def rounds_until(run_of, tmp_path, says, **options):
    folder = RunFolder(make_folder(tmp_path / "run"))
    with np.errstate(all="ignore"), pytest.raises(FedlabError, match=says) as caught:
        run_of(folder=folder, **{**SMALL, **options})
    assert "\n" not in str(caught.value)
    return len(folder.metrics.read_text().splitlines())


SAME_TRAINING = ("server", "gan_generator", "dp_sgd")  # that of another one of these, with other options


@pytest.mark.sampled
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SAME_TRAINING else []) for name in DIVERGING]
)
def test_it_ends_a_run_in_its_round(name, run_of, npz, tmp_path):
    if "gan" in name:  # images whose sides can be halved
        loaded = np.load(npz.path)
        np.savez(tmp_path / "even.npz", **{k: v[:, :4, :4] if k.startswith("x") else v for k, v in loaded.items()})
        DIVERGING[name]["data"] = npz.model_copy(update={"path": str(tmp_path / "even.npz")})
    assert rounds_until(run_of, tmp_path, "diverged", **DIVERGING[name]) <= 3


def test_every_kind_of_training_is_tried():
    named = [kind for kind in vars(algorithms).values() if isinstance(kind, type) and issubclass(kind, algorithms.Algorithm)]
    kinds = {kind for kind in named if "start" in vars(kind)} - {algorithms.Algorithm, algorithms.Process}
    tried = [options.get("process", FedAvg()) for options in DIVERGING.values()]
    assert kinds >= {LocalOnly, Split, algorithms.KeepingProcess}
    assert all(any(isinstance(process, kind) for process in tried) for kind in {FedAvg, Gan, *kinds})


@pytest.mark.parametrize("first", [pytest.param(True, marks=pytest.mark.slow), False])
def test_it_ends_a_run_of_arms_also_in_the_last_round(first, run_of, tmp_path):
    arms = {"bad": dict(client_optimizer=HUGE), "good": {}}
    arms = dict(sorted(arms.items(), reverse=not first))
    assert rounds_until(run_of, tmp_path, "arm bad: round 1: .*diverged", num_rounds=1, arms=arms) == 1


class TestMeansOverNobody:
    """Every training example has a loss that is not finite, so all metrics are left out."""

    @pytest.fixture
    def data(self, npz, tmp_path):
        loaded = dict(np.load(npz.path))
        loaded["x"] = np.full(loaded["x"].shape, np.float32(3e38))
        loaded["x_test"] = loaded["x_test"].astype(np.float32)
        np.savez(tmp_path / "huge.npz", **loaded)
        return npz.model_copy(update={"path": str(tmp_path / "huge.npz")})

    @pytest.mark.parametrize(
        "options",
        [
            pytest.param(dict(privacy=GaussianFixed(noise_multiplier=1.0)), id="gaussian"),
            pytest.param(dict(client=DpSgd(batch_size=5)), id="dp_sgd", marks=pytest.mark.slow),
        ],
    )
    def test_are_in_no_record_and_end_no_private_run(self, options, data, run_of):
        options = {**options, "client_optimizer": Sgd(learning_rate=1e-3), "data": data, "model": of_ones, "num_rounds": 1}
        record = run_of(**{**SMALL, **options}).records[0]
        assert record["train_num_examples"] == 0
        assert not {"train_loss", "train_accuracy"} & set(record)

    def test_a_poisson_batch_of_nobody_is_no_divergence_and_what_a_logger_is_given_is_what_the_file_holds(self, run_of, keep):
        """One step in which each of 30 examples takes part with chance 1/30; of 20 rounds of two clients, some are empty."""
        options = dict(client=DpSgd(batch_size=1, max_local_steps=1), num_rounds=20, eval_every=20)
        records = run_of(**{**SMALL, **options}, logger=keep).records
        empty = [r for r in records if not r["train_num_examples"]]
        assert empty and all("train_loss" not in r for r in empty)  # a fixed key: the same rounds every time
        assert all(math.isfinite(r["train_loss"]) for r in records if r not in empty)
        assert [json.loads(json.dumps(r)) for r in keep.records] == records
