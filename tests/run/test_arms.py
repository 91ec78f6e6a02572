"""Arms: each is the run it would have been alone, and together they stop, go on and are read as one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fedlab.algorithms import FedSgd, LocalTraining
from fedlab.algorithms.optimizers import Sgd
from fedlab.archive import RunFolder, checkpoint, make_folder
from fedlab.cohort import All, Uniform
from fedlab.engine import Compiled
from fedlab.engine.resident import resident
from fedlab.errors import ConfigError, FedlabError
from fedlab.evaluation import Evaluation
from fedlab.models import Mlp
from fedlab.partition import Quantity, Single
from fedlab.run import inputs, rules
from fedlab.run.checkpointing import Checkpointing

ARMS = {"plain": {}, "other": dict(model=Mlp(hidden=(5,)), process=FedSgd(), client=LocalTraining(batch_size=5))}


@pytest.fixture(scope="module")
def armed(run_of):
    return run_of(arms=ARMS, num_rounds=4, checkpoint=Checkpointing(every=1, keep=9))


def own(record, name):
    return {k[len(name) + 1 :]: v for k, v in record.items() if k.startswith(f"{name}/") and "seconds" not in k}


class TestEachArm:
    @pytest.mark.parametrize("name", ARMS)
    def test_is_the_run_it_would_have_been_alone(self, name, armed, run_of, lab):
        alone = run_of(**ARMS[name], num_rounds=4)
        for record, together in zip(alone.records, armed.records):
            assert {k: v for k, v in record.items() if k not in ("round", "seconds")} == own(together, name)
        for figure in ("test_loss", "client_accuracy_worst", "bytes_up_total", "num_weights"):
            assert armed.summary[f"{name}/{figure}"] == alone.summary[figure]
        import tensorflow as tf

        saved = tf.keras.models.load_model(armed.folder.path / "arms" / name / "model.keras")
        assert lab.same_bits(saved.get_weights(), alone.model.get_weights())

    def test_shares_the_data_with_the_others(self, armed):
        experiment = armed.experiment
        dataset, partition = inputs.load(experiment)
        arms = inputs.load_arms(experiment, dataset, partition)
        assert all(found == (dataset, partition) for found in arms.values())
        x, _ = resident(dataset.train)
        assert resident(arms["other"][0].train)[0] is x

    def test_may_have_a_partition_of_its_own(self, armed):
        base = armed.experiment
        central = base.model_copy(update={"partition": Single(), "cohort": All()})
        dataset, partition = inputs.load(base)
        arms = inputs.load_arms(base.model_copy(update={"arms": {"a": base, "b": central}}), dataset, partition)
        assert arms["a"] == (dataset, partition)
        assert arms["b"][0] is dataset and len(arms["b"][1]) == 1


class TestTogether:
    def test_totals_are_sums(self, armed):
        for record in armed.records:
            for name in ("bytes_up", "bytes_down"):
                assert record[name] == sum(record[f"{arm}/{name}"] for arm in ARMS)
        assert armed.summary["num_weights"] == sum(armed.summary[f"{arm}/num_weights"] for arm in ARMS)
        assert len({r["weights_hash"] for r in armed.records}) == len(armed.records)

    @pytest.mark.slow
    def test_a_resumed_run_is_the_uninterrupted_one(self, armed, run_of, killed):
        again = run_of(arms=ARMS, num_rounds=4, folder=killed(armed, 2), goes_on=True)
        assert [r["weights_hash"] for r in again.records] == [r["weights_hash"] for r in armed.records]
        assert again.summary["other/test_loss"] == armed.summary["other/test_loss"]

    def test_the_state_of_other_arms_is_refused(self, armed, run_of):
        saved = checkpoint.load(checkpoint.newest_first(armed.folder.checkpoints)[0])
        from fedlab.run.learner import build_learner

        experiment = armed.experiment
        dataset, partition = inputs.load(experiment)
        learner = build_learner(experiment, dataset, partition, inputs.load_arms(experiment, dataset, partition))
        try:
            learner.restore(saved.state)
            with pytest.raises(FedlabError, match="other arms"):
                learner.restore(saved.state[:-1])
        finally:
            learner.close()

    @pytest.mark.slow  # as test_divergence.py, but that the loss on the test set is what tells
    def test_an_arm_that_diverges_is_named(self, run_of, tmp_path):
        folder = RunFolder(make_folder(tmp_path / "run"))
        diverging = dict(server_optimizer=Sgd(learning_rate=1e38), cohort=All())
        with pytest.raises(FedlabError, match=r"^arm bad: round \d+: test_loss is (nan|inf)"):
            run_of(arms={"good": {}, "bad": diverging}, folder=folder)
        lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
        assert lines[-1]["bad/test_loss"] is None and lines[-1]["good/test_loss"] > 0


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({"only": {}}, "has only only: give at least two"),
        ({"a": {}, "b/c": {}}, "the name of an arm must consist of"),
        ({"a": {}, "b": {"seed": 4}}, r"arms\.b\.seed: all arms have the same seed"),
        ({"a": {}, "b": {"evaluation": Evaluation(holdout=0.5)}}, r"arms\.b\.evaluation: all arms"),
        ({"a": {}, "b": {"engine": Compiled(device="cpu")}}, "the same device"),
        ({"a": {}, "b": {"cohort": Uniform(clients_per_round=9)}}, "arm b: .*9"),
    ],
)
def test_what_cannot_be_an_arm_is_said_before_any_data_is_read(arms, message, armed):
    base = armed.experiment.model_copy(update={"arms": {}, "partition": Quantity(num_clients=5, sigma=1.0)})
    experiment = base.model_copy(update={"arms": {name: base.model_copy(update=changes) for name, changes in arms.items()}})
    with pytest.raises(ConfigError, match=message):
        rules.check(experiment)


class TestHeldOut:
    @pytest.mark.slow
    def test_clients_are_judged_by_examples_they_did_not_train_on(self, run_of):
        run = run_of(evaluation=Evaluation(holdout=0.3), num_rounds=2, cohort=All())
        whole = run_of(num_rounds=2, cohort=All())
        held_out = [len(i) for i in run.partition.held_out]
        assert sum(held_out) > 0
        for kept, indices, both in zip(run.partition.held_out, run.partition.indices, whole.partition.indices):
            assert sorted([*kept, *indices]) == sorted(both) and len(indices) >= 1
        assert run.records[0]["train_num_examples"] == 2 * sum(map(len, run.partition.indices))
        correct = run.model.predict(inputs.load(run.experiment)[0].train.x.astype(np.float32) / 255, verbose=0).argmax(1)
        y = inputs.load(run.experiment)[0].train.y
        each = [np.mean(correct[i] == y[i]) for i in run.partition.held_out if len(i)]
        assert run.summary["client_accuracy_worst"] == min(each)
