"""The folder of a run that was stopped, has failed or has finished is whole, at whatever moment the signal came."""

from __future__ import annotations

import json
import os
import re
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from fedlab.archive import RunFolder, inventory, make_folder, read_run
from fedlab.archive.claims import claim_of
from fedlab.archive.figures import epsilon, final_figures
from fedlab.archive.folder import read_json, write_json
from fedlab.evaluation import Evaluation
from fedlab.report.sections import result
from fedlab.run import job, learner
from fedlab.run.checkpointing import Checkpointing, where_to_go_on
from fedlab.run.early_stop import EarlyStop
from fedlab.stopping import Stopped


class Counting(learner.Learner):
    """A learner whose only weight is the number of the round. During round `stops_in` the user presses Ctrl-C."""

    def __init__(self, experiment, dataset, partition, num_rounds, stops_in):
        self.experiment, self.dataset, self.partition, self.num_rounds = experiment, dataset, partition, num_rounds
        self.num_weights, self.seconds, self._done, self._stops_in = 1, {}, 0, stops_in

    @property
    def state(self):
        return [np.int64(self._done)]

    @property
    def weights_hash(self):
        return learner.weights_hash(self.state)

    def restore(self, state):
        self._done = int(state[0])

    def rounds(self, first):
        for number in range(first, self.num_rounds + 1):
            if number > self.last_round:
                return
            if number == self._stops_in:
                os.kill(os.getpid(), signal.SIGINT)
            self._done = number
            counts = {"num_clients": 1, "num_dropped": 0, "bytes_down": 1, "bytes_up": 1}
            found = {"test_accuracy": 0.1 * number, "epsilon": float(number)}
            yield {"round": number, "seconds": 0.1, **counts, "weights_hash": self.weights_hash, **found}

    def described(self):
        return {"privacy": {"epsilon": float(self.num_rounds), "delta": 1e-5}}

    def finish(self, folder):
        return {"test_accuracy": 0.1 * self._done, "epsilon": float(self.num_rounds), "delta": 1e-5}

    def close(self): ...


