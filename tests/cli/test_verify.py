"""`fedlab verify RUN`: what it calls damaged or different is so, and what it passes is whole."""

from __future__ import annotations

import dataclasses
import importlib
import json

import pytest
from omegaconf import OmegaConf

from fedlab.archive import Run, RunFolder, checkpoint, inventory, read_run
from fedlab.cli.main import main
from fedlab.config import composing as configuration
from fedlab.errors import ConfigError
from fedlab.report.run_report import RunReport
from fedlab.run import environment, recorded, resuming
from fedlab.run.job import Job, run

SMALL = ("data.max_examples=100", "partition.num_clients=5", "model.hidden=[4]", "logger=[]")
PRIVATE = ("privacy=gaussian_fixed", "privacy.noise_multiplier=null", "privacy.delta=0.02", "cohort=poisson")

MECHANISMS = [
    pytest.param((), id="gaussian"),
    pytest.param(("privacy=tree", "cohort=in_turn"), id="tree", marks=pytest.mark.slow),
]


class StopAfter:
    """A logger during whose `rounds`-th round the user stops the run."""

    def __init__(self, rounds):
        self._rounds = rounds

    def log(self, record):
        if record["round"] == self._rounds:
            raise KeyboardInterrupt

    def close(self): ...


def trained(path, *overrides, stop_after=None):
    """The folder of a run, stopped after so many rounds."""
    config = configuration.compose([*SMALL, *overrides])
    plain = OmegaConf.to_container(config, resolve=True)
    job = Job(configuration.build_experiment(config), plain, "digits/fed_avg", "fedlab train")
    loggers = [StopAfter(stop_after)] if stop_after else []
    try:
        run(job, path, RunReport(), lambda line: None, lambda num_rounds: loggers)
    except KeyboardInterrupt:
        assert stop_after
    return RunFolder(path)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, tensorflow):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_noise_is_that_of_the_planned_rounds_whatever_is_compared(here, capfd, mechanism):
    """A run that was stopped, and a part of a run, have the noise of the run that was planned."""
    folder = trained(here / "run", *PRIVATE, *mechanism, "privacy.target_epsilon=4", "num_rounds=6", stop_after=3)
    assert read_run(folder.path).status == "interrupted"
    assert main(["verify", "run", "-q"]) == 0
    assert "all 3 rounds gave the same bits" in capfd.readouterr().out
    assert main(["verify", "run", "-q", "--rounds", "2"]) == 0
    assert "all 2 rounds gave the same bits" in capfd.readouterr().out


def test_the_first_round_that_differs_is_named(here, capfd):
    folder = trained(here / "run", "num_rounds=3", stop_after=2)
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    lines[1]["weights_hash"] = "0123456789abcdef"
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    inventory.seal(folder)
    assert main(["verify", "run", "-q"]) == 1
    error = capfd.readouterr().err
    assert "round 2: the weights are " in error and "were 0123456789abcdef" in error and error.count("\n") == 1


@pytest.mark.parametrize("arms", [False, True])
def test_the_noise_of_a_target_is_that_of_the_planned_rounds_also_in_arms(here, arms):
    """An arm's rounds went on with less noise than its first ones, at the ε of the target: only the run's own was looked at."""
    target = ["privacy.noise_multiplier=null", "privacy.target_epsilon=4"]
    of_arm = "+arms={a:{},b:{privacy:{noise_multiplier:null,target_epsilon:4.0}}}"
    options = ["privacy=gaussian_fixed", *(["privacy.noise_multiplier=1", of_arm] if arms else target)]
    experiment = configuration.build_experiment(configuration.compose([*SMALL, *options, "num_rounds=9"]))
    run = Run(RunFolder(here), {"num_rounds": 6, "rounds_completed": 3, "status": "interrupted"}, {})
    option = "arms.b.privacy.target_epsilon" if arms else "privacy.target_epsilon"
    with pytest.raises(ConfigError, match=rf"^{option} of .* is spent by its 6 rounds") as caught:
        resuming._require_rounds(run, experiment)
    assert "\n" not in str(caught.value)
    resuming._require_rounds(dataclasses.replace(run, manifest={**run.manifest, "num_rounds": 9}), experiment)


OWN = """
import numpy as np
import tensorflow as tf

calls = []


class Counts(tf.keras.layers.Layer):
    def call(self, x):
        calls.append(1)  # a graph's constant: the number of calls in this process
        return x * float(len(calls))


def model(input_shape, num_classes):
    layers = [tf.keras.layers.InputLayer(input_shape), tf.keras.layers.Flatten(), Counts(), tf.keras.layers.Dense(num_classes)]
    return tf.keras.Sequential(layers)
"""


