"""`stop`: a run ends early in a round that follows from its records alone, and its first rounds are those of a longer run."""

from __future__ import annotations

import itertools
import json
import types

import pytest

from fedlab.archive import read_run
from fedlab.archive.task import CLASSIFICATION
from fedlab.cli.main import main
from fedlab.cohort import All
from fedlab.config import composing
from fedlab.errors import ConfigError
from fedlab.evaluation import Evaluation
from fedlab.measures import Metric
from fedlab.privacy import GaussianFixed
from fedlab.run import resuming, rules
from fedlab.run.checkpointing import Checkpointing
from fedlab.run.early_stop import EarlyStop, Watch
from fedlab.tasks import Classification, Generation
from fedlab.tasks.base import Task
from fedlab.tasks.losses import TaskLoss
from tests.report.conftest import records_of, write_run

ROUNDS = 9
TWO_ARMS = ["+arms.a.seed=0", "+arms.b.seed=0"]
KEPT = {"num_rounds": ROUNDS, "checkpoint": Checkpointing(every=1, keep=20)}


def ends(spec, values, metric="test_accuracy"):
    """The round in which a run with these values of a metric ends; None if it does not end early."""
    watch = Watch(spec, CLASSIFICATION)
    reasons = [watch.note({"round": r, metric: value}) for r, value in enumerate(values, 1)]
    return next((r for r, reason in enumerate(reasons, 1) if reason), None)


@pytest.mark.parametrize(
    ("options", "values", "expected"),
    [
        ({"when": "test_accuracy>=0.75"}, [0.5, 0.7, 0.75, 0.9], 3),
        ({"when": "test_accuracy <= 0.5"}, [0.75, 0.7, 0.5], 3),
        ({"when": "test_accuracy>=0.99"}, [0.5, 0.75, 0.98], None),
        ({"patience": 2}, [0.5, 0.75, 0.7, 0.75, 0.9], 4),  # as good as before is no better
        ({"patience": 2}, [0.5, 0.75, 0.7, 0.8, 0.7, 0.6], 6),  # a better value begins a new count
        ({"patience": 1}, [0.5, 0.6, 0.7], None),
        ({"patience": 2}, [0.5, None, None, None, float("nan"), 0.4, 0.3], 7),  # rounds without a value do not count
        ({"patience": 9, "when": "test_accuracy>=0.7"}, [0.5, 0.4, 0.7], 3),  # the first of both
        ({}, [0.5, 0.5, 0.5, 0.5], None),
    ],
)
def test_the_round_follows_from_the_values(options, values, expected):
    assert ends(EarlyStop(**options), values) == expected


def test_less_is_better_for_a_loss():
    assert ends(EarlyStop(patience=2, metric="test_loss"), [2.0, 1.0, 1.5, 0.5, 0.6, 0.7], "test_loss") == 6


@pytest.fixture(scope="module")
def whole(run_of):
    return run_of(**KEPT)


@pytest.fixture(scope="module")
def patience(whole):
    """(patience, the round in which a run with it ends) for a patience that ends this federation's run early."""
    values = [record["test_accuracy"] for record in whole.records]
    for patience, length in itertools.product((1, 2, 3), range(2, ROUNDS)):
        best = max(values[: length - patience], default=None)
        if best is not None and max(values[length - patience : length]) <= best:
            return patience, length
    raise AssertionError(f"this federation always improves: {values}")


def same_rounds(a, b):
    timed = ("seconds", "secure_seconds")
    return [{k: v for k, v in r.items() if k not in timed} for r in a] == [
        {k: v for k, v in r.items() if k not in timed} for r in b
    ]


@pytest.fixture(scope="module")
def stopped(run_of, patience):
    return run_of(**KEPT, stop=EarlyStop(patience=patience[0]))


def test_a_run_that_ends_early_has_the_bits_of_a_longer_one(whole, stopped, patience):
    allowed, length = patience
    assert len(stopped.records) == stopped.summary["num_rounds"] == length < ROUNDS
    assert same_rounds(stopped.records, whole.records[:length])
    assert stopped.summary["test_accuracy"] == whole.records[length - 1]["test_accuracy"]
    assert stopped.summary["weights_hash"] == whole.records[length - 1]["weights_hash"]
    assert stopped.summary["stopped"].startswith(f"stop.patience={allowed}: test_accuracy was best in round ")
    assert "stopped" not in whole.summary and stopped.folder.model.is_file()


