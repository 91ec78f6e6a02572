"""Files that a run names are found from any folder, may move, and are told from others by their content."""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import pkgutil
import shutil
import subprocess
import sys
import typing

import numpy as np
import pytest

import fedlab
from fedlab import trust
from fedlab.cli.main import main
from fedlab.config import composing as configuration
from fedlab.errors import ConfigError, DataError, FedlabError
from fedlab.run import locations, recorded
from fedlab.run.child import JobFolder, JobRecord
from fedlab.spec import Spec, absolute

NO_LOCATIONS = {  # options that hold text, or a list of texts, and name no file and no folder
    ("Classification", "labels"),
    ("Corruption", "users"),
    ("Difftest", "arms"),
    ("Dirichlet", "by"),
    ("EarlyStop", "metric"),
    ("EarlyStop", "when"),
    ("Evaluation", "metrics"),
    ("Evaluation", "per_client"),
    ("Expectation", "source"),
    ("Expectation", "unmeasured"),
    ("Experiment", "arms"),
    ("Experiment", "logger"),
    ("FedPer", "head"),
    ("FedRep", "head"),
    ("Figure", "metric"),
    ("Figure", "value"),
    ("TffProcess", "options"),  # as of Function
    ("Function", "options"),  # what a user's own function makes of them, nobody else can tell
    ("HuggingFace", "input"),
    ("HuggingFace", "target"),
    ("HuggingFace", "user"),
    ("Initial", "freeze"),
    ("Initial", "layers"),
    ("Investigation", "high"),
    ("Investigation", "low"),
    ("Keep", "best"),
    ("Mlflow", "experiment"),
    ("MultiLabel", "names"),
    ("NextToken", "vocabulary"),
    ("Objective", "metric"),
    ("Pachinko", "by"),
    ("Row", "experiment"),
    ("Row", "metric"),
    ("Row", "note"),
    ("Row", "overrides"),
    ("Row", "paper"),
    ("Row", "source"),
    ("Row", "verb"),
    ("Rule", "above"),
    ("Rule", "below"),
    ("Rule", "equal"),
    ("Scorecard", "paper"),
    ("Scorecard", "rows"),
    ("Scorecard", "title"),
    ("Source", "classes"),
    ("Split", "cut"),
    ("Split", "cut_top"),
    ("Table", "categorical"),
    ("Table", "drop"),
    ("Table", "missing"),
    ("Table", "separator"),
    ("Table", "target"),
    ("Table", "user"),
    ("TaskLoss", "class_weights"),
    ("Text", "heading"),
    ("Text", "text"),
    ("Text", "user"),
}
TINY = "data=npz model.hidden=[4] cohort.clients_per_round=2 logger=[] checkpoint.every=1"


def subclasses(cls):
    return {cls, *(below for child in cls.__subclasses__() for below in subclasses(child))}


def specs(tensorflow):
    for module in pkgutil.walk_packages(fedlab.__path__, "fedlab."):
        importlib.import_module(module.name)
    found = [spec for spec in subclasses(Spec) if spec.__module__.startswith("fedlab.")]
    assert len(found) > 50
    return found


def holds_text(annotation):
    return annotation is str or any(map(holds_text, typing.get_args(annotation)))


def node(spec, **options):
    return {"_target_": f"{spec.__module__}.{spec.__name__}", **options}


def test_every_option_that_holds_text_is_a_location_or_is_known_not_to_be(tensorflow):
    for spec in specs(tensorflow):
        for option, field in spec.model_fields.items():
            if holds_text(field.annotation):
                known = any((base.__name__, option) in NO_LOCATIONS for base in spec.__mro__)
                assert (option in spec.locations) != known, f"{spec.__name__}.{option}: add it to locations, or to NO_LOCATIONS"