class Drawing:
    """Pictures and a page that are drawn, or raise."""

    def __init__(self, pictures=None, page=None):
        self._pictures, self._page = pictures, page

    def draw(self, folder):
        if self._pictures:
            raise self._pictures

    def write(self, folder):
        if self._page:
            raise self._page


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Trains in one folder, again if it has been trained there before; returns what it raises."""
    folder = RunFolder(make_folder(tmp_path / "run"))
    monkeypatch.setattr(job.registry, "hooks", lambda name: [])
    task = SimpleNamespace(num_classes=None, described=lambda: None)
    inputs = job.Inputs(SimpleNamespace(name="d", affected={}, train=SimpleNamespace(task=task)), Partition([1]), {}, {})
    begun = {"manifest_version": 2, "name": "x", "status": "running", "rounds_completed": 0, "command": "c", "resumed": []}

    def train(num_rounds, report=None, stops_in=None, **stop):
        experiment = SimpleNamespace(
            logger={},
            stop=EarlyStop(**stop),
            checkpoint=Checkpointing(every=1),
            process=SimpleNamespace(task=None),
            loss=SimpleNamespace(check=lambda task: None),
            arms={},
            evaluation=Evaluation(),
            eval_every=1,
            seed=0,
        )
        monkeypatch.setattr(
            learner, "build_learner", lambda *_: Counting(experiment, inputs.dataset, inputs.partition, num_rounds, stops_in)
        )
        config = {"eval_every": 1, "stop": {"when": None, "patience": None, **stop}}
        described = {**begun, "config": config, "num_rounds": num_rounds}
        work = job.Job(experiment, config, "x", "c")
        beginning = where_to_go_on(folder) if folder.manifest.exists() else None
        try:
            job._trained(work, inputs, folder, described, beginning, None, report or Drawing(), lambda line: None, lambda n: [])
        except BaseException as error:
            return error

    train.folder = folder
    return train


class Partition(list):
    client_ids = ()


def test_a_finished_run_that_is_extended_and_stopped_is_read_and_goes_on(trained):
    assert trained(2) is None and read_run(trained.folder.path).summary["num_rounds"] == 2
    assert isinstance(trained(6, stops_in=4), KeyboardInterrupt)
    run = read_run(trained.folder.path)
    assert (run.status, run.rounds_completed, run.summary) == ("interrupted", 4, {}) and run.inventory
    assert read_run(trained.folder.path, to_go_on=True).rounds_completed == 4
    assert trained(6) is None
    assert read_run(trained.folder.path).summary["num_rounds"] == 6


def test_a_run_that_goes_on_without_a_round_keeps_its_summary(trained):
    assert trained(2) is None
    before = trained.folder.summary.read_text()
    assert isinstance(trained(2, Drawing(KeyboardInterrupt())), KeyboardInterrupt)
    run = read_run(trained.folder.path)
    assert run.status == "interrupted" and {**run.summary, "seconds_total": 0} == {**json.loads(before), "seconds_total": 0}


@pytest.mark.parametrize(
    ("report", "stops_in", "status"),
    [
        (Drawing(page=KeyboardInterrupt()), None, "finished"),
        (Drawing(page=Stopped(143)), 2, "interrupted"),
        (Drawing(pictures=KeyboardInterrupt()), 2, "interrupted"),
    ],
)
def test_a_signal_during_pictures_and_page_leaves_an_inventory(trained, report, stops_in, status):
    assert isinstance(trained(3, report, stops_in), (KeyboardInterrupt, Stopped))
    run = read_run(trained.folder.path)
    assert run.status == status and run.inventory
    run.check()


def test_a_signal_while_the_inventory_is_written_waits(trained, monkeypatch):
    seal = inventory.seal

    def interrupted(folder):
        os.kill(os.getpid(), signal.SIGINT)
        seal(folder)

    monkeypatch.setattr(inventory, "seal", interrupted)
    assert isinstance(trained(3), KeyboardInterrupt)
    assert read_run(trained.folder.path).status == "finished" and read_run(trained.folder.path).inventory


def test_a_signal_while_a_finished_run_begins_again_does_not_leave_it_finished_without_an_inventory(trained, monkeypatch):
    assert trained(3) is None
    break_seal = inventory.break_seal

    def interrupted(folder):
        break_seal(folder)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(inventory, "break_seal", interrupted)
    assert isinstance(trained(6), KeyboardInterrupt)
    assert read_run(trained.folder.path).status == "interrupted"


@pytest.mark.parametrize(("status", "is_damaged"), [("finished", True), ("interrupted", False), ("failed", False)])
def test_a_summary_of_other_rounds_is_damage_only_in_a_finished_run(tmp_path, status, is_damaged):
    folder = RunFolder(tmp_path)
    write_json(folder.manifest, {"status": status, "config": {}, "num_rounds": 9, "rounds_completed": 1, "manifest_version": 2})
    folder.metrics.write_text(json.dumps({"round": 1, "weights_hash": "a"}) + "\n")
    write_json(folder.summary, {"weights_hash": "b"})
    inventory.seal(folder)
    if is_damaged:
        with pytest.raises(inventory.DamagedRun, match=r"summary\.json is of the weights b"):
            read_run(tmp_path)
    else:
        assert read_run(tmp_path).status == read_run(tmp_path, to_go_on=True).status == status


def every_epsilon(folder):
    """The ε of a run, wherever it is shown."""
    run = read_run(folder.path)
    (shown,) = re.findall(r"<dt>ε</dt><dd>([\d.]+)", result.build(run).body)
    return {epsilon(run), final_figures(run)["epsilon"], claim_of(run).epsilon, float(shown)}


class TestTheEpsilonOfARunThatMayEndEarly:
    """It is that of all planned rounds, whatever has ended the run."""

    def test_whose_pictures_failed(self, trained):
        assert "font" in str(trained(10, Drawing(RuntimeError("font")), when="test_accuracy>=0.2"))
        assert read_run(trained.folder.path).rounds_completed == 2 and every_epsilon(trained.folder) == {10.0}

    def test_that_was_stopped_before_its_summary(self, trained):
        assert isinstance(trained(10, stops_in=3, patience=9), KeyboardInterrupt)
        assert read_run(trained.folder.path).rounds_completed == 3 and every_epsilon(trained.folder) == {10.0}
        manifest = read_json(trained.folder.manifest)
        del manifest["privacy"]["epsilon"]
        write_json(trained.folder.manifest, manifest)
        inventory.seal(trained.folder)
        assert epsilon(read_run(trained.folder.path)) == claim_of(read_run(trained.folder.path)).epsilon == float("inf")

    def test_but_not_without_the_conditions(self, trained):
        assert isinstance(trained(10, stops_in=3), KeyboardInterrupt)
        assert every_epsilon(trained.folder) == {3.0}
