"""A run's folder is its own, and its files are whole or not there."""

from __future__ import annotations

import concurrent.futures
import json
import os

import pytest

from fedlab.archive import RunFolder, replacing
from fedlab.errors import FedlabError


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: RunFolder.create(tmp_path / "out" / "12-00-00"), range(20)))
    assert len({f.path for f in folders}) == 20
    assert {f.path.name for f in folders} == {"12-00-00"} | {f"12-00-00-{i}" for i in range(2, 21)}


def test_a_folder_without_a_run_in_it_is_taken(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    assert RunFolder.create(tmp_path / "mine").path == tmp_path / "mine"
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep me"


def test_a_file_in_the_way_is_an_error_that_names_it(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(FedlabError, match=r"run is a file: move it, or set hydra\.run\.dir"):
        RunFolder.create(tmp_path / "run")
    with pytest.raises(FedlabError, match=r"set hydra\.run\.dir"):
        RunFolder.create(tmp_path / "run" / "below")


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
    folder = RunFolder.create(tmp_path / "run")
    folder.write_summary({"test_accuracy": 0.5, "num_rounds": 3})
    assert json.loads(folder.summary.read_text()) == {"test_accuracy": 0.5, "num_rounds": 3}
