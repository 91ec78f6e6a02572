"""`fedlab train -m …` end to end, as a user runs it: processes, signals, what is left, what is done again."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time

import pytest

from fedlab.archive import lock
from fedlab.cli.main import main

FAST = ["num_rounds=2", "data.max_examples=200", "model.hidden=[8]", "evaluation.per_client=false", "logger=[]"]
LONG = ["num_rounds=3000", "eval_every=1000", *FAST[1:]]  # several seconds of rounds
OPTUNA = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2"]
SIDE_BY_SIDE = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


def begin(*args: str, cwd: pathlib.Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "fedlab.cli.main", "train", "-m", "hydra.sweep.dir=sweep", *args],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "140"},
        start_new_session=True,
    )


def sweep(*args: str, cwd: pathlib.Path, code: int = 0) -> subprocess.CompletedProcess:
    process = begin(*args, cwd=cwd)
    out, err = process.communicate(timeout=1800)
    assert process.returncode == code, out + err
    assert "Traceback" not in err and "Warning" not in err
    return subprocess.CompletedProcess(process.args, code, out, err)


def table(cwd: pathlib.Path) -> dict:
    return json.loads((cwd / "sweep" / "sweep.json").read_text())


def statuses(cwd: pathlib.Path) -> list:
    return [job["status"] for job in table(cwd)["jobs"]]


def wait_for(condition, seconds: float = 1800) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.1)


def rounds(cwd: pathlib.Path) -> list:
    """How many rounds each job that has begun its rounds has done."""
    return [len(path.read_bytes().splitlines()) for path in (cwd / "sweep").glob("*/metrics.jsonl")]


def manifests(cwd: pathlib.Path) -> list:
    return [json.loads(path.read_text()) for path in sorted((cwd / "sweep").glob("*/manifest.json"))]


@pytest.fixture(scope="module")
def swept_once(tmp_path_factory):
    """A sweep whose first job succeeds and whose second one cannot, for there are ten clients."""
    cwd = tmp_path_factory.mktemp("swept")
    return cwd, sweep("cohort.clients_per_round=2,50", *FAST, cwd=cwd, code=1)


@pytest.fixture
def swept(swept_once, tmp_path):
    """A copy of it, which a test may change."""
    cwd, done = swept_once
    return pathlib.Path(shutil.copytree(cwd, tmp_path / "copy")), done


def test_a_failing_job_spoils_no_other_and_the_exit_code_tells_of_it(swept):
    cwd, done = swept
    made = table(cwd)
    good, bad = made["jobs"]
    assert (made["sweep_version"], made["name"], made["status"]) == (1, "digits/fed_avg", "failed")
    assert made["objective"] == {"metrics": ["test_accuracy"], "directions": ["maximize"]}
    assert made["parameters"] == ["cohort.clients_per_round"]
    assert good["status"] == "finished" and good["failure"] is None and good["seconds"] > 0
    summary = json.loads((cwd / "sweep" / good["folder"] / "summary.json").read_text())
    assert good["objective"] == [summary["test_accuracy"]]
    assert bad["status"] == "failed" and "there are only 10 clients" in bad["failure"] and bad["objective"] is None
    assert (made["best"], made["best_command"]) == ([1], good["command"])
    assert [job["parameters"] for job in (good, bad)] == [{"cohort.clients_per_round": 2}, {"cohort.clients_per_round": 50}]
    failures = [line for line in done.stderr.splitlines() if line.startswith("job 2 of 2  clients_per_round=50: failed")]
    assert len(failures) == 1 and "there are only 10 clients" in failures[0]


def test_the_terminal_gets_two_lines_per_job_and_the_folder_the_whole_output(swept):
    cwd, done = swept
    lines = [line for line in done.stdout.splitlines() if line.startswith("job ")]
    assert lines[0] == "job 1 of 2  clients_per_round=2: starts" and lines[2] == "job 2 of 2  clients_per_round=50: starts"
    assert lines[1].startswith("job 1 of 2  clients_per_round=2: finished after") and re.search(
        r"test accuracy \d+\.\d\d%$", lines[1]
    )
    assert "round 2/2" not in done.stdout and f"best: {table(cwd)['best_command']}" in done.stdout
    folder = cwd / "sweep" / table(cwd)["jobs"][0]["folder"]
    assert "round 2/2" in (folder / "log.txt").read_text()
    assert {"manifest.json", "config.yaml", "metrics.jsonl", "model.keras"} <= {p.name for p in folder.iterdir()}


def test_the_same_command_skips_what_has_finished_and_tries_the_failed_again(swept):
    cwd, _ = swept
    good, bad = (cwd / "sweep" / job["folder"] for job in table(cwd)["jobs"])
    before = (good / "log.txt").read_text()
    failures = (bad / "log.txt").read_text().count("only 10 clients")
    done = sweep("cohort.clients_per_round=2,50", *FAST, cwd=cwd, code=1)
    assert "job 1 of 2  clients_per_round=2: had finished before, test accuracy" in done.stdout
    assert (good / "log.txt").read_text() == before  # there was no process
    assert (bad / "log.txt").read_text().count("only 10 clients") == failures + 1
    assert statuses(cwd) == ["finished", "failed"]


def test_skipping_imports_no_tensorflow_and_quiet_says_nothing(swept):
    cwd, _ = swept
    script = (
        "import sys\nfrom fedlab.cli.main import main\n"
        f"code = main(['train', '-m', '-q', 'hydra.sweep.dir=sweep', 'cohort.clients_per_round=2', *{FAST!r}])\n"
        "sys.exit('imported' if {'tensorflow', 'optuna', 'jax'} & set(sys.modules) else code)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True, timeout=1800)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert statuses(cwd) == ["finished", "failed"] and table(cwd)["status"] == "finished"  # nobody wanted the other job


def test_an_unknown_metric_is_named_with_those_there_are(swept):
    cwd, _ = swept
    done = sweep("cohort.clients_per_round=2", *FAST, "objective.metric=test_acuracy", cwd=cwd, code=1)
    assert "objective.metric=test_acuracy, but summary.json has no such figure. Did you mean 'test_accuracy'?" in done.stderr
    assert table(cwd)["jobs"][0]["status"] == "failed" and table(cwd)["best"] == []


def test_what_is_wrong_with_the_sweep_itself_is_said_before_any_job(tmp_path, monkeypatch, capfd):
    def fails(*words):
        assert main(["train", "-m", "hydra.sweep.dir=sweep", *words]) == 2
        return capfd.readouterr().err

    monkeypatch.chdir(tmp_path)
    wrong = fails("seed=0,1", "objective.direction=[maximize,minimize]")
    assert "1 metric(s) (the headline metric) and 2 direction(s) (maximize, minimize)" in wrong
    assert "no model 'cnm'. Did you mean 'cnn'?" in fails("model=mlp,cnm")
    wrong = fails("seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0")
    assert wrong == "fedlab train: hydra.launcher.n_jobs=0: must be 1 or more, or -1 for one job per core.\n"
    assert not list(tmp_path.rglob("job.json"))


@pytest.mark.slow
def test_jobs_of_several_seeds_are_one_row_and_one_trial(tmp_path):
    """Of two jobs that differ in their seed alone the mean counts, to Optuna as well. Their table: test_sweeps_plan.py."""
    import optuna

    space = "client_optimizer.learning_rate=choice(0.1,0.1)"  # so that both trials are the same two jobs
    done = sweep(*OPTUNA, "objective.seeds=2", "seed=4", space, *FAST, "data.max_examples=60", "num_rounds=1", cwd=tmp_path)
    made = table(tmp_path)
    assert [(job["number"], job["parameters"]["seed"]) for job in made["jobs"]] == [(1, 4), (2, 5)]
    values = [job["objective"][0] for job in made["jobs"]]
    (group,) = made["groups"]
    assert group["jobs"] == made["best"] == [1, 2] and "seed" not in group["parameters"]
    assert group["objective"] == [statistics.fmean(values)] and group["deviation"] == [statistics.stdev(values)]
    assert made["best_command"].endswith("seed=4")
    study = optuna.load_study("study", f"sqlite:///{tmp_path}/sweep/optuna.db")
    assert [trial.values for trial in study.trials] == [group["objective"]] * 2
    assert "│ 1, 2 │ 0.1" in done.stdout and "% ± " in done.stdout and "also counts seed=5" in done.stdout


def test_two_commands_do_not_run_the_same_sweep_at_once(tmp_path):
    (tmp_path / "sweep").mkdir()
    with lock.RunLock(tmp_path / "sweep" / ".lock"):
        done = sweep("seed=0,1", *FAST, cwd=tmp_path, code=1)
    assert f"is being written by process {os.getpid()}" in done.stderr


@pytest.mark.slow
def test_a_study_of_which_every_trial_fails_is_a_failed_sweep_and_no_more(tmp_path):
    done = sweep(*OPTUNA, "cohort.clients_per_round=choice(50,60)", *FAST, cwd=tmp_path, code=1)
    assert done.stderr.count("there are only 10 clients") >= 1 and set(statuses(tmp_path)) == {"failed"}
    assert done.stderr.splitlines()[-1].startswith("fedlab train: the sweep has failed")
    assert table(tmp_path)["best_command"] is None


@pytest.mark.slow
def test_jobs_side_by_side_share_the_cores(tmp_path):
    sweep("seed=0,1", *SIDE_BY_SIDE, *FAST, cwd=tmp_path)
    assert statuses(tmp_path) == ["finished", "finished"]
    cores = max(1, len(os.sched_getaffinity(0)) // 2)
    machines = [manifest["machine"] for manifest in manifests(tmp_path)]
    assert [machine["cores"] for machine in machines] == [cores, cores]
    assert [machine["inter_op_threads"] for machine in machines] == [cores, cores]


@pytest.mark.slow
def test_the_best_command_gives_the_best_job_again(tmp_path):
    sweep("client_optimizer.learning_rate=0.01,0.1", *FAST, "client.local_epochs=2", cwd=tmp_path)
    made = table(tmp_path)
    command = made["best_command"].split()[2:]
    command = [word.strip("'") for word in command]
    subprocess.run(
        [sys.executable, "-m", "fedlab.cli.main", "train", *command, "hydra.run.dir=alone"],
        cwd=tmp_path,
        check=True,
        timeout=1800,
        stdout=subprocess.DEVNULL,
    )
    best = tmp_path / "sweep" / made["jobs"][made["best"][0] - 1]["folder"]
    hashes = [json.loads((folder / "summary.json").read_text())["weights_hash"] for folder in (best, tmp_path / "alone")]
    assert hashes[0] == hashes[1]


@pytest.mark.slow
def test_a_diverging_trial_is_recorded_as_failed_and_the_study_goes_on(tmp_path):
    import optuna

    space = "client_optimizer.learning_rate=choice(0.1,1e30)"
    sweep(*OPTUNA, "hydra.sweeper.n_trials=6", "seed=1", space, *FAST, cwd=tmp_path, code=1)
    trials = optuna.load_study("study", f"sqlite:///{tmp_path}/sweep/optuna.db").trials
    assert len(trials) == 6 and {t.state.name for t in trials} == {"COMPLETE", "FAIL"}
    assert sorted(statuses(tmp_path)) == ["failed", "finished"]  # equal trials are one job
    assert "the model has diverged" in next(job["failure"] for job in table(tmp_path)["jobs"] if job["failure"])


@pytest.mark.slow
def test_a_study_counts_its_trials_over_all_invocations_and_looks_for_two_things(tmp_path):
    import optuna

    command = [
        *OPTUNA,
        "client_optimizer.learning_rate=tag(log,interval(0.01,1))",
        "objective.metric=[test_accuracy,test_loss]",
        "objective.direction=[maximize,minimize]",
        *FAST,
    ]
    sweep(*command, cwd=tmp_path)
    assert len(table(tmp_path)["jobs"]) == 2
    sweep(*command, cwd=tmp_path)
    assert len(table(tmp_path)["jobs"]) == 2
    sweep(*command, "hydra.sweeper.n_trials=3", cwd=tmp_path)
    jobs = table(tmp_path)["jobs"]
    assert [job["number"] for job in jobs] == [1, 2, 3] and all(len(job["objective"]) == 2 for job in jobs)
    study = optuna.load_study("study", f"sqlite:///{tmp_path}/sweep/optuna.db")
    assert [t.values for t in study.trials] == [job["objective"] for job in jobs]
    assert table(tmp_path)["best"] == sorted(t.number + 1 for t in study.best_trials)


@pytest.mark.slow
@pytest.mark.parametrize("how", [[], SIDE_BY_SIDE, OPTUNA], ids=["basic", "joblib", "optuna"])
def test_after_the_sweep_is_killed_the_same_command_goes_on(how, tmp_path):
    """Its jobs save their state when they lose it, and no work is lost."""
    command = ["client_optimizer.learning_rate=choice(0.01,0.1)", "seed=0", *how, *LONG]
    running = begin(*command, cwd=tmp_path)
    wait_for(lambda: rounds(tmp_path) and min(rounds(tmp_path)) > 30)
    running.kill()
    with running:  # closes its pipes, which the workers of a launcher may hold open
        pass
    wait_for(lambda: not any(lock.is_held(path) for path in (tmp_path / "sweep").glob("*/.lock")))
    assert {m["status"] for m in manifests(tmp_path)} == {"interrupted"}
    done_before = max(rounds(tmp_path))
    assert 30 < done_before < 3000
    done = sweep(*command, cwd=tmp_path)
    assert "goes on" in done.stdout
    assert set(statuses(tmp_path)) == {"finished"}
    resumed = [again["from_round"] for m in manifests(tmp_path) for again in m["resumed"]]
    assert done_before + 1 in resumed and table(tmp_path)["status"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("how", [[], SIDE_BY_SIDE], ids=["basic", "joblib"])
def test_a_signal_lets_the_jobs_save_their_state(how, number, tmp_path):
    running = begin("seed=0,1,2", *how, *LONG[1:], "num_rounds=100000", cwd=tmp_path)
    jobs = 2 if how else 1
    wait_for(lambda: len(rounds(tmp_path)) == jobs and min(rounds(tmp_path)) > 30)
    if number == signal.SIGINT:
        os.killpg(running.pid, number)  # as a terminal does, to the launcher's workers too
    else:
        running.send_signal(number)
    out, err = running.communicate(timeout=1800)
    assert running.returncode == 128 + number, out + err
    assert "stopping every job after its round" in err and "Traceback" not in err
    assert "to go on: fedlab train -m hydra.sweep.dir=sweep seed=0,1,2 " in out
    assert [m["status"] for m in manifests(tmp_path)] == ["interrupted"] * jobs  # and the third has not begun
    assert all(m["rounds_completed"] > 30 for m in manifests(tmp_path))
    assert len(list((tmp_path / "sweep").glob("*/checkpoints"))) == jobs
    assert table(tmp_path)["status"] == "interrupted" and set(statuses(tmp_path)) == {"interrupted"}
