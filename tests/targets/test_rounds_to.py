"""`rounds_to[TARGET]`: laws on known curves, and the same figure wherever it is shown."""

from __future__ import annotations

import io
import json
import math

import pytest
from rich.console import Console

import fedlab
from fedlab.archive import RunFolder, read_run
from fedlab.archive.figures import cost_to
from fedlab.archive.task import CLASSIFICATION, learned_in
from fedlab.cli.main import main
from fedlab.cli.summary import print_summary
from fedlab.config import application, composing
from fedlab.config.quoting import quoted
from fedlab.errors import ConfigError
from fedlab.report.comparison import compare
from fedlab.report.words import axis_label, task_label, task_value
from fedlab.studies.sweep import plan
from fedlab.studies.sweep.goal import goal_of
from fedlab.studies.sweep.objective import Objective
from fedlab.targets import NotReached, cost_in, cost_named, named, rounds_to, target_in, total_after
from tests.report.conftest import records_of, write_run

CURVE = [(1, 0.5), (2, 0.75), (3, 0.625), (4, 1.0)]


@pytest.mark.parametrize(
    ("points", "target", "expected"),
    [
        ([(1, 0.5), (2, 0.75), (3, 1.0)], 0.875, 2.5),  # monotone
        ([(1, 0.5), (2, 0.75), (3, 1.0)], 0.75, 2.0),  # exactly at a point
        (CURVE, 0.875, 3.5),  # from the best value so far (0.75, at round 3), not from 0.625
        ([(1, 0.5), (2, 0.5), (3, 0.5), (4, 1.0)], 0.75, 3.5),  # a plateau ends where the curve rises
        ([(1, 0.5), (2, 0.75), (3, 0.75)], 0.75, 2.0),  # a plateau at the target: its first round
        ([(5, 0.5), (10, 1.0)], 0.75, 7.5),  # every five rounds
        ([(1, 0.5), (2, None), (3, math.nan), (4, math.inf), (5, 1.0)], 0.75, 3.0),  # rounds without a value
        ([(1, 0.98), (2, 0.99)], 0.97, 1.0),  # the first evaluated round
        ([(10, 0.98)], 0.97, 10.0),
        (CURVE, 1.01, None),  # never
        ([], 0.5, None),
    ],
)
def test_the_first_crossing_of_the_best_value_so_far(points, target, expected):
    assert rounds_to(points, target) == (None if expected is None else pytest.approx(expected))
    mirrored = [(r, None if v is None else -v) for r, v in points]
    assert rounds_to(mirrored, -target, more_is_better=False) == rounds_to(points, target)


def test_a_higher_target_takes_no_fewer_rounds_and_a_later_fall_changes_nothing():
    values = [0.1, 0.4, 0.3, 0.7, 0.65, 0.9, 0.2]
    points = list(enumerate(values, 1))
    found = [rounds_to(points, target / 100) for target in range(1, 91)]
    assert found == sorted(found) and found[0] == 1.0 and found[-1] == 6.0
    assert [rounds_to(points[:6], target / 100) for target in range(1, 91)] == found


def test_a_name_contains_its_target():
    assert named(0.97) == "rounds_to[0.97]" and target_in("a/rounds_to[0.97]") == 0.97
    assert [target_in(name) for name in ("rounds_to[x]", "rounds_to[inf]", "rounds_to", "test_accuracy")] == [None] * 4


@pytest.fixture
def several(tmp_path):
    """Two runs that reach 96% between rounds 59 and 60, one of another seed that does not, and one with another rate."""
    write_run(tmp_path / "a", records=records_of(80), summary={"rounds_to[0.96]": 60.0}, config={"evaluation.rounds_to": [0.96]})
    write_run(tmp_path / "b", records=records_of(80, 0.9), config={"seed": 1, "evaluation.rounds_to": [0.96]})
    write_run(tmp_path / "c", records=records_of(80, 0.98), config={"client_optimizer.learning_rate": 0.5})
    return tmp_path