def test_every_location_is_recorded_as_an_absolute_path_in_runs_and_in_arms(tensorflow, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checked = set()
    for spec in specs(tensorflow):
        for option in spec.locations:
            stage = node(spec, **{option: "here/file"})
            config = {"stage": stage, "arms": {"a": {"stage": {option: "there/../file"}}, "b": {"stage": {"other": 1}}}}
            assert locations.keys(config) == {f"stage.{option}", f"arms.a.stage.{option}"}
            found = locations.absolute(config)
            assert found["stage"][option] == str(tmp_path / "here" / "file")
            assert found["arms"] == {"a": {"stage": {option: str(tmp_path / "file")}}, "b": {"stage": {"other": 1}}}
            assert locations.absolute(found) == found and config["stage"][option] == "here/file"
            several = {"stage": {"one": stage, "other": node(spec, **{option: None})}}  # loggers
            assert locations.keys(several) == {f"stage.one.{option}", f"stage.other.{option}"}
            assert locations.absolute(several)["stage"]["other"][option] is None
            checked.add(option)
    assert checked == {"path", "test_path", "dir", "file", "classifier", "tracking_uri", "from"}


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        ("~/a.npz", "{home}/a.npz"),
        ("/elsewhere/a.npz", "/elsewhere/a.npz"),
        (["a", "b"], ["{here}/a", "{here}/b"]),
        (None, None),
    ],
)
def test_absolute(tmp_path, monkeypatch, given, recorded):
    monkeypatch.chdir(tmp_path)
    expected = json.loads(json.dumps(recorded).replace("{home}", os.path.expanduser("~")).replace("{here}", str(tmp_path)))
    assert absolute(given) == expected


@pytest.mark.parametrize(
    ("uri", "recorded"),
    [
        ("http://host:5000", "http://host:5000"),
        ("sqlite:///runs.db", "sqlite:///{here}/runs.db"),
        ("sqlite:////var/runs.db", "sqlite:////var/runs.db"),
        ("file:mlruns", "file:{here}/mlruns"),
        ("file:///var/mlruns", "file:///var/mlruns"),
        ("mlruns", "{here}/mlruns"),
    ],
)
def test_servers_stay_what_they_are(tmp_path, monkeypatch, uri, recorded):
    from fedlab.run.loggers import Mlflow

    monkeypatch.chdir(tmp_path)
    assert Mlflow.recorded_location("tracking_uri", uri) == recorded.format(here=tmp_path)


@pytest.mark.parametrize(("variable", "recorded"), [("data", "{here}/data"), ("/data", None), ("~/data", None), (None, None)])
def test_a_relative_data_directory_of_the_environment_is_recorded(tmp_path, monkeypatch, variable, recorded):
    from fedlab.data import Digits

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)
    if variable:
        monkeypatch.setenv("FEDLAB_DATA_DIR", variable)
    found = locations.absolute({"data": node(Digits, dir=None)})["data"]["dir"]
    assert found == (recorded and recorded.format(here=tmp_path))


def write_npz(path, shift=0.0):
    rng = np.random.default_rng(0)
    y = (np.arange(120) % 3).astype(np.int32)
    users = np.arange(120) % 8
    x = rng.normal(size=(120, 6, 6, 1)).astype(np.float32) + y[:, None, None, None] + np.float32(shift)
    np.savez(path, x=x, y=y, user_ids=users)


@pytest.fixture
def command(tmp_path, monkeypatch, capfd, tensorflow):
    """Runs a command in a folder below tmp_path; (exit code, standard output, standard error)."""

    def run(folder, words):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        code = main(words.split())
        return (code, *capfd.readouterr())

    return run


@pytest.fixture
def trained(command, tmp_path):
    """A run of two rounds in a/run, with relative paths of data and filter."""
    (tmp_path / "a").mkdir()
    write_npz(tmp_path / "a" / "mine.npz")
    (tmp_path / "a" / "users.csv").write_text("".join(f"{user},True\n" for user in range(6)))
    files = "data.path=mine.npz filter=users filter.path=users.csv filter.verify=false"
    code, _, err = command("a", f"train {TINY} partition=by_user {files} num_rounds=2 hydra.run.dir=run -q")
    assert code == 0, err
    return tmp_path / "a" / "run"


