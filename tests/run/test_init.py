"""A run that starts from saved weights: where they come from, what is frozen, and what ε says of them."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.algorithms import DpSgd, FedAvg, FedRep, Gan, Ifca, LocalOnly, Split
from fedlab.cohort import All, Uniform
from fedlab.composition import INITIALISED
from fedlab.engine import Tff
from fedlab.errors import ConfigError, FedlabError
from fedlab.evaluation.initial import Initial
from fedlab.models import Mlp
from fedlab.privacy import GaussianFixed
from fedlab.run import inputs, rules
from fedlab.run.best_round import Keep
from fedlab.run.checkpointing import Checkpointing

EVERY = dict(checkpoint=Checkpointing(every=1, keep=9))
SHORT = dict(num_rounds=2, model=Mlp(hidden=(8,)), cohort=All(), **EVERY)


def initial(**options):
    return Initial(**{name.rstrip("_"): value for name, value in options.items()})


@pytest.fixture(scope="module")
def source(run_of):
    return run_of(**SHORT)


@pytest.fixture(scope="module")
def start_of(source, run_of):
    """The training of an experiment, before its first round."""
    from fedlab.run.learner import build_learner

    def start(**options):
        experiment = source.experiment.model_copy(update={"num_rounds": 2, **options})
        rules.check(experiment)
        dataset, partition = inputs.load(experiment)
        return build_learner(experiment, dataset, partition, {})

    return start


def test_before_the_first_round_it_has_the_figures_of_the_source(source, start_of):
    """Another seed, which must not matter."""
    training = start_of(init=initial(from_=str(source.folder.model)), seed=11)
    try:
        assert training.weights_hash == source.summary["weights_hash"]
        assert training.evaluator.measured(training.trainer, 0) == {
            name: value for name, value in source.summary.items() if name in ("test_loss", "test_accuracy")
        }
        assert training.described()["init"] == {"taken": ["dense", "dense_1"], "drawn": [], "frozen": []}
        assert any(f"initial weights from {source.folder.model}: dense, dense_1" in line for line in training.lines())
    finally:
        training.close()


@pytest.mark.sampled
@pytest.mark.parametrize("process", [FedAvg(), FedRep(), LocalOnly(), Split()], ids=lambda process: type(process).__name__)
def test_with_its_own_initial_weights_a_run_is_what_it_was(source, start_of, run_of, tmp_path, process):
    options = dict(SHORT, process=process, num_rounds=1)
    training = start_of(**options)
    training.evaluator.save(training.weights if type(process) is FedAvg else _initial(training), tmp_path / "own.keras")
    training.close()
    plain = run_of(**options)
    again = run_of(**options, init=initial(from_=str(tmp_path / "own.keras")))
    assert [r["weights_hash"] for r in plain.records] == [r["weights_hash"] for r in again.records]
    assert plain.summary["test_loss"] == again.summary["test_loss"]
    other = run_of(**options, init=initial(from_=str(source.folder.model)))
    assert other.records[0]["weights_hash"] != plain.records[0]["weights_hash"]


def _initial(training):
    return [w for weights in training.evaluator.model.initial_weights for w in weights]


@pytest.fixture(scope="module")
def frozen(run_of, source):
    return run_of(**SHORT, init=initial(from_=str(source.folder.model), freeze=["dense"]))


def test_frozen_layers_stay_and_are_not_sent(source, frozen):
    before, after = (run.model.get_layer("dense").get_weights() for run in (source, frozen))
    assert all(np.array_equal(a, b) for a, b in zip(before, after))
    assert not np.array_equal(
        source.model.get_layer("dense_1").get_weights()[0], frozen.model.get_layer("dense_1").get_weights()[0]
    )
    body = 4 * sum(w.size for w in before)  # bytes per client
    for ours, theirs in zip(frozen.records, source.records, strict=True):
        assert theirs["bytes_down"] - ours["bytes_down"] == body * ours["num_clients"]
        assert theirs["bytes_up"] - ours["bytes_up"] == body * ours["num_clients"]


def test_both_engines_start_from_the_same_weights(frozen, run_of, source):
    again = run_of(**SHORT, init=frozen.experiment.init, engine=Tff())
    for a, b in zip(frozen.model.get_weights(), again.model.get_weights(), strict=True):
        assert np.allclose(a, b, atol=1e-5)


def test_resumed_it_is_what_it_would_have_been(frozen, run_of, killed):
    again = run_of(**SHORT, init=frozen.experiment.init, folder=killed(frozen, 1), goes_on=True)
    assert again.summary["weights_hash"] == frozen.summary["weights_hash"]


def test_an_arm_may_start_from_weights_and_another_not(source, run_of):
    init = initial(from_=str(source.folder.model))
    run = run_of(**SHORT, arms={"tuned": {"init": init}, "anew": {}})
    assert run.records[0]["anew/weights_hash"] == source.records[0]["weights_hash"] != run.records[0]["tuned/weights_hash"]


@pytest.mark.parametrize(
    ("process", "message"),
    [
        (Ifca(), r"init\.from: process=ifca draws the models of all clusters but the first anew: lower"),
        (Gan(), r"init\.from: process=gan trains two networks"),
    ],
)
def test_algorithms_that_do_not_start_from_weights_say_so(source, process, message):
    experiment = source.experiment.model_copy(update={"process": process, "init": initial(from_=str(source.folder.model))})
    with pytest.raises(ConfigError, match=message):
        rules.initial_model(experiment)
    rules.initial_model(experiment.model_copy(update={"process": Ifca(initial_difference=0.1)}))


@pytest.mark.parametrize(
    "private",
    [
        dict(privacy=GaussianFixed(noise_multiplier=1.0, delta=0.01), cohort=Uniform(clients_per_round=4)),
        dict(client=DpSgd(noise_multiplier=1.0, batch_size=4)),
    ],
    ids=["users", "examples"],
)
def test_epsilon_says_that_it_does_not_cover_the_source(source, start_of, private):
    for init in (initial(from_=str(source.folder.model)), initial(freeze="dense")):
        training = start_of(init=init, **private)
        try:
            is_covered = init.source is None
            assert (INITIALISED in training.lines()) != is_covered
            assert (INITIALISED in training.described()["privacy"]["lines"]) != is_covered
            assert training.claim().initialised != is_covered and training.claim().epsilon > 0
        finally:
            training.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(layers=["a"]), "give init.from as well"),
        (dict(from_="x.keras", layers=[]), "layers is empty"),
        (dict(freeze=3), "must be a name of a layer or a pattern"),
    ],
)
def test_options_that_contradict_each_other(options, message):
    with pytest.raises(ValueError, match=message):
        initial(**options)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.keras", "there is no such file or folder. Give the folder of a finished run"),
        ("model.h5", "is no .keras and no .npz file"),
        ("bad.npz", "cannot be read: "),
        ("objects.npz", "cannot be read: .* holds Python objects"),
        ("bad.keras", "can run code that is not fedlab's"),
        ("folder", "folder"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused_before_data_is(tmp_path, name, message, source):
    for file in ("model.h5", "bad.npz", "bad.keras"):
        (tmp_path / file).write_bytes(b"nothing")
    np.savez(tmp_path / "objects.npz", **{"dense/kernel": np.array([{}], object)})
    (tmp_path / "folder").mkdir()
    experiment = source.experiment.model_copy(update={"init": initial(from_=str(tmp_path / name))})
    with pytest.raises(FedlabError, match=message) as caught:
        rules.check(experiment)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def best(run_of):
    return run_of(num_rounds=5, keep=Keep(best="test_loss"), **EVERY)


class TestTheBestRound:
    def test_its_model_has_the_best_value(self, best, start_of):
        losses = [record["test_loss"] for record in best.records]
        assert best.summary["best_round"] == 1 + losses.index(min(losses))
        assert best.summary["best_test_loss"] == min(losses)
        training = start_of(model=best.experiment.model, init=initial(from_=str(best.folder.best_model)))
        try:
            record = best.records[best.summary["best_round"] - 1]
            assert training.weights_hash == record["weights_hash"]
            assert training.evaluator.measured(training.trainer, 0)["test_loss"] == record["test_loss"]
        finally:
            training.close()

    def test_it_changes_no_round(self, best, run_of):
        plain = run_of(num_rounds=5)
        assert [r["weights_hash"] for r in plain.records] == [r["weights_hash"] for r in best.records]
        assert not plain.folder.best_model.exists() and "best_round" not in plain.summary

    @pytest.mark.parametrize("after", [1, 3, 4])
    def test_resumed_it_is_what_it_would_have_been(self, best, run_of, killed, after, tensorflow):
        again = run_of(num_rounds=5, keep=Keep(best="test_loss"), folder=killed(best, after), goes_on=True, **EVERY)
        for name in ("best_round", "best_test_loss", "weights_hash"):
            assert again.summary[name] == best.summary[name]
        models = (tensorflow.keras.models.load_model(run.folder.best_model) for run in (best, again))
        a, b = (model.get_weights() for model in models)
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))

    def test_a_last_round_that_is_no_longer_the_last_does_not_count(self, run_of):
        """Only the last round of a run is evaluated although it is not due: a longer run does not know it."""
        options = dict(eval_every=3, keep=Keep(best="test_loss"))
        short = run_of(num_rounds=4, **options)
        longer = run_of(num_rounds=6, **options, folder=short.folder, goes_on=True)
        whole = run_of(num_rounds=6, **options)
        assert longer.summary["best_round"] == whole.summary["best_round"] in (3, 6)
        assert longer.summary["best_test_loss"] == whole.summary["best_test_loss"]

    def test_more_may_be_better(self, run_of):
        run = run_of(num_rounds=4, keep=Keep(best="test_accuracy"))
        values = [record["test_accuracy"] for record in run.records]
        assert run.summary["best_round"] == 1 + values.index(max(values))  # the first of equals

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                dict(keep=Keep(best="test_auc")),
                r"keep\.best: no metric test_auc on the test set\. .* has: test_accuracy, test_loss",
            ),
            (dict(keep=Keep(best="test_loss"), process=LocalOnly()), "process LocalOnly ends with a model for each client"),
        ],
    )
    def test_what_no_run_could_keep_is_refused_before_training(self, source, options, message):
        experiment = source.experiment.model_copy(update=options)
        with pytest.raises(ConfigError, match=message):
            rules.check(experiment)
            inputs.load(experiment)

    def test_a_name_that_is_no_metric_of_the_test_set(self):
        with pytest.raises(ValueError, match="must be a metric of the test set, such as test_accuracy"):
            Keep(best="train_loss")

    def test_epsilon_says_that_the_test_set_chose(self, start_of):
        private = dict(privacy=GaussianFixed(noise_multiplier=1.0, delta=0.01), keep=Keep(best="test_loss"))
        training = start_of(**private)
        try:
            assert any("model_best.keras is the model of a round that the test set chose" in line for line in training.lines())
        finally:
            training.close()
