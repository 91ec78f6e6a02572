"""What a sweep is before its first job: its folder, its jobs' folders and cores, its objective, its study."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import re
import warnings

import pytest
from rich.console import Console

from fedlab import cores
from fedlab.archive.task import CLASSIFICATION
from fedlab.config import application
from fedlab.errors import ConfigError, FedlabError
from fedlab.run.child import JobFolder, JobRecord
from fedlab.studies.sweep import plan as sweep_plan
from fedlab.studies.sweep import ranking
from fedlab.studies.sweep.folder import SweepFolder
from fedlab.studies.sweep.gather import gathered
from fedlab.studies.sweep.goal import goal_of
from fedlab.studies.sweep.names import short_names
from fedlab.studies.sweep.objective import Objective
from fedlab.studies.sweep.page import write_sweep_report
from fedlab.studies.sweep.plan import Lines, nowhere
from fedlab.studies.sweep.results import read_sweep
from fedlab.studies.sweep.table import print_table
from tests.report.conftest import read_page, write_run


def composed(*argv):
    return sweep_plan.composed(argv, application.parsed(argv))


def plan(*argv):
    return sweep_plan.plan(composed(*argv), application.parsed(argv), argv, Lines(nowhere, nowhere))


class TestPlan:
    @pytest.mark.parametrize("argv", [["seed=1"], ["--cfg", "job", "-m"], ["--help"], ["hydra.mode=RUN", "seed=1"]], ids=" ".join)
    def test_what_asks_for_no_sweep(self, argv):
        assert composed(*argv) is None

    @pytest.mark.parametrize("argv", [["-m", "seed=1,2"], ["hydra.mode=MULTIRUN", "seed=1"]], ids=" ".join)
    def test_what_asks_for_one(self, argv):
        assert composed(*argv) is not None

    @pytest.mark.parametrize(
        ("argv", "expected"),
        [
            (["seed=1"], False),
            (["model=cnnn"], False),
            (["modell=cnn"], False),
            (["num_rounds"], False),
            (["seed=1,2"], True),
            (["seed=range(3)"], True),
            (["hydra.mode=MULTIRUN", "seed=1"], True),
            (["hydra.mode=MULTIRUN", "seed=1,2"], True),
            (["+experiment=digits/search_optuna"], True),
            (["-m", "seed=1,2"], True),
        ],
        ids=lambda argv: " ".join(argv) if isinstance(argv, list) else "",
    )
    def test_no_sweep_is_taken_for_a_single_run(self, argv, expected):
        """The configuration of a single run, which is composed first, shows whether composing that of a sweep is of use."""
        args = application.parsed(argv)
        may = sweep_plan.may_be_a_sweep(args, application.as_single(args))
        assert may is expected and (may or composed(*argv) is None)

    def test_the_same_command_has_the_same_folder_whatever_the_order_and_another_has_another(self):
        one = plan("-m", "seed=1,2", "model=mlp").folder
        assert one.parent.name == "fed_avg" and one.parts[-4:-1] == ("multirun", "digits", "fed_avg")
        assert plan("-m", "model=mlp", "seed=1,2").folder == one
        assert plan("-m", "seed=1,2", "model=mlp", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2").folder == one
        assert len({one, plan("-m", "seed=1,2,3", "model=mlp").folder, plan("-m", "seed=1,2").folder}) == 3

    def test_options_that_are_off_are_not_in_the_names_of_folders(self, tmp_path):
        """A sweep that was begun before these options existed finds its jobs again."""
        off = {"_target_": "fedlab.run.early_stop.EarlyStop", "when": None, "patience": None, "metric": None}
        before = {"num_rounds": 3, "evaluation": {"batch_size": 500}}
        now = {**before, "stop": off, "evaluation": {"batch_size": 500, "rounds_to": None}}
        on = {**now, "stop": {**off, "patience": 2}}

        def names(config):
            folder = sweep_plan.job_folder(tmp_path, {}, config).name
            return folder, sweep_plan.but_for_the_seed(config), sweep_plan.but_for_locations(config)

        assert names(before) == names(now) and not set(names(now)) & set(names(on))

    def test_more_trials_go_on_with_a_study_and_another_space_is_another(self):
        def search(*more):
            return plan("-m", "hydra/sweeper=optuna", *more).folder

        space = "+hydra.sweeper.params.seed="
        assert search(f"{space}choice(1\\,2)") == search(f"{space}choice(1\\,2)", "hydra.sweeper.n_trials=50")
        assert search(f"{space}choice(1\\,2)") != search(f"{space}choice(1\\,3)")

    def test_the_folder_can_be_chosen(self):
        assert plan("-m", "seed=1,2", "hydra.sweep.dir=my sweeps/one").folder.parts[-2:] == ("my sweeps", "one")
        assert sweep_plan.override("hydra.sweep.dir", "it's") == r"hydra.sweep.dir='it\'s'"

    def test_swept_keys_are_a_jobs_own(self):
        made = plan("-m", "seed=1,2", "num_rounds=3", "+experiment=digits/fedavg", "model=mlp,cnn")
        assert made.total == 4 and made.name == "digits/fedavg"
        job = ["seed=2", "num_rounds=3", "+experiment=digits/fedavg", "model=cnn", "model.hidden=[8,4]"]
        assert sweep_plan.job_parameters(made, job) == {"seed": 2, "model": "cnn", "model.hidden": [8, 4]}

    def test_a_job_by_itself_is_no_sweep_even_where_the_configuration_asks_for_one(self):
        assert sweep_plan.job_command(plan("-m", "seed=1,2"), ["seed=2"]) == "fedlab train seed=2"
        assert sweep_plan.job_command(plan("hydra.mode=MULTIRUN", "seed=1"), ["seed=1"]).endswith(" seed=1 hydra.mode=RUN")

    def test_cores_are_divided_among_the_jobs_side_by_side_that_there_are(self, monkeypatch):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)))
        joblib = ["-m", "hydra/launcher=joblib", "seed=range(20)"]
        assert [plan(*joblib, f"hydra.launcher.n_jobs={n}").cores for n in (1, 2, 5, 20, -1)] == [None, 6, 2, 1, 1]
        assert plan("-m", "hydra/launcher=joblib", "seed=1,2,3").cores == 4
        assert plan("-m", "seed=range(20)").cores is None

    def test_it_travels(self):
        made = plan("-m", "seed=1,2")
        assert pickle.loads(pickle.dumps(made)) == made

    def test_in_another_process_its_lines_go_elsewhere(self):
        """A launcher sends the plan to workers, and a function of a notebook would not arrive, or arrive as a copy."""
        seen = []
        silent, printing = (Lines(seen.append, seen.append, *rest) for rest in ((), ((print, print),)))
        assert pickle.loads(pickle.dumps(silent)).progress is nowhere
        again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(printing))))
        assert again.progress is print and again.problem is print and seen == []


class TestJobFolder:
    CONFIG = {"seed": 1, "num_rounds": 3, "logger": {}, "objective": {"metric": "a"}}

    def test_the_name_is_readable_and_safe(self, tmp_path):
        parameters = {"client_optimizer.learning_rate": 0.1, "model.hidden": [8, 4], "data.path": "../../x y"}
        name = sweep_plan.job_folder(tmp_path, parameters, self.CONFIG).name
        assert name.startswith("learning_rate-0.1_hidden-8-4-_path-..-..-x-y-") and len(name) < 80
        assert sweep_plan.job_folder(tmp_path, {"x": "y" * 500}, self.CONFIG).name.count("y") < 60

    def test_it_is_found_by_what_decides_the_result(self, tmp_path):
        there = sweep_plan.job_folder(tmp_path, {"seed": 1}, self.CONFIG)
        there.mkdir()
        assert sweep_plan.job_folder(tmp_path, {}, {**self.CONFIG, "logger": {"csv": 1}, "objective": None}) == there
        assert sweep_plan.job_folder(tmp_path, {"seed": 1}, {**self.CONFIG, "num_rounds": 4}) != there
        assert sweep_plan.job_folder(tmp_path, {"seed": 1}, {**self.CONFIG, "seed": 2}) != there

    def test_a_failed_attempt_is_cleared_but_for_notes_log_and_lock(self, tmp_path):
        folder = JobFolder(tmp_path)
        (tmp_path / "checkpoints").mkdir()
        for name in ("job.json", "log.txt", ".lock", "metrics.jsonl", "checkpoints/round_000001.ckpt"):
            (tmp_path / name).write_text("")
        folder.discard()
        assert {p.name for p in tmp_path.iterdir()} == {"job.json", "log.txt", ".lock"}


def test_the_table_tells_the_jobs_of_several_commands_apart(tmp_path):
    made = dataclasses.replace(plan("-m", "seed=1,2"), folder=tmp_path)
    for name, number, status, invocation in (
        ("a-1", 1, "failed", "another"),
        ("b-2", 1, "interrupted", made.invocation),
        ("c-3", 2, "failed", "another"),
    ):
        (tmp_path / name).mkdir()
        JobFolder(tmp_path / name).write(JobRecord(number, "n", "c", {"seed": 1}, {}, status, "why", 1.0, invocation))
    table = gathered(made, SweepFolder(tmp_path), "finished")
    assert [(job["number"], job["folder"]) for job in table["jobs"]] == [(1, "a-1"), (2, "b-2"), (3, "c-3")]
    assert table["status"] == "interrupted"  # what others wanted and failed is not this command's
    assert table["best"] == [] and table["best_command"] is None


def test_a_lucky_seed_is_not_best(tmp_path):
    """Jobs that differ in their seed alone are ranked by their mean; a group of which a job failed is not."""
    made = dataclasses.replace(plan("-m", "seed=1,2,3", "client_optimizer.learning_rate=0.1,0.2,0.3"), folder=tmp_path)
    results = {0.1: (0.70, 0.95, 0.70), 0.2: (0.80, 0.81, 0.82), 0.3: (0.99, 0.99, None)}
    number = 0
    for rate, accuracies in results.items():
        for seed, accuracy in enumerate(accuracies, 1):
            number += 1
            folder = JobFolder(tmp_path / f"job-{number}")
            if accuracy:
                write_run(folder.path, records=[{"round": 1, "test_accuracy": accuracy}], summary={"test_accuracy": accuracy})
            folder.path.mkdir(exist_ok=True)
            parameters = {"client_optimizer.learning_rate": rate, "seed": seed}
            status = "finished" if accuracy else "failed"
            command = f"fedlab train client_optimizer.learning_rate={rate} seed={seed}"
            folder.write(JobRecord(number, "n", command, parameters, dict(parameters), status, None, 1.0, made.invocation))
    table = gathered(made, SweepFolder(tmp_path), "finished")
    assert [group["jobs"] for group in table["groups"]] == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert table["best"] == [4, 5, 6] and table["best_command"].endswith("learning_rate=0.2 seed=1")
    assert table["groups"][1]["objective"] == pytest.approx([0.81]) and table["groups"][1]["deviation"] == pytest.approx([0.01])
    assert table["groups"][2]["objective"] is None
    assert table["groups"][1]["parameters"] == {"client_optimizer.learning_rate": 0.2}
    console = Console(width=140, file=io.StringIO())
    (tmp_path / "sweep.json").write_text(json.dumps(table))
    print_table(console, read_sweep(tmp_path))
    rows = [line for line in console.file.getvalue().splitlines() if line.startswith("│")]
    assert [row.split("│")[1].strip() for row in rows] == ["4, 5, 6", "1, 2, 3", "7, 8, 9"]
    assert "81.00% ± 1.00%" in rows[0] and "±" not in rows[2]
    page = read_page(write_sweep_report(tmp_path))
    assert page.sections[:2] == ["best", "ranking"] and "81.00% ± 1.00%" in page.text and "jobs 4, 5, 6" in page.text


def test_seeds_of_the_objective_are_no_parameters_of_a_sweep():
    assert plan("-m", "objective.seeds=3", "model=mlp,cnn").total == 6
    assert "seed" not in plan("-m", "objective.seeds=3", "model=mlp,cnn", "seed=7").fixed
    with pytest.raises(ConfigError, match=r"objective\.seeds=3 chooses the seeds of each job"):
        plan("-m", "objective.seeds=3", "seed=1,2")


def test_a_sweep_is_named_after_what_is_swept():
    assert re.fullmatch(r"seed_model-[0-9a-f]{8}", plan("-m", "seed=1,2", "model=mlp,cnn", "num_rounds=3").folder.name)
    search = plan("-m", "hydra/sweeper=optuna", "client_optimizer.learning_rate=interval(0.1,1)")
    assert re.fullmatch(r"learning_rate-[0-9a-f]{8}", search.folder.name)


def test_names_are_short_where_that_is_clear():
    names = ["client_optimizer.learning_rate", "server_optimizer.learning_rate", "seed", "model.hidden"]
    assert list(short_names(names).values()) == [*names[:2], "seed", "hidden"]


@pytest.mark.parametrize(
    ("key", "word"),
    [("seed", "seed"), ("a.b.x2", "x2"), ("model.hidden.0", "hidden.0"), ("model.hidden.1.10", "hidden.1.10")],
)
def test_an_item_of_a_list_is_called_by_the_list_and_its_number(key, word):
    assert sweep_plan.last_word(key) == word


class TestObjective:
    def test_one_direction_for_each_metric(self):
        assert Objective(metric="a", direction="minimize").metric == ("a",)
        with pytest.raises(ValueError, match=r"2 metric\(s\) \(a, b\) and no direction: give each metric"):
            Objective(metric=["a", "b"])
        with pytest.raises(ValueError, match="named twice"):
            Objective(metric=["a", "a"], direction=["maximize", "minimize"])
        with pytest.raises(ConfigError, match=r"objective\.direction\[0\]=up: must be 'maximize' or 'minimize'"):
            plan("-m", "objective.direction=up")

    def test_figures_must_be_there_and_finite(self):
        objective = goal_of(Objective(metric=["loss", "hash"], direction=["minimize", "maximize"]), CLASSIFICATION)
        assert objective.values({"loss": 1, "hash": 2.5}) == [1.0, 2.5]
        with pytest.raises(FedlabError, match=r"no such figure\. Did you mean 'los'\? Figures: los\."):
            objective.values({"los": 1, "hash": "abc"})
        for value in (None, float("nan"), "abc", True):
            with pytest.raises(FedlabError, match="no finite number"):
                objective.values({"loss": 1.0, "hash": value})

    def test_the_best_of_one_is_one(self):
        values = [None, [0.5], [0.9], [0.9], None]
        assert ranking.best(values, goal_of(Objective(metric="a"), CLASSIFICATION).maximize) == [2]
        assert ranking.best(values, goal_of(Objective(metric="a", direction="minimize"), CLASSIFICATION).maximize) == [1]
        assert ranking.best([None], [True]) == []

    def test_the_best_of_several_are_those_that_no_other_beats(self):
        objective = goal_of(Objective(metric=["a", "b"], direction=["maximize", "minimize"]), CLASSIFICATION)
        assert ranking.best([[1, 1], [2, 2], [0, 1], [2, 3], None, [1, 1]], objective.maximize) == [0, 1, 5]

    def test_better_is_better_in_one_metric_and_worse_in_none(self):
        assert ranking.is_better([1, 2], [1, 3], [True, False]) and not ranking.is_better([1, 3], [1, 2], [True, False])
        assert not ranking.is_better([1, 2], [1, 2], [True, False]) and not ranking.is_better([2, 3], [1, 2], [True, False])

    @pytest.mark.parametrize(("maximize", "order"), [(True, [3, 0, 2, 1, 4]), (False, [0, 2, 3, 1, 4])])
    def test_the_order_is_that_of_the_first_metric_and_failures_are_last(self, maximize, order):
        assert ranking.order([[0.5, 9], None, [0.5, 1], [0.9, 5], ()], [maximize, True]) == order


class TestCores:
    def test_the_variable_lowers_them_only(self, monkeypatch):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
        monkeypatch.delenv(cores.VARIABLE, raising=False)
        assert cores.available() == 4
        for text, number in (("1", 1), ("3", 3), ("99", 4)):
            monkeypatch.setenv(cores.VARIABLE, text)
            assert cores.available() == number

    @pytest.mark.parametrize("text", ["0", "-1", "two", ""])
    def test_what_is_no_number_of_cores(self, text, monkeypatch):
        monkeypatch.setenv(cores.VARIABLE, text)
        with pytest.raises(ConfigError, match=f"FEDLAB_CORES={text} is not a number of cores"):
            cores.available()


class TestStudy:
    ARGV = (
        "-m",
        "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=10",
        "seed=3",
        "client_optimizer.learning_rate=interval(0.01,1)",
    )

    @pytest.fixture
    def prepare(self, tmp_path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what other people's packages say of each other when they are imported
            from fedlab.studies.sweep import optuna_study

        def prepare(*more):
            argv = (*self.ARGV, *more)
            made = dataclasses.replace(plan(*argv), folder=tmp_path)
            return optuna_study.prepare(made, composed(*argv), SweepFolder(tmp_path))

        return prepare

    @staticmethod
    def study(tmp_path):
        import optuna

        return optuna.load_study("study", f"sqlite:///{tmp_path}/optuna.db")

    @staticmethod
    def ask(study):
        trial = study.ask()
        return trial, trial.suggest_float("client_optimizer.learning_rate", 0.01, 1)

    def test_a_study_goes_on(self, prepare, tmp_path):
        import optuna

        left, overrides = prepare()
        assert left == 10 and "hydra.sweeper.sampler.seed=3" in overrides and "hydra.sweeper.direction=[maximize]" in overrides
        study = self.study(tmp_path)
        finished, _ = self.ask(study)
        study.tell(finished, 0.5)
        failed, failed_rate = self.ask(study)
        study.tell(failed, state=optuna.trial.TrialState.FAIL)
        _, running_rate = self.ask(study)
        for _ in range(2):  # the second time, they wait already
            left, overrides = prepare()
            states = [t.state.name for t in self.study(tmp_path).trials]
            assert states == ["COMPLETE", "FAIL", "FAIL", "WAITING", "WAITING"]
        assert left == 9 and "hydra.sweeper.n_trials=9" in overrides
        assert "hydra.sweeper.sampler.seed=8" in overrides  # not the choices that have been made already
        study = self.study(tmp_path)
        assert [self.ask(study)[1] for _ in range(2)] == [failed_rate, running_rate]

    def test_what_failed_and_was_completed_since_is_not_tried_again(self, prepare, tmp_path):
        import optuna

        prepare()
        study = self.study(tmp_path)
        failed, rate = self.ask(study)
        study.tell(failed, state=optuna.trial.TrialState.FAIL)
        prepare()
        study = self.study(tmp_path)
        again, same = self.ask(study)
        study.tell(again, 0.5)
        prepare()
        assert same == rate and [t.state.name for t in self.study(tmp_path).trials] == ["FAIL", "COMPLETE"]

    def test_enough_is_enough(self, prepare, tmp_path):
        prepare()
        study = self.study(tmp_path)
        study.tell(self.ask(study)[0], 0.5)
        assert prepare("hydra.sweeper.n_trials=1")[0] == 0

    def test_trials_at_a_time_are_jobs_side_by_side(self, prepare):
        assert "hydra.sweeper.n_jobs=1" in prepare()[1]
        assert "hydra.sweeper.n_jobs=3" in prepare("hydra/launcher=joblib", "hydra.launcher.n_jobs=3")[1]

    def test_what_does_not_fit(self, prepare):
        prepare()
        with pytest.raises(ConfigError, match=r"holds a study that is to maximize, and objective\.direction is minimize"):
            prepare("objective.direction=minimize")
        with pytest.raises(ConfigError, match=r"set objective\.direction instead"):
            prepare("hydra.sweeper.direction=maximize")
        with pytest.raises(ConfigError, match="-m alone tries every combination"):
            prepare("hydra/sweeper/sampler=grid")
        with pytest.raises(ConfigError, match=r"hydra\.sweeper\.storage=nonsense cannot be used: .*nonsense"):
            prepare("hydra.sweeper.storage=nonsense")