def test_a_run_with_relative_paths_is_read_from_any_folder(command, trained, tmp_path):
    manifest = json.loads((trained / "manifest.json").read_text())
    assert manifest["config"]["data"]["path"] == str(tmp_path / "a" / "mine.npz")
    assert manifest["config"]["filter"]["path"] == str(tmp_path / "a" / "users.csv")
    assert f"path: {tmp_path}/a/mine.npz" in (trained / "config.yaml").read_text()
    assert command("b", "verify ../a/run -q")[0] == 0
    assert command("b", "difftest ../a/run ../a/run")[0] == 0
    shutil.copy(trained / "model.keras", tmp_path / "b" / "victim.keras")
    words = "attack.target=file attack.file=victim.keras attack.iterations=2 attack.num_starts=1 -q"
    assert command("b", f"attack ../a/run {words}")[0] == 0
    result = json.loads(next((trained / "attacks").glob("*.json")).read_text())
    assert result["file"] == str(tmp_path / "b" / "victim.keras")
    assert command("b", "train resume=../a/run num_rounds=3 -q")[0] == 0


@pytest.mark.slow
def test_files_that_have_moved_are_accepted_and_others_refused(command, trained, tmp_path):
    (tmp_path / "c").mkdir()
    shutil.move(tmp_path / "a" / "mine.npz", tmp_path / "c" / "moved.npz")
    shutil.move(tmp_path / "a" / "users.csv", tmp_path / "c" / "kept.csv")
    write_npz(tmp_path / "c" / "other.npz", shift=1.0)
    (tmp_path / "c" / "fewer.csv").write_text("".join(f"{user},True\n" for user in range(5)))
    moved = "data.path=moved.npz filter.path=kept.csv"
    for verb in ("verify ../a/run", "train resume=../a/run num_rounds=3"):
        code, _, err = command("c", f"{verb} -q")
        assert code == 3 and "mine.npz: no such file" in err and err.count("\n") == 1
        code, _, err = command("c", f"{verb} data.path=other.npz filter.path=kept.csv -q")
        assert code == 3 and "data of " in err and "is not what it was" in err and err.count("\n") == 1
        code, _, err = command("c", f"{verb} data.path=moved.npz filter.path=fewer.csv -q")
        assert code == 3 and "the partition of " in err and err.count("\n") == 1
    assert command("c", f"verify ../a/run {moved} -q")[0] == 0
    code, _, err = command("c", "verify ../a/run seed=1 -q")
    assert code == 2 and "'seed=1' does not go with verify: it takes data.dir=PATH, data.path=PATH, filter.path=PATH" in err
    assert command("c", f"attack ../a/run attack.iterations=2 attack.num_starts=1 {moved} -q")[0] == 0
    assert command("c", f"train resume=../a/run num_rounds=3 {moved} -q")[0] == 0
    assert json.loads((trained / "manifest.json").read_text())["config"]["data"]["path"] == str(tmp_path / "c" / "moved.npz")
    assert f"path: {tmp_path}/c/moved.npz" in (trained / "config.yaml").read_text()
    assert command("b", "verify ../a/run -q")[0] == 0


class TestFilesThatAreNoData:
    """Such as the classifier that measures a GAN's images: they are told by their SHA-256."""

    def config(self, path):
        return {"evaluation": {"_target_": "fedlab.evaluation.GanEvaluation", "classifier": str(path)}, "seed": 1}

    def test_the_same_content_is_accepted_wherever_it_lies(self, tmp_path):
        (tmp_path / "a.keras").write_text("one")
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "model.keras").write_text("one")
        then = self.config(tmp_path / "a.keras")
        known = locations.fingerprints(then)
        assert list(known) == ["evaluation.classifier"]
        locations.require_same(tmp_path, then, known, self.config(tmp_path / "run"))

    def test_other_content_is_refused_also_in_its_place(self, tmp_path):
        file = tmp_path / "a.keras"
        file.write_text("one")
        known = locations.fingerprints(self.config(file))
        file.write_text("two")
        with pytest.raises(
            DataError, match=r"evaluation\.classifier of .* has changed: its SHA-256 was .*… now\. Restore the file"
        ):
            locations.require_same(tmp_path, self.config(file), known, self.config(file))
        with pytest.raises(DataError, match="is no file now"):
            locations.require_same(tmp_path, self.config(file), known, self.config(tmp_path / "gone.keras"))

    def test_of_an_older_run_it_has_to_stay_where_it_was(self, tmp_path):
        (tmp_path / "a.keras").write_text("one")
        (tmp_path / "b.keras").write_text("one")
        locations.require_same(tmp_path, self.config(tmp_path / "a.keras"), None, self.config(tmp_path / "a.keras"))
        with pytest.raises(DataError, match="recorded no fingerprint"):
            locations.require_same(tmp_path, self.config(tmp_path / "a.keras"), None, self.config(tmp_path / "b.keras"))


