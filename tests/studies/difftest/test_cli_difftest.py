"""Two arms on digits from the command line, their report, and `fedlab difftest` with its exit codes."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from fedlab.cli.main import main
from fedlab.studies.difftest.record import read_differences

TRAIN = (
    *("train", "+experiment=difftest/a1_a2", "data=digits", "num_rounds=2", "partition.num_clients=3", "data.max_examples=600"),
    *("arms.a2.model.hidden=[8]", "logger={}", "hydra.run.dir=run"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tensorflow):
    """A folder with the run `run` in it, whose arms are a1 and a2; and what training printed."""
    path, printed = tmp_path_factory.mktemp("difftest"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(path)
        assert main(TRAIN) == 0
    (path / "printed").write_text(printed.getvalue())
    return path


def ask(folder, capsys, monkeypatch, *args):
    """(exit code, stdout, stderr) of `fedlab difftest`."""
    monkeypatch.chdir(folder)
    code = main(["difftest", *args])
    return (code, *capsys.readouterr())


def test_the_run_tells_the_verdict_and_reports_it(folder):
    assert "\ndifftest: different: a2 differs from a1 in " in (folder / "printed").read_text()
    rows = read_differences(folder / "run" / "difftest.csv")
    assert [(row.round, row.client) for row in rows] == [(r, c) for r in (1, 2) for c in ("0", "1", "2", "(all)")]
    page = (folder / "run" / "report.html").read_text()
    for part in (
        "Differential test",
        "Predictions of a2 that differ from those of a1",
        "p-values: McNemar",
        "Scores of the same",
    ):
        assert part in page


def test_arms_that_differ_exit_with_4_and_agree_with_the_run(folder, tensorflow, capsys, monkeypatch):
    code, out, _ = ask(folder, capsys, monkeypatch, "run:a1", "run:a2", "--csv", "d.csv", "--html", "d.html")
    assert code == 4
    assert "\ndifferent: run:a2 differs from run:a1 in " in out
    in_the_run = read_differences(folder / "run" / "difftest.csv")[4:]
    assert [(r.client, r.delta_class, r.verdict, r.found) for r in read_differences(folder / "d.csv")] == [
        (r.client, r.delta_class, r.verdict, r.found) for r in in_the_run
    ]
    assert "Differential test" in (folder / "d.html").read_text()


def test_a_model_is_equal_to_itself_and_exits_with_0(folder, tensorflow, capsys, monkeypatch):
    for data in ("clients", "test"):
        code, out, _ = ask(folder, capsys, monkeypatch, "run:a1", "run:a1", "--data", data, "--tolerance", "0")
        assert code == 0 and "\nequal: " in out


def test_too_few_examples_exit_with_5(folder, tensorflow, capsys, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (12, 28, 28, 1)).astype(np.uint8), np.arange(12) % 3
    np.savez(folder / "few.npz", x=x, y=y, user_ids=np.repeat(["u", "v"], 6))
    few = ("run:a1", "run:a2", "--data", "few.npz", "--csv", "few.csv")
    code, out, _ = ask(folder, capsys, monkeypatch, *few, "--alpha", "1e-9")
    assert code == 5 and "\nundecided: run:a2 and run:a1, neither shown to differ nor shown to be equal on all 2 clients" in out
    assert [row.client for row in read_differences(folder / "few.csv")] == ["u", "v", "(all)"]
    assert ask(folder, capsys, monkeypatch, *few, "--tolerance", "0.95")[0] == 0  # hardly anything is beyond that


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("run",), 2, "the following arguments are required: RUN. See fedlab difftest --help."),
        (("run:a1", "nothing"), 1, "no such run: nothing does not exist"),
        (("run:a1", "run:a3"), 1, "run has no arm 'a3'. Its arms: a1, a2. Did you mean 'a2'?"),
        (("run", "run:a1"), 2, "run is a run with arms: name one of them, such as run:a1."),
        (("run:a1", "run:a2", "--tolerance", "2"), 2, "--tolerance 2: input should be less than 1."),
        (("run:a1", "run:a2", "--bootstrap", "many"), 2, "--bootstrap many: input should be a valid integer"),
        (("run:a1", "run:a2", "--seed", "-1"), 2, "argument --seed: '-1' is not a whole number of at least 0."),
        (("run:a1", "run:a2", "--data", "tests"), 2, "--data tests: give clients, test, or an .npz file."),
        (("run:a1", "run:a2", "--data", "none.npz"), 3, "none.npz: no such file"),
        (("run:a1", "run:a2", "--csv", "nowhere/d.csv"), 2, "--csv nowhere/d.csv: there is no folder nowhere."),
    ],
)
def test_mistakes_are_one_line(args, code, message, folder, capsys, monkeypatch):
    found, _, err = ask(folder, capsys, monkeypatch, *args)
    assert found == code
    assert err.startswith(f"fedlab difftest: {message}") and err.count("\n") == 1


def test_data_that_do_not_fit_are_named(folder, tensorflow, capsys, monkeypatch):
    np.savez(folder / "flat.npz", x=np.zeros((4, 7), np.float32), y=[0, 1, 0, 1])
    code, _, err = ask(folder, capsys, monkeypatch, "run:a1", "run:a2", "--data", "flat.npz")
    assert (code, err) == (3, "fedlab difftest: run/arms/a1/model.keras takes examples of shape [28, 28, 1], these have [7].\n")


def test_a_run_that_has_left_no_model_is_named(folder, capsys, monkeypatch):
    (folder / "run" / "arms" / "a2" / "model.keras").rename(folder / "aside")
    code, _, err = ask(folder, capsys, monkeypatch, "run:a1", "run:a2")
    (folder / "aside").rename(folder / "run" / "arms" / "a2" / "model.keras")
    assert code == 1 and err.startswith("fedlab difftest: run is damaged: arms/a2/model.keras is missing.")


@pytest.mark.slow
def test_runs_that_were_given_other_examples_are_refused_though_they_are_as_many(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    other = [*TRAIN[:-1], "seed=1", "hydra.run.dir=other"]
    assert main(other) == 0
    code, _, err = ask(folder, capsys, monkeypatch, "run:a1", "other:a1", "--data", "test")
    assert code == 3 and "the two runs do not have the same test set" in err
