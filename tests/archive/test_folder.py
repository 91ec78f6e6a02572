"""A run's folder is its own, and its files are whole or not there."""

from __future__ import annotations

import concurrent.futures
import json
import os
import subprocess
import sys

import pytest

from fedlab.archive import Run, RunFolder, inventory, make_folder, read_run, replacing, scan
from fedlab.archive.folder import read_json
from fedlab.archive.lock import RunLock, holder
from fedlab.archive.metrics import read_records
from fedlab.errors import FedlabError
from fedlab.filter import Provenance
from fedlab.fingerprint import parsed_json
from fedlab.run.child import JobFolder
from fedlab.studies.reproduce.results import read_card
from fedlab.studies.sweep.results import read_sweep


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: RunFolder.create(tmp_path / "out" / "12-00-00", {}), range(20)))
    assert len({f.path for f in folders}) == 20
    assert {f.path.name for f in folders} == {"12-00-00"} | {f"12-00-00-{i}" for i in range(2, 21)}


def test_a_folder_without_a_run_in_it_is_taken(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    assert RunFolder.create(tmp_path / "mine", {}).path == tmp_path / "mine"
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep me"


def test_a_file_in_the_way_is_an_error_that_names_it(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(FedlabError, match=r"run is a file: move it, or set hydra\.run\.dir"):
        RunFolder.create(tmp_path / "run", {})
    with pytest.raises(FedlabError, match=r"set hydra\.run\.dir"):
        RunFolder.create(tmp_path / "run" / "below", {})


def test_what_was_there_before_outlives_a_run_that_never_began(tmp_path):
    """As with hydra.run.dir=. and a mistake that only the model's builder finds."""
    (tmp_path / "thesis" / "chapters").mkdir(parents=True)
    (tmp_path / "thesis" / "chapters" / "1.tex").write_text("years of work")
    folder = RunFolder.create(tmp_path / "thesis", {})
    folder.config.write_text("")
    (folder.path / "arms").mkdir()
    folder.discard()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "thesis",
        "thesis/chapters",
        "thesis/chapters/1.tex",
    ]
    RunFolder.create(tmp_path / "new", {}).discard()
    assert not (tmp_path / "new").exists()


KILLED_AT_EVERY_STEP = """
import json, os, pathlib, signal, sys
from fedlab.archive import RunFolder, noise_key

root, step = pathlib.Path(sys.argv[1]), 0
while True:
    step += 1
    at = root / str(step) / "2026-01-01_00-00-00"
    child = os.fork()
    if not child:
        seen = 0

        def count(event, arguments):
            global seen
            if event.startswith("os.") or event == "open" and str(at) in str(arguments[0]):
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        folder = RunFolder.create(at, {"status": "running", "config": {}, "num_rounds": 1, "rounds_completed": 0})
        noise_key.create(folder.noise_key)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(step)
"""


def test_killed_at_any_step_of_its_beginning_it_leaves_a_run_or_a_folder_that_is_named(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED_AT_EVERY_STEP, tmp_path], capture_output=True, text=True, check=True)
    steps, told = int(done.stdout), set()
    assert steps > 10
    for step in range(1, steps + 1):
        found = list(scan(tmp_path / str(step))) if (tmp_path / str(step)).exists() else []
        left = list((tmp_path / str(step)).glob("*"))
        assert len(found) == len(left) <= 1, (step, left, found)
        told.update("run" if isinstance(one, Run) else str(one).partition(": ")[2] for one in found)
        assert all(one.status == "interrupted" for one in found if isinstance(one, Run))
    assert told == {"run", "a run was killed before it began, and computed nothing: remove this folder, and train again"}


def test_a_folder_without_a_run_names_a_run_below_it(tmp_path):
    with pytest.raises(FedlabError, match=r"no such run: .* holds no manifest\.json"):
        RunFolder.existing(make_folder(tmp_path / "sweep"))
    for name in ("2_seed=1", "1_seed=0"):
        (tmp_path / "sweep" / "jobs" / name).mkdir(parents=True)
        (tmp_path / "sweep" / "jobs" / name / "manifest.json").write_text("{}")
    with pytest.raises(FedlabError, match=r"is a folder of runs, not a run: name one of them, such as .*sweep/jobs/1_seed=0\.$"):
        RunFolder.existing(tmp_path / "sweep")