@pytest.mark.parametrize("before_the_end", [1, 0])
def test_resumed_it_ends_where_it_would_have_ended(stopped, patience, run_of, killed, before_the_end):
    """Also if it was killed after the record of its last round, and before its summary."""
    allowed, length = patience
    folder = killed(stopped, length - before_the_end)
    again = run_of(**KEPT, stop=EarlyStop(patience=allowed), folder=folder, goes_on=True)
    assert same_rounds(again.records, stopped.records)
    exempt = ("seconds_per_round", "seconds_total")
    assert {k: v for k, v in again.summary.items() if k not in exempt} == {
        k: v for k, v in stopped.summary.items() if k not in exempt
    }


def test_without_the_condition_it_goes_on_to_the_bits_of_a_whole_run(whole, stopped, patience, run_of, killed):
    again = run_of(**KEPT, folder=killed(stopped, patience[1]), goes_on=True)
    assert same_rounds(again.records, whole.records) and again.summary["weights_hash"] == whole.summary["weights_hash"]


def test_arms_end_together_where_the_named_one_reaches_its_value(run_of, whole):
    value = max(record["test_accuracy"] for record in whole.records[:4])
    first = next(record["round"] for record in whole.records if record["test_accuracy"] >= value)
    spec = EarlyStop(when=f"a/test_accuracy>={value}")
    armed = run_of(**KEPT, arms={"a": {}, "b": {"seed": 3}}, stop=spec)
    assert len(armed.records) == first and armed.summary["num_rounds"] == first
    assert armed.summary["a/test_accuracy"] == value and "b/test_accuracy" in armed.summary


def test_epsilon_remains_that_of_all_planned_rounds(run_of):
    private = dict(num_rounds=4, privacy=GaussianFixed(noise_multiplier=1.0, delta=0.01))
    full, short = run_of(**private), run_of(**private, stop=EarlyStop(when="test_accuracy>=0"))
    assert len(short.records) == 1 and short.summary["num_rounds"] == 1
    assert short.summary["epsilon"] == full.summary["epsilon"] > short.records[0]["epsilon"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["stop.when=test_accuracy"],
            r"stop\.when=test_accuracy: must be METRIC>=VALUE or METRIC<=VALUE of a metric of the test set",
        ),
        (["stop.when=train_loss<=1"], r"must be METRIC>=VALUE"),
        (["stop.when=client_accuracy_mean>=1"], r"must be METRIC>=VALUE"),
        (["stop.patience=0"], r"stop\.patience=0"),
        (["stop.metric=test_loss"], r"give patience as well"),
        (["stop.patience=2", "eval_every=10"], r"only the last round is evaluated"),
        (["stop.patience=9", "num_rounds=10"], r"stop\.patience=9: only 9 evaluations precede the last round"),
        (["stop.patience=2", "num_rounds=10", "eval_every=4"], r"stop\.patience=2: only 2 evaluations precede the last round"),
        (["stop.when=a/test_accuracy>=0.5"], r"stop\.when names arm 'a', and this run has no arms"),
        (
            ["stop.patience=2", "+arms.a.seed=0", "+arms.b.client.batch_size=5"],
            r"stop\.metric=null: name the arm .* a/test_accuracy",
        ),
        (
            ["+experiment=difftest/a1_a2", "stop.patience=2", "stop.metric=a1/test_accuracy", "difftest.every=2"],
            r"with difftest\.every=2 the arms are not compared after each of them: set difftest\.every=1",
        ),
        (["stop.patience=2", "secure=masked", "secure.observe=last"], r"may end before a round of secure\.observe=last"),
        (
            ["stop.patience=2", "process=fed_rep", "privacy=gaussian_fixed"],
            r"follow from what clients keep, which ε does not cover",
        ),
        (
            [*TWO_ARMS, "+privacy@arms.b.privacy=gaussian_fixed", "stop.when=a/test_accuracy>=0.5"],
            r"arm b would end by the metric of arm a",
        ),
        (
            [*TWO_ARMS, "privacy=gaussian_fixed", "stop.patience=2", "stop.metric=b/test_loss"],
            r"arm a would end by the metric of arm b",
        ),
        (
            [*TWO_ARMS, "+privacy@arms.b.privacy=gaussian_fixed", "+process@arms.a.process=fed_rep", "stop.when=a/test_loss<=1"],
            r"arm b would end by the metric of arm a",
        ),
    ],
)
def test_a_condition_that_cannot_be_kept_is_refused_before_training(words, message):
    with pytest.raises(ConfigError, match=message):
        rules.check(composing.build_experiment(composing.compose(words)))