class TestSweeps:
    def config(self, path, seed=0):
        return {"data": {"_target_": "fedlab.data.Npz", "path": str(path)}, "seed": seed}

    def record(self, tmp_path, name, path, **parameters):
        folder = JobFolder(tmp_path / name)
        folder.path.mkdir()
        folder.write(JobRecord(1, "npz", "fedlab train", parameters, self.config(path)))
        return folder

    def found(self, tmp_path, path, **parameters):
        import types

        from fedlab.studies.sweep.jobs import _folder

        config = path if isinstance(path, dict) else self.config(path)
        return _folder(types.SimpleNamespace(folder=tmp_path), parameters, config).path

    def test_a_job_whose_file_has_moved_keeps_its_folder(self, tmp_path):
        folder = self.record(tmp_path, "seed-0-abc", "/old/a.npz", seed=0)
        assert self.found(tmp_path, "/new/a.npz", seed=0) == folder.path
        folder.write(JobRecord(1, "npz", "fedlab train", {"seed": 0}, self.config("/new/a.npz")))
        assert self.found(tmp_path, "/new/a.npz", seed=0) == folder.path  # whose name still tells of the old place

    def test_jobs_that_differ_in_their_file_have_a_folder_each(self, tmp_path):
        folder = self.record(tmp_path, "path-a-abc", "/a.npz", **{"data.path": "/a.npz"})
        assert self.found(tmp_path, "/b.npz", **{"data.path": "/b.npz"}) != folder.path
        assert self.found(tmp_path, "/b.npz", data="mine") != folder.path  # chosen by a file of options

    def test_a_job_of_an_earlier_version_keeps_its_folder(self, tmp_path):
        """Its job.json, and the digest in its folder's name, hold the earlier names of components."""
        now = {**self.config("/a.npz"), "objective": {"_target_": "fedlab.studies.sweep.objective.Objective"}}
        now["difftest"] = {"_target_": "fedlab.studies.difftest.options.NoDifftest"}
        then = {**now, "objective": {"_target_": "fedlab.run.objective.Objective"}}
        then["difftest"] = {"_target_": "fedlab.difftest.NoDifftest"}
        folder = self.record(tmp_path, "seed-0-abc", "/a.npz", seed=0)
        folder.record.write_text(json.dumps({**json.loads(folder.record.read_text()), "config": then}))
        assert self.found(tmp_path, now, seed=0) == folder.path


@pytest.fixture
def sweep(tmp_path):
    """Runs a command in a folder below tmp_path, in a process of its own; (exit code, both outputs)."""

    def run(folder, words, code=0):
        (tmp_path / folder).mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "fedlab.cli.main", *words.split()], cwd=tmp_path / folder, capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.mark.slow
