"""Verbs that read a run folder run nothing that the folder brings along, until their user says --trust."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys

import pytest

from fedlab import trust
from fedlab.archive import inventory
from fedlab.cli import job_process
from fedlab.cli.main import main
from fedlab.errors import FedlabError
from fedlab.run import child, recorded
from fedlab.run.child import JobFolder

VERBS = [
    "verify -q run",
    "attack -q run attack.iterations=1 attack.num_starts=1",
    "train -q resume=run num_rounds=3",
    "difftest run run",
    "data misclassification run",
    "data filter run --by example --wrong --out kept.csv",
]
READ_THE_MODEL = [command for command in VERBS if command.split()[0] in ("attack", "difftest", "data")]


def refused(hostile, command, says, capfd):
    """One line, exit code 1, and no code of the folder has run."""
    capfd.readouterr()
    assert hostile.run(command) == 1
    err = capfd.readouterr().err
    assert says in err and err.count("\n") == 1 and err.startswith(f"fedlab {command.split()[0]}: "), err
    assert not hostile.has_struck and hostile.module not in sys.modules


def own_target(hostile, config):
    """In a stage that every verb builds."""
    config["corruption"] = {"_target_": f"{hostile.module}.smear"}


def own_function(hostile, config):
    """A component of fedlab that imports what it is told to."""
    function = {"function": f"{hostile.module}.smear", "fraction": 0.5}
    config["corruption"] = {"_target_": "fedlab.corruption.Function", **function}


@pytest.mark.parametrize("command", VERBS)
@pytest.mark.parametrize("names_code", [own_target, own_function])
def test_a_manifest_names_code(hostile, names_code, command, capfd):
    hostile.configure(lambda config: names_code(hostile, config))
    refused(hostile, command, "run can run code that is not fedlab's: corruption.", capfd)


@pytest.mark.parametrize("command", READ_THE_MODEL)
def test_a_model_file_holds_code(hostile, tensorflow, attack, command, capfd):
    attack(tensorflow, hostile.model, hostile.mark, hostile.module)
    assert not hostile.has_struck
    refused(hostile, command, "model.keras can run code that is not fedlab's", capfd)


def test_with_trust_it_runs(hostile, capfd):
    """So the attacks above are attacks, and trust can be given."""
    hostile.configure(lambda config: config.update(model={"_target_": f"{hostile.module}.build"}))
    assert hostile.run("verify -q run --trust") == 0, capfd.readouterr().err
    assert hostile.has_struck
    assert hostile.run("verify -q run") == 1, "trust lasts for one command"


def test_with_trust_keras_runs_what_is_in_a_file(tmp_path, monkeypatch, tensorflow, attack):
    from fedlab.models.saved import load_keras

    mark, module = tmp_path / "pwned", f"evil_{attack.__name__}"
    (tmp_path / f"{module}.py").write_text(f"open({str(mark)!r}, 'w').close()\nbuild = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    attack(tensorflow, tmp_path / "model.keras", mark, module)
    with pytest.raises(trust.NotTrusted), trust.session():
        load_keras(tmp_path / "model.keras")
    assert not mark.exists()
    with trust.session(everything=True), contextlib.suppress(Exception):  # some leave no model behind
        load_keras(tmp_path / "model.keras")
    assert mark.exists()


def test_an_attack_reads_no_file_elsewhere_that_holds_code(hostile, tensorflow, hdf5, tmp_path, capfd):
    hdf5(tensorflow, tmp_path / "other.keras", hostile.mark, hostile.module)
    refused(hostile, "attack -q run attack.target=file attack.file=other.keras", "other.keras can run code", capfd)


def test_the_evaluation_model_of_an_attack_is_read_with_the_same_care(hostile, tensorflow, hdf5, capfd):
    (hostile.path / "attacks").mkdir()
    hdf5(tensorflow, hostile.path / "attacks" / "evaluation_0.keras", hostile.mark, hostile.module)
    refused(hostile, READ_THE_MODEL[0], "evaluation_0.keras can run code", capfd)


@pytest.mark.parametrize("command", VERBS)
def test_no_manifest_reads_the_environment(hostile, command, capfd, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    hostile.configure(lambda config: config["data"].update(dir="${oc.env:SECRET}"))
    assert hostile.run(command) == 1
    err = capfd.readouterr().err
    assert "data.dir is an interpolation and not a value" in err and "hunter2" not in err


NO_COMPONENTS = [
    "fedlab.cli.main.main",
    "fedlab.run.start.start_tensorflow",
    "fedlab.archive.RunFolder",
    "fedlab.run.loggers.Csv",
    "fedlab.spec.BaseModel",
    "fedlab.corruption.kinds.PositiveFloat",
    "fedlab.run.start.tempfile",
]


@pytest.mark.parametrize("target", NO_COMPONENTS)
@pytest.mark.parametrize("stage", ["model", "objective"])
def test_what_is_no_component_of_fedlab_is_not_built(hostile, target, stage, capfd):
    hostile.configure(lambda config: config.update({stage: {"_target_": target}}))
    capfd.readouterr()
    assert hostile.run("verify -q run") == 2
    assert f"{stage}._target_={target} is no component of fedlab" in capfd.readouterr().err


def test_every_target_below_a_configuration_is_found():
    config = {
        "model": {"_target_": "a.b", "inner": [{"_target_": "c.d"}, {"x": {"_target_": "fedlab.models.Mlp"}}]},
        "arms": {"left": {"process": {"_target_": "fedlabs.e"}, "data": {"_target_": 3}}},
        "logger": {"m": {"_target_": "fedlab.run.loggers.Mlflow", "tracking_uri": "http://evil"}},
        "other": {"m": {"_target_": "fedlab.run.loggers.Mlflow", "tracking_uri": None}},
    }
    assert recorded.findings(config) == [
        "model._target_=a.b",
        "model.inner[0]._target_=c.d",
        "arms.left.process._target_=fedlabs.e",
        "arms.left.data._target_=3",
        "logger.m.tracking_uri=http://evil",
    ]


def test_every_option_that_imports_or_sends_is_declared():
    import fedlab.run.experiment
    from fedlab.spec import Spec

    def subclasses(cls):
        return {cls, *(below for child in cls.__subclasses__() for below in subclasses(child))}

    specs = [spec for spec in subclasses(Spec) if spec.__module__.startswith("fedlab.")]
    assert len(specs) > 50 and fedlab.run.experiment.Experiment in specs
    for spec in specs:
        for name, field in spec.model_fields.items():
            described = f"{name} {field!r}"
            if "ImportString" in described or "uri" in name or "url" in name:
                assert name in spec.reaches_out, (spec, name)


def _all_of(leader: int) -> bytes:
    """Reads a terminal to its end, whose other end is closed. A single read may return only the echo of what was typed."""
    shown = b""
    with contextlib.closing(os.fdopen(leader, "rb", buffering=0)) as terminal, contextlib.suppress(OSError):  # EIO is its end
        while piece := terminal.read(4096):
            shown += piece
    return shown


class TestQuestion:
    FINDINGS = ["model._target_=my.net"]

    def test_yes_lasts_for_what_was_asked(self):
        asked = []
        with trust.session(ask=lambda found: not asked.append(found)):
            trust.require("run", self.FINDINGS)
            trust.require("run", self.FINDINGS)
            assert asked == ["run can run code that is not fedlab's: model._target_=my.net"]
            trust.require("run", ["other"])
            assert len(asked) == 2

    def test_no_is_a_refusal(self):
        with trust.session(ask=lambda found: False), pytest.raises(trust.NotTrusted, match="Give --trust"):
            trust.require("run", self.FINDINGS)

    @pytest.mark.parametrize("answer", ["y", "n", ""])
    def test_on_a_terminal(self, hostile, answer, monkeypatch):
        hostile.configure(lambda config: own_function(hostile, config))
        leader, follower = pty.openpty()
        os.write(leader, f"{answer}\n".encode())
        with open(follower, closefd=False) as typed, open(follower, "w") as terminal, monkeypatch.context() as during:
            during.setattr(sys, "stdin", typed)
            during.setattr(sys, "stderr", terminal)
            code = hostile.run("data misclassification run")
        shown = _all_of(leader)
        assert b"Go on? [y/N]" in shown and hostile.has_struck == (answer == "y") == (code == 0), shown


class TestJobs:
    """A job of a sweep runs what its user's command names, and nothing else."""

    @pytest.fixture
    def job(self, hostile):
        """A run of an own model that was interrupted, and the record of the job that is to go on with it."""
        hostile.configure(lambda config: config.update(model={"_target_": f"{hostile.module}.build"}))
        manifest = json.loads((hostile.path / "manifest.json").read_text())
        manifest["config"]["num_rounds"] = manifest["num_rounds"] = 3
        (hostile.path / "manifest.json").write_text(json.dumps({**manifest, "status": "interrupted"}))
        record = {"number": 0, "name": "own", "command": "fedlab train x", "parameters": {}, "config": manifest["config"]}
        (hostile.path / "job.json").write_text(json.dumps(record))
        return JobFolder(hostile.path)

    @staticmethod
    def run(job):
        """What the job's own process does."""
        inventory.break_seal(job)
        with trust.session():
            job_process._run(job)

    def test_goes_on_with_its_own_components(self, hostile, job):
        self.run(job)
        assert hostile.has_struck
        assert json.loads((hostile.path / "manifest.json").read_text())["rounds_completed"] == 3

    def test_does_not_go_on_with_those_of_another(self, hostile, job):
        hostile.configure(lambda config: config.update(attack={"_target_": f"{hostile.module}.smear"}))
        with pytest.raises(trust.NotTrusted, match=f"attack._target_={hostile.module}.smear"):
            self.run(job)
        assert not hostile.has_struck

    def test_does_not_go_on_with_another_configuration(self, hostile, job):
        hostile.configure(lambda config: config["client"].update(batch_size=7))
        with pytest.raises(FedlabError, match=r"holds another run, whose client\.batch_size is 7 and not 20"):
            self.run(job)
        assert not hostile.has_struck

    def test_takes_no_module_from_the_current_folder(self, hostile):
        for name in ("yaml", "numpy", "json", "runpy", "fedlab"):
            (hostile.path.parent / f"{name}.py").write_text(f"open({str(hostile.mark)!r}, 'w')")
        command = child.job_command(hostile.path.parent / "nowhere")
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
        assert "job.json cannot be read" in done.stderr and not hostile.has_struck


def test_training_with_ones_own_components_needs_no_flag(hostile, capfd):
    options = f"data.max_examples=100 ~model +model._target_={hostile.module}.build num_rounds=1 logger=[] hydra.run.dir=own"
    assert main(["train", "-q", *options.split()]) == 0, capfd.readouterr().err
    assert hostile.has_struck
    hostile.mark.unlink()
    assert main(["train", "-q", "resume=own", "num_rounds=2"]) == 1
    assert "model._target_=" in capfd.readouterr().err
    assert main(["train", "-q", "resume=own", "num_rounds=2", "--trust"]) == 0