def test_a_private_arm_may_end_by_its_own_metric():
    words = [*TWO_ARMS, "+privacy@arms.b.privacy=gaussian_fixed", "stop.when=b/test_accuracy>=0.5"]
    rules.check(composing.build_experiment(composing.compose(words)))


def test_a_metric_of_the_global_model_ends_a_run_that_has_one(run_of):
    from fedlab.algorithms import Ditto, FedAvg, LocalOnly

    options = {"num_rounds": 4, "evaluation": Evaluation(), "cohort": All()}
    run = run_of(process=Ditto(), stop=EarlyStop(when="global_test_accuracy>=0.01"), **options)
    assert len(run.records) == 1 and "global_test_accuracy was" in run.summary["stopped"]
    loss = run_of(process=Ditto(), stop=EarlyStop(patience=1, metric="global_test_loss"), **options)
    assert len(loss.records) == 4
    message = r"stop\.when: global_test_accuracy is the metric of a global model .* {} has no such model: use test_accuracy\."
    for process in (FedAvg(), LocalOnly()):
        with pytest.raises(ConfigError, match=message.format(type(process).__name__)):
            run_of(process=process, stop=EarlyStop(when="global_test_accuracy>=0.01"), **options)
    with pytest.raises(ConfigError, match="no metric global_test_acc on the test set"):
        run_of(process=Ditto(), stop=EarlyStop(when="global_test_acc>=0.01"), **options)


def test_metrics_and_values_that_the_task_lacks_are_refused_once_it_is_known():
    def checked(task, arm="", **options):
        rules.check_stop(EarlyStop(**options), task, arm)

    ten = Classification(num_classes=10)
    checked(ten, when="test_accuracy>=0.97", patience=3, metric="test_loss")
    checked(ten, "a", when="b/test_norm>=97")  # of another arm, and so of another task
    for name in ("test_acuracy", "test_accuracy_best", "test_loss_p10"):
        with pytest.raises(ConfigError, match=rf"stop\.when: no metric {name} on the test set\. .* test_accuracy, test_loss"):
            checked(ten, when=f"{name}>=0.97")
        with pytest.raises(ConfigError, match=rf"stop\.metric: no metric {name} on the test set"):
            checked(ten, "a", patience=2, metric=f"a/{name}")
    with pytest.raises(ConfigError, match="test_accuracy is a fraction from 0 to 1"):
        checked(ten, when="test_accuracy>=97")
    with pytest.raises(ConfigError, match="The task generation has: none"):
        checked(Generation(), patience=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stop.when=test_accuracy>=0.9"], r"stop\.when: no metric test_accuracy .* The task generation has: none"),
        (["evaluation=standard", "evaluation.rounds_to=0.9"], r"evaluation\.rounds_to=0\.9: the task generation has no metric"),
        ([*TWO_ARMS, "stop.when=b/test_accuracy>=0.9"], r"arm b: stop\.when: no metric test_accuracy"),
    ],
)
def test_they_are_refused_before_the_data_where_the_algorithm_tells_the_task(words, message):
    with pytest.raises(ConfigError, match=message):
        rules.check(composing.build_experiment(composing.compose(["+experiment=gan/small", *words])))


class Distance(Task):
    name = "distance"
    measured = {"loss": Metric("distance")}