def test_a_sweep_goes_on_with_its_data_elsewhere(sweep, tmp_path):
    (tmp_path / "a").mkdir()
    write_npz(tmp_path / "a" / "mine.npz")
    words = f"train -m {TINY} partition.num_clients=4 num_rounds=2 seed=1 hydra.sweep.dir={tmp_path}/sweep"
    sweep("a", f"{words} data.path=mine.npz")
    jobs = sorted((tmp_path / "sweep").glob("*/job.json"))
    assert [json.loads(job.read_text())["config"]["data"]["path"] for job in jobs] == [str(tmp_path / "a" / "mine.npz")]
    (tmp_path / "b").mkdir()
    shutil.copy(tmp_path / "a" / "mine.npz", tmp_path / "b" / "moved.npz")
    write_npz(tmp_path / "b" / "other.npz", shift=1.0)
    assert sweep("b", f"{words} data.path=other.npz", code=1).count("is not what it was") >= 1
    assert sweep("b", f"{words} data.path=moved.npz").count("files lie elsewhere now, and are compared") == 1
    manifest = jobs[0].parent / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"finished"', '"interrupted"'))
    (jobs[0].parent / "inventory.json").unlink()
    assert "goes on" in sweep("b", f"{words} data.path=moved.npz")
    assert len(list((tmp_path / "sweep").glob("*/job.json"))) == 1


class TestOwnCode:
    """A component of one's own is found from another folder, once the user trusts the run."""

    def config(self, module):
        return {"model": {"_target_": f"{module}.build"}}

    @pytest.fixture(autouse=True)
    def elsewhere(self, tmp_path, monkeypatch):
        (tmp_path / "there").mkdir()
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        monkeypatch.setattr(sys, "path", list(sys.path))

    def write(self, folder, module):
        (folder / f"{module}.py").write_text("def build(input_shape, num_classes):\n    return None\n")

    def test_its_folder_is_recorded_where_it_was_found_there(self, tmp_path):
        self.write(tmp_path / "here", "own_code_1")
        config = self.config("own_code_1")
        assert recorded.code_folder(config) is None  # not imported yet
        configuration.build(config, "model")
        assert recorded.code_folder(config) == str(tmp_path / "here")
        assert recorded.code_folder({"model": {"_target_": "json.dumps"}}) is None
        assert recorded.code_folder({"model": {"_target_": "fedlab.models.Mlp"}}) is None

    def test_it_is_found_again(self, tmp_path):
        self.write(tmp_path / "there", "own_code_2")
        config, code = self.config("own_code_2"), str(tmp_path / "there")
        with trust.session(everything=True):
            node = recorded.trusted(config, tmp_path, code)
        assert configuration.build(node, "model").func.__module__ == "own_code_2"

    def test_nothing_is_looked_for_there_without_trust(self, tmp_path):
        self.write(tmp_path / "there", "own_code_3")
        with trust.session(), pytest.raises(trust.NotTrusted, match=r"_target_=own_code_3\.build in .*there"):
            recorded.trusted(self.config("own_code_3"), tmp_path, str(tmp_path / "there"))
        assert str(tmp_path / "there") not in sys.path

    def test_to_trust_the_code_here_is_not_to_trust_it_elsewhere(self, tmp_path):
        config = self.config("own_code_4")
        with trust.session():
            trust.agree(recorded.findings(config, str(tmp_path / "here")))
            recorded.trusted(config, tmp_path, str(tmp_path / "here"))
            with pytest.raises(trust.NotTrusted):
                recorded.trusted(config, tmp_path, str(tmp_path / "there"))

    def test_another_one_of_the_same_name_does_not_take_its_place(self, tmp_path, monkeypatch):
        for folder in ("here", "there"):
            self.write(tmp_path / folder, "own_code_5")
        monkeypatch.syspath_prepend(str(tmp_path / "here"))
        with trust.session(everything=True), pytest.raises(FedlabError, match=r"uses own_code_5 from .*there, but Python finds"):
            recorded.trusted(self.config("own_code_5"), tmp_path, str(tmp_path / "there"))

    def test_where_it_is_gone_the_remedy_is_named(self, tmp_path):
        with trust.session(everything=True):
            node = recorded.trusted(self.config("own_code_6"), tmp_path, str(pathlib.Path("/gone")))
        with pytest.raises(
            ConfigError, match="Start fedlab in the folder that contains own_code_6, or add that folder to PYTHONPATH"
        ):
            configuration.build(node, "model")

    def test_a_server_is_no_code(self, tmp_path):
        config = {"logger": {"m": {"_target_": "fedlab.run.loggers.Mlflow", "tracking_uri": "http://host"}}}
        assert recorded.findings(config, "/there") == ["logger.m.tracking_uri=http://host"]
