"""`fedlab.sweep` as a notebook calls it: twice in one process, with a function for its lines."""

from __future__ import annotations

import sys

import pytest

import fedlab

SMALL = ["data.max_examples=100", "model.hidden=[4]", "num_rounds=1", "evaluation.per_client=false", "logger=[]"]
BOTH = ["cohort.clients_per_round=2,50", *SMALL]  # one job trains, the other fails: there are ten clients


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """The same call twice in this process: (results, lines) of each."""
    folder, found = tmp_path_factory.mktemp("sweep") / "s", []
    for _ in range(2):
        lines: list = []
        found.append((fedlab.sweep("", *BOTH, folder=folder, on_line=lines.append), lines))
    return found


def test_the_results_are_plain_and_typed(twice):
    sweep, _ = twice[0]
    assert isinstance(sweep, fedlab.SavedSweep) and sweep.status == "failed"
    good, bad = sweep.jobs
    assert isinstance(good, fedlab.SweepJob) and (good.status, bad.status) == ("finished", "failed")
    assert good.overrides == {"cohort.clients_per_round": 2} and good.failure is None
    assert good.objective == {"test_accuracy": good.summary["test_accuracy"]}
    assert good.summary == good.run().summary and good.run().config["cohort"]["clients_per_round"] == 2
    assert "there are only 10 clients" in bad.failure and bad.objective == bad.summary == {}
    assert sweep.best == (good,) and good.command.startswith("fedlab train cohort.clients_per_round=2 ")
    assert repr(sweep) == f"<sweep digits/fed_avg, failed, 2 jobs, in {sweep.folder}>"


def test_lines_go_to_the_function_and_nowhere_else(twice, capfd):
    sweep, lines = twice[0]
    assert [line.partition(": ")[2].partition(" ")[0] for line in lines[1:]] == ["starts", "finished", "starts", "failed"]
    assert lines[0].startswith("sweep folder: ") and lines[0].endswith(", 2 jobs")
    fedlab.sweep("", *BOTH, folder=sweep.folder)
    assert capfd.readouterr() == ("", "")


def test_the_same_call_goes_on(twice):
    (first, _), (second, lines) = twice
    assert second.jobs[0] == first.jobs[0]  # seconds and weights of the first call: it was not trained again
    assert "had finished before" in lines[1] and lines[2].endswith("starts")  # the job that failed is tried again


def test_the_command_line_goes_on_with_it_and_opens_as_the_same(twice, capfd):
    import shlex

    from fedlab.cli.main import main

    sweep = twice[1][0]
    assert fedlab.open_sweep(sweep.folder) == sweep
    assert main(shlex.split(sweep.command)[1:]) == 1
    assert "had finished before" in capfd.readouterr().out
    assert main(["report", str(sweep.folder)]) == 0


def test_the_process_is_left_as_it_was(twice):
    assert not any(word.startswith("fedlab train") for word in sys.argv)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sead=1,2"], "no option 'sead'. Did you mean 'seed'?"),
        (["sead=choice(1,2)", "hydra/sweeper=optuna"], "no option 'sead'. Did you mean 'seed'?"),
        (["model=mlp,cnm"], "no model 'cnm'. Did you mean 'cnn'?"),
        (["seed=1,2", "hydra.sweep.dir=x"], r"fedlab\.sweep takes folder=… for the folder of the sweep"),
        (["seed=1,2", "-q"], "'-q' is a flag of the command line"),
        (["objective.seeds=2", "seed=1,2"], "do not sweep over seed as well"),
    ],
)
def test_a_mistake_is_found_before_the_first_job(words, says, tmp_path):
    with pytest.raises(fedlab.ConfigError, match=says):
        fedlab.sweep("", *words, folder=tmp_path / "deep" / "s")
    assert not list(tmp_path.iterdir())


def test_what_is_no_sweep_is_one_line(tmp_path):
    with pytest.raises(fedlab.FedlabError, match=r"is no sweep: it has no sweep\.json"):
        fedlab.open_sweep(tmp_path)