def test_metrics_are_those_of_the_algorithms_task_also_of_an_arm(tensorflow):
    from fedlab.run.arms import Arms
    from fedlab.run.train import _rounds_to
    from fedlab.run.training import Training

    def given(process_task, kind=Training, **options):
        made = kind.__new__(kind)
        made.partition = None  # no loss that clients minimise
        made.dataset = types.SimpleNamespace(train=types.SimpleNamespace(task=Classification(num_classes=2)))
        evaluation, process = Evaluation(rounds_to=(0.5,)), types.SimpleNamespace(task=process_task)
        made.experiment = types.SimpleNamespace(evaluation=evaluation, process=process, loss=TaskLoss(), **options)
        return made

    records = [{"round": r, "test_loss": 1 / r, "test_accuracy": r / 4} for r in (1, 2)]
    assert _rounds_to(given(Distance(), arms={}), records) == _rounds_to(given(None, arms={}), records) == {"rounds_to[0.5]": 2.0}
    armed = given(None, Arms, arms={"a": None, "b": None})
    armed.arms = {"a": given(Distance()), "b": given(None)}
    of_arms = [{"round": r["round"], "a/test_loss": r["test_loss"], "b/test_accuracy": r["test_accuracy"]} for r in records]
    assert _rounds_to(armed, of_arms) == {"a/rounds_to[0.5]": 2.0, "b/rounds_to[0.5]": 2.0}


@pytest.fixture
def ended(tmp_path):
    """A run that ended early, in round 10 of 100."""
    reason = "stop.patience=2: test_loss was best"
    path = write_run(tmp_path / "run", records=records_of(10), summary={"stopped": reason}, num_rounds=100, rounds_completed=10)
    return read_run(path)


def resumable(run, private=False, arms=(), **options):
    spec = EarlyStop(**{name: value for name, value in options.items() if name != "num_rounds"})
    noisy, plain = (types.SimpleNamespace(adds_noise=is_noisy) for is_noisy in (private, False))
    client = types.SimpleNamespace(private=None)
    one = types.SimpleNamespace(privacy=noisy, client=client)
    armed = {name: one for name in arms}
    whole = types.SimpleNamespace(privacy=plain if arms else noisy, client=client, arms=armed, eval_every=1, stop=spec)
    whole.num_rounds = options.get("num_rounds", 100)
    resuming._require_rounds(run, whole)


@pytest.mark.parametrize("arms", [(), ("a", "b")])
def test_a_private_run_is_not_resumed_with_fewer_rounds_than_planned(ended, arms):
    for options in ({"num_rounds": 10}, {"num_rounds": 99}):
        resumable(ended, arms=arms, **options)
        with pytest.raises(ConfigError, match=r"planned with 100 rounds, whose ε holds .* no less than num_rounds=100"):
            resumable(ended, private=True, arms=arms, **options)
    resumable(ended, private=True, arms=arms)


def test_a_run_that_ended_early_goes_on_exactly_if_its_rounds_do_not_meet_the_new_conditions(ended):
    for holds in ({"when": "test_accuracy>=0.9"}, {"patience": 1, "metric": "test_accuracy", "when": "test_loss<=2.2"}):
        for rounds in (100, 200):
            with pytest.raises(ConfigError, match=r"would end after its 10 rounds at once \(stop\.when=.*go on without early"):
                resumable(ended, num_rounds=rounds, **holds)
    resumable(ended, patience=20, metric="test_loss")
    resumable(ended, num_rounds=200, when="test_accuracy>=0.99")
    resumable(ended)


def test_the_command_line_says_why_a_run_ended_and_how_to_go_on(tensorflow, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["num_rounds=5", "model=perceptron", "logger=[]", "hydra.run.dir=run", "stop.when=test_accuracy>=0.3"]
    assert main(["train", *words]) == 0
    assert "ended early, after 1 round: stop.when=test_accuracy>=0.3: test_accuracy was" in capsys.readouterr().out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["num_rounds"] == 1 and "ended early by stop.when" in (tmp_path / "run" / "report.html").read_text()
    assert main(["train", "resume=run"]) == 2
    assert "go on without early stopping, with stop.when=null stop.patience=null" in capsys.readouterr().err
    assert main(["train", "resume=run", "stop.when=null"]) == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["num_rounds"] == 5
    assert main(["verify", "run", "--rounds", "2"]) == 0