@pytest.mark.slow
def test_code_of_ones_own_that_cannot_be_repeated_is_not_called_a_bug_of_fedlab(here, capfd, monkeypatch):
    (here / "own_counts.py").write_text(OWN)
    monkeypatch.syspath_prepend(here)
    words = ["~model", "+model._target_=own_counts.model", *SMALL[:2], "logger=[]", "num_rounds=2", "hydra.run.dir=run"]
    assert main(["train", *words, "-q"]) == 0
    capfd.readouterr()
    assert main(["verify", "run", "-q", "--trust"]) == 1
    error = capfd.readouterr().err
    assert "the run uses code of your own (model._target_=own_counts.model): it must depend on its arguments alone" in error
    assert "The environment is the same" in error and error.count("\n") == 1
    (here / "own_counts.py").write_text(OWN + "# changed\n")
    assert main(["verify", "run", "-q", "--trust"]) == 1
    assert "Differences of the environment: own code own_counts: " in capfd.readouterr().err


def test_the_code_of_ones_own_is_recorded_by_its_content(here, monkeypatch):
    (here / "own_recorded.py").write_text("def model(shape, num_classes): ...\n")
    monkeypatch.syspath_prepend(here)
    config = {"model": {"_target_": "own_recorded.model"}, "process": {"_target_": "fedlab.algorithms.FedAvg"}}
    assert recorded.own_code(config) == {}  # nothing was imported yet
    importlib.import_module("own_recorded")
    before = recorded.own_code(config)
    assert list(before) == ["own_recorded"]
    (here / "own_recorded.py").write_text("def model(shape, num_classes): return None\n")
    after = recorded.own_code(config)
    then, now = ({"own_code": found} for found in (before, after))
    assert environment.differences(then, now) == [
        f"own code own_recorded: {before['own_recorded']} then, {after['own_recorded']} now"
    ]
    assert environment.differences({}, now) == []  # of an older fedlab, which recorded nothing
    assert environment.differences({"packages": "none", "own_code": None}, {"own_code": {}}) == []  # damaged


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_finished_run_is_sealed_and_again_after_it_went_on(here, capfd):
    """Also where it was ended after its manifest said so, and before it had an inventory."""
    folder = trained(here / "run", "num_rounds=2")
    read_run(folder.path).check()
    assert {"model.keras", "metrics.jsonl", "clients.csv"} <= set(read_run(folder.path).inventory.files)
    assert main(["train", "resume=run", "num_rounds=3", "-q"]) == 0
    folder.inventory.unlink()
    assert main(["train", "resume=run", "-q"]) == 0
    run = read_run(folder.path)
    run.check()
    assert run.inventory.records == 3 and run.status == "finished"
    assert main(["train", "resume=run", "-q"]) == 2 and "has finished all of its 3 rounds" in capfd.readouterr().err
    flip(folder.model)
    assert main(["verify", "run", "-q"]) == 1
    assert "run is damaged: model.keras has another content (SHA-256)" in capfd.readouterr().err
    flip(folder.metrics)
    assert main(["train", "resume=run", "num_rounds=4", "-q"]) == 1
    assert "run is damaged: metrics.jsonl has another content" in capfd.readouterr().err


@pytest.mark.slow
def test_a_checkpoint_that_is_damaged_or_of_another_run_is_named(here, capfd):
    """Two runs that differ in their seed have states of the same shapes, each with a checksum that is right."""
    mine, other = (trained(here / name, "num_rounds=2", f"seed={seed}") for seed, name in enumerate(("run", "other")))
    own, foreign = (next(folder.checkpoints.glob("*2.ckpt")) for folder in (mine, other))
    content = own.read_bytes()
    flip(own)
    assert main(["verify", "run", "-q"]) == 1
    assert "round_000002.ckpt is damaged: its checksum does not match its content. Restore it" in capfd.readouterr().err
    own.write_bytes(foreign.read_bytes())
    assert main(["verify", "run", "-q"]) == 1
    assert "round_000002.ckpt is not the state of this run after round 2. Restore it" in capfd.readouterr().err
    assert main(["train", "resume=run", "num_rounds=3", "-q"]) == 1
    error = capfd.readouterr().err
    assert "the checkpoint of round 2 belongs to another run" in error and error.count("\n") == 1
    own.write_bytes(content)
    assert main(["train", "resume=run", "num_rounds=3", "-q"]) == 0
    assert main(["verify", "run", "-q"]) == 0


@pytest.mark.slow
def test_the_checkpoint_of_one_arm_is_not_that_of_the_other(here, capfd):
    """Arms of equal shapes: their states, in the other order, are those of no run."""
    folder = trained(here / "run", "+arms={a:{},b:{client_optimizer:{learning_rate:0.3}}}", "num_rounds=2")
    path = next(folder.checkpoints.glob("*2.ckpt"))
    saved = checkpoint.load(path)
    half = len(saved.state) // 2
    checkpoint.save(folder.checkpoints, checkpoint.Checkpoint(2, [*saved.state[half:], *saved.state[:half]]), keep=2)
    assert main(["train", "resume=run", "num_rounds=3", "-q"]) == 1
    assert "the checkpoint of round 2 belongs to another run" in capfd.readouterr().err