class TestFoldersOfRunsThatNeverBegan:
    def test_that_of_an_older_fedlab_names_its_command(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        folder = make_folder(tmp_path / "run")
        (folder / "config.yaml").write_text("# fedlab train num_rounds=3\nseed: 0\n")
        expected = (
            "run: a run was killed before it began, and computed nothing: remove this folder, and run the command again: "
            "fedlab train num_rounds=3"
        )
        assert [str(found) for found in scan(tmp_path)] == [expected]
        with pytest.raises(FedlabError, match="fedlab train num_rounds=3"):
            RunFolder.existing(folder)

    def test_other_folders_are_nobodys(self, tmp_path):
        (tmp_path / "empty").mkdir()
        (tmp_path / "conf").mkdir()
        (tmp_path / "conf" / "config.yaml").write_text("# mine\n")
        assert not list(scan(tmp_path))

    def test_one_that_is_just_beginning_is_not_named(self, tmp_path):
        folder = RunFolder(make_folder(tmp_path / "2026-01-01_00-00-00"))
        assert len(list(scan(tmp_path))) == 1
        with RunLock(folder.lock):
            assert not list(scan(tmp_path))


class TestReplacing:
    def test_the_file_appears_when_it_is_whole(self, tmp_path):
        path = tmp_path / "summary.json"
        with replacing(path) as partial:
            partial.write_text("half")
            assert not path.exists() and partial.parent == tmp_path
            partial.write_text("whole")
        assert path.read_text() == "whole" and os.listdir(tmp_path) == ["summary.json"]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    @pytest.mark.parametrize("written", [True, False])
    def test_after_an_error_nothing_is_left_and_the_old_file_stays(self, tmp_path, error, written):
        path = tmp_path / "summary.json"
        path.write_text("old")
        with pytest.raises(error), replacing(path) as partial:
            if written:
                partial.write_text("half")
            raise error
        assert path.read_text() == "old" and os.listdir(tmp_path) == ["summary.json"]

    def test_a_file_keeps_its_extension_while_it_is_written(self, tmp_path):
        """Keras and matplotlib look at it."""
        with replacing(tmp_path / "model.keras") as partial:
            assert partial.suffix == ".keras"
            partial.write_text("")


def test_summary_is_json(tmp_path):
    folder = RunFolder(make_folder(tmp_path / "run"))
    folder.write_summary({"test_accuracy": 0.5, "num_rounds": 3})
    assert json.loads(folder.summary.read_text()) == {"test_accuracy": 0.5, "num_rounds": 3}


@pytest.mark.parametrize("depth", [150, 100_000])
@pytest.mark.parametrize("brackets", ["[]", ('{"a":', "}")], ids=["list", "object"])
def test_json_that_is_nested_too_deeply_is_damage(tmp_path, depth, brackets):
    """Python's reader, or a function that walks through the value, ends with a RecursionError. No reader of files expects it."""
    begin, end = brackets
    text = begin * depth + "1" + end * depth
    made, folder = tmp_path / "run", RunFolder(tmp_path / "run")
    made.mkdir()
    for name in ("manifest.json", "metrics.jsonl", "inventory.json", "sweep.json", "scorecard.json", "job.json", "kept.json"):
        (made / name).write_text(text + "\n")
    refusing = [
        lambda: read_json(folder.manifest),
        lambda: inventory.read(folder),
        lambda: read_run(made),
        lambda: read_sweep(made),
        lambda: read_card(made),
        lambda: Provenance.read(made / "kept.csv"),
    ]
    for read in refusing:
        with pytest.raises(FedlabError, match=r"damaged.*nested in more than 100 levels") as caught:
            read()
        assert "\n" not in str(caught.value)
    assert read_records(folder.metrics) == [] and JobFolder(made).read() is None and holder(made / "job.json") is None
    assert parsed_json('{"a": [{"b": [1, 2.5, null, "[[["]}]}') == {"a": [{"b": [1, 2.5, None, "[[["]}]}


def test_a_metric_that_is_not_finite_is_null_in_the_summary(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_summary({"test_r2": float("nan"), "test_rmse": 0.5, "seeds": [float("-inf"), 1]})
    assert json.loads(folder.summary.read_text()) == {"test_r2": None, "test_rmse": 0.5, "seeds": [None, 1]}