def test_runs_are_listed_and_sorted_by_it(several, capsys):
    assert main(["runs", str(several), "--rounds-to", "0.96", "--sort", "rounds_to[0.96]", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["path"][-1] for row in rows] == ["c", "a", "b"]
    assert [row["rounds_to"]["rounds_to[0.96]"] for row in rows] == [pytest.approx(30.0), pytest.approx(60.0), None]
    assert main(["runs", str(several), "--rounds-to", "0.96"]) == 0
    assert "not reached" in capsys.readouterr().out
    assert main(["runs", str(several), "--rounds-to", "much"]) == 2
    for verb in ("runs", "compare"):
        capsys.readouterr()
        assert main([verb, str(several), "--rounds-to", "97"]) == 2
        assert "--rounds-to 97: test_accuracy is a fraction from 0 to 1, such as 0.97 for 97 %." in capsys.readouterr().err


def test_a_comparison_takes_no_mean_over_the_runs_that_reach_it(several, capsys):
    runs = [read_run(several / name) for name in "abc"]
    found = compare(runs)  # two of them ask for it
    assert "rounds_to[0.96]" not in found.groups[0].metrics
    assert found.groups[1].metrics["rounds_to[0.96]"].mean == pytest.approx(30.0)
    assert "rounds to 0.96: not reached by 1 of 2 runs of group 1." in found.remarks
    assert compare(runs, [0.85]).groups[0].metrics["rounds_to[0.85]"].count == 2
    assert main(["compare", str(several), "--rounds-to", "0.85"]) == 0
    assert "rounds to 85% test accuracy" in capsys.readouterr().out


def test_python_gets_it_for_every_run_if_one_asks_for_it(several):
    metrics = fedlab.compare(several / "a", several / "c").metrics
    assert metrics["rounds_to[0.96]"] == [pytest.approx(60.0), pytest.approx(30.0)]


def test_an_objective_is_minimized_and_contains_a_number():
    goal = goal_of(Objective(metric="rounds_to[0.97]"), CLASSIFICATION)
    assert (
        goal.costs == {"rounds_to[0.97]": ("rounds", 0.97)}
        and goal.values({"rounds_to[0.97]": 8.5}) == [8.5]
        and goal.directions == ("minimize",)
    )
    with pytest.raises(NotReached, match=r"not reached the target: its best value is 0\.9\."):
        goal.values({"rounds_to[0.97]": None, "best_so_far": 0.9})
    with pytest.raises(ValueError, match=r"minimize rounds_to\[0\.97\], with objective\.direction=minimize"):
        Objective(metric="rounds_to[0.97]", direction="maximize")
    with pytest.raises(ValueError, match=r"must contain a number"):
        Objective(metric="rounds_to[97%]", direction="minimize")


def test_bytes_and_seconds_are_counted_to_the_same_crossing(several):
    run = read_run(several / "a")
    rounds = cost_to(run, "rounds", 0.95)
    assert rounds == pytest.approx(30.0) and cost_to(run, "rounds", 0.9) == pytest.approx(60 / 7, abs=0.05)
    for cost, names in (("bytes", ("bytes_up", "bytes_down")), ("seconds", ("seconds",))):
        per_round = [sum(record[name] for name in names) for record in run.records()]
        assert cost_to(run, cost, 0.95) == pytest.approx(sum(per_round[:30])) and cost_to(run, cost, 0.99) is None
        between = cost_to(run, cost, 0.955)
        crossing = cost_to(run, "rounds", 0.955)
        whole = int(crossing)
        assert between == pytest.approx(sum(per_round[:whole]) + (crossing - whole) * per_round[whole])


def test_a_total_grows_with_the_rounds_and_needs_no_round_after_the_last():
    assert [total_after(rounds, [1.0, 10.0, 100.0]) for rounds in (1, 1.5, 2, 2.25, 3)] == [1.0, 6.0, 11.0, 36.0, 111.0]


def test_a_cost_has_a_name():
    assert cost_named("bytes", 0.97) == "bytes_to[0.97]" and cost_in("seconds_to[.97]") == ("seconds", 0.97)
    assert [cost_in(name) for name in ("bytes_to[x]", "bytes_up_total", "rounds_to", "hours_to[1]")] == [None] * 4
    assert axis_label("bytes_to[0.97]") == "bytes to 0.97" and axis_label("bytes_up") == "sent up, bytes"
    assert task_label("bytes_to[0.97]", CLASSIFICATION) == "bytes to 97% test accuracy"
    assert task_value("bytes_to[0.97]", 2.5e6, CLASSIFICATION) == "2.5 MB"
    assert task_value("seconds_to[0.97]", None, CLASSIFICATION) == "not reached"


def test_a_target_of_the_objective_ranks_by_its_costs():
    goal = goal_of(Objective(target=0.97), CLASSIFICATION)
    assert goal.metrics == ("rounds_to[0.97]",) and goal.directions == ("minimize",)
    both = goal_of(Objective(target=0.97, cost=["bytes", "seconds"]), CLASSIFICATION)
    assert both.metrics == ("bytes_to[0.97]", "seconds_to[0.97]") and both.maximize == (False, False)
    assert goal_of(Objective(metric="bytes_to[0.97]"), CLASSIFICATION).directions == ("minimize",)
    for options, line in (
        ({"target": 0.97, "metric": "test_loss"}, r"target=0\.97 and metric=test_loss: give one of them"),
        ({"cost": "bytes"}, r"cost=bytes needs objective\.target, such as 0\.97"),
        ({"target": 0.97, "direction": "maximize"}, r"fewer rounds are better: minimize rounds_to\[0\.97\]"),
        ({"target": 0.97, "cost": ["bytes", "bytes"]}, r"a metric is named twice"),
    ):
        with pytest.raises(ValueError, match=line):
            Objective(**options)
    with pytest.raises(NotReached, match=r"bytes_to\[0\.97\], but the run has not reached the target"):
        both.values({"bytes_to[0.97]": None, "seconds_to[0.97]": None})


def test_the_loss_of_an_arm_is_minimized():
    metrics = ("plain/test_loss", "test_loss", "plain/test_accuracy", "plain/bytes_up_total")
    directions = [goal_of(Objective(metric=metric), CLASSIFICATION).directions[0] for metric in metrics]
    assert directions == ["minimize", "minimize", "maximize", "maximize"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=1,2"], r"objective\.metric=rounds_to\[97\]: test_accuracy is a fraction from 0 to 1"),
        (["seed=1,2", "+arms.a.seed=0", "+arms.b.seed=0"], r"objective\.metric=rounds_to\[97\.0\]: the runs have arms"),
        (["seed=1,2", "+experiment=gan/small"], r"rounds_to\[97\]: the task generation has no metric of the test set"),
        (["objective.target=97", "seed=1,2"], r"objective\.target=97: test_accuracy is a fraction from 0 to 1"),
        (["objective.target=0.9", "objective.cost=bytes", "seed=1,2", "+arms.a.seed=0"], r"target=0\.9: the runs have arms"),
    ],
)
def test_an_impossible_objective_is_refused_before_the_first_job(words, message):
    argv = ["-m", *([] if words[0].startswith("objective") else ["objective.metric=rounds_to[97]"]), *words]
    args = application.parsed(argv)
    with pytest.raises(ConfigError, match=message):
        plan.plan(plan.composed(argv, args), args, argv, plan.Lines(plan.nowhere, plan.nowhere))


def test_rounds_of_an_arm_are_no_objective_and_need_no_quotes():
    with pytest.raises(ValueError, match=r"a/rounds_to\[0\.9\]: rounds_to cannot be the objective of runs with arms"):
        Objective(metric="a/rounds_to[0.9]")
    words = quoted(["objective.metric=[a-b/rounds_to[0.9],test_loss]"])
    assert words == ["objective.metric=['a-b/rounds_to[0.9]',test_loss]"] == quoted(words)


def test_conditions_may_be_swept_over():
    whens = [["stop.when=choice(test_accuracy>=0.9,null)"], ["stop.when=test_accuracy>=0.9,null"]]
    for words in whens:
        assert quoted(quoted(words)) == quoted(words)
        assert composing.each_swept(words) == [["stop.when='test_accuracy>=0.9'"], ["stop.when=null"]]


def test_no_quotes_within_quotes_are_needed():
    words = ["objective.metric=bytes_to[0.97]", "objective.metric=[rounds_to[0.9],test_loss]"]
    assert quoted(words) == ["objective.metric='bytes_to[0.97]'", "objective.metric=['rounds_to[0.9]',test_loss]"]
    assert quoted(quoted(words)) == quoted(words) and quoted(["model.name=rounds_to[1]"]) == ["model.name=rounds_to[1]"]
    config = composing.compose([words[1], "objective.direction=[minimize,minimize]"])
    assert list(config.objective.metric) == ["rounds_to[0.9]", "test_loss"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluation.rounds_to=97"], r"evaluation\.rounds_to=97: test_accuracy is a fraction from 0 to 1"),
        (
            ["+experiment=gan/small", "evaluation=standard", "evaluation.rounds_to=[0.9]"],
            "generation has no metric of the test set",
        ),
    ],
)
def test_a_target_that_no_run_can_reach_is_refused(words, message):
    from fedlab.run import inputs, rules

    experiment = composing.build_experiment(composing.compose(words))
    with pytest.raises(ConfigError, match=message):
        rules.check(experiment)  # refuses it already if the algorithm tells the task
        inputs.load(experiment)


@pytest.mark.slow
def test_a_sweep_ranks_jobs_by_it_and_one_that_never_gets_there_has_not_failed(tmp_path, monkeypatch, capsys):
    from fedlab.studies.sweep.results import read_sweep

    monkeypatch.chdir(tmp_path)
    rates = "client_optimizer.learning_rate=0.0001,0.3"
    command = ["train", "-m", "num_rounds=3", rates, "objective.metric=rounds_to[0.5]", "objective.direction=minimize"]
    assert main([*command, "model=perceptron", "evaluation.rounds_to=0.5", "hydra.sweep.dir=s"]) == 0
    found = read_sweep(tmp_path / "s")
    slow, fast = found.jobs
    assert [job.status for job in found.jobs] == ["finished"] * 2 and found.status == "finished"
    assert not slow.objective and "not reached" in slow.failure and slow.is_unranked
    assert 1 <= fast.objective[0] <= 3 and found.best == (fast.number,)
    assert read_run(fast.folder).summary["rounds_to[0.5]"] == fast.objective[0]
    assert read_run(slow.folder).summary["rounds_to[0.5]"] is None
    assert "not reached" in capsys.readouterr().out
    assert "Target not reached" in (tmp_path / "s" / "report.html").read_text()
    page = (fast.folder / "report.html").read_text(), (slow.folder / "report.html").read_text()
    assert (
        all("rounds to 50% test accuracy" in text for text in page) and "not reached" in page[1] and "not reached" not in page[0]
    )
    lines = io.StringIO()
    for job in found.jobs:
        summary = read_run(job.folder).summary
        print_summary(Console(file=lines, width=200), summary, RunFolder(job.folder), learned_in(RunFolder(job.folder)))
    assert "rounds to 50% test accuracy: not reached" in lines.getvalue()
    assert lines.getvalue().count("rounds to 50% test accuracy: ") == 2
