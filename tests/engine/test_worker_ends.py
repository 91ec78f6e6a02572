"""TFF's worker process ends with what started it, however that ends."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from fedlab.engine import Tff
from fedlab.lowering import executor_factory

PATIENCE = 1800  # seconds until a test gives up waiting: it only catches what hangs

SCRIPT = """
import pathlib, sys
import numpy as np
from fedlab.run.start import start_tensorflow
start_tensorflow("cpu", 1)
import psutil
import tensorflow as tf
import tensorflow_federated as tff
from fedlab.engine import RoundInput, Tff
from fedlab.models import Perceptron, functional
from fedlab.algorithms import FedAvg, Parts, LocalTraining
from fedlab.algorithms.client_work import ExampleSpec
from fedlab.algorithms.optimizers import Sgd
from fedlab.types import ExampleSet

examples = ExampleSet(np.zeros([4, 3], np.float32), np.zeros([4], np.int32), 2)
build = lambda: Perceptron()((3,), 2)
model = functional.functional_classifier(build, functional.keras_weights(build()), (3,), 2)
parts = Parts(model, ExampleSpec.of(examples), LocalTraining(), Sgd(learning_rate=1.0), num_clients=1, num_examples=4)
engine = Tff().build(FedAvg().build(parts), examples)
state = engine.initialize(np.array([0, 0]))
indices = np.arange(4, dtype=np.int32)
keys = np.zeros([1, 2], np.int64)
engine.next(state, RoundInput(1, np.arange(1), indices, np.array([0, 4], np.int32), indices[None], keys, keys[0]))
workers = [p.pid for p in psutil.Process().children() if p.name() == "worker_binary"]
pathlib.Path(sys.argv[1]).write_text(" ".join(map(str, workers)))
"""


def workers_of(pid):
    try:
        return [p for p in psutil.Process(pid).children(recursive=True) if p.name() == "worker_binary"]
    except psutil.NoSuchProcess:
        return []


def wait_until(true, what):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}"
        time.sleep(0.05)


def workers_of_session(session):
    """Also those whose parent has gone."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if process.name() == "worker_binary" and os.getsid(process.pid) == session and not has_ended(process.pid):
                found.append(process)
    return found


def has_ended(pid):
    """A zombie has ended; who inherits it may be slow to take note."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_none_is_left_after_close(lab):
    before = {p.pid for p in workers_of(os.getpid())}
    trainer = lab.trainer(engine=Tff())
    trainer.engine.initialize(np.array([0, 0]))
    mine = [p.pid for p in workers_of(os.getpid()) if p.pid not in before]
    assert mine, "there is something to end"
    trainer.engine.close()
    wait_until(lambda: all(has_ended(pid) for pid in mine), "the worker to end")
    trainer.engine.close()  # again does no harm


@pytest.mark.slow
def test_one_engine_ends_its_own_worker_only(lab):
    first = lab.trainer(engine=Tff())
    state = first.engine.initialize(np.array([0, 0]))
    second = lab.trainer(engine=Tff())
    second.engine.initialize(np.array([0, 0]))
    second.engine.close()
    first.run(lab.inputs(1), state=state)  # still works


@pytest.mark.parametrize("first", ["worker", "handle"])
def test_the_garbage_collector_may_take_the_worker_before_the_handle_of_tff(first):
    """Warnings and exceptions in `__del__` fail a test."""

    class Handle:  # as in TFF's executor_factory
        def __del__(self):
            if isinstance(self.process, executor_factory.subprocess.Popen):
                os.kill(self.process.pid, signal.SIGINT)
                self.process.wait()

    made = {}
    for name in ("worker", "handle") if first == "worker" else ("handle", "worker"):
        made[name] = executor_factory.subprocess.Popen(["/bin/sleep", str(PATIENCE)]) if name == "worker" else Handle()
    worker, handle = made["worker"], made["handle"]
    worker.handle, handle.process = handle, worker  # a cycle, which the collector takes in order of creation
    pid = worker.pid
    del made, worker, handle
    gc.collect()
    with pytest.raises(psutil.NoSuchProcess):  # it has ended, and was waited for
        psutil.Process(pid)


@pytest.mark.parametrize("stream", [io.StringIO(), None], ids=["StringIO", "None"])
def test_streams_that_are_no_files_are_no_obstacle(lab, monkeypatch, stream):
    """As in a notebook, under a test's capturing, and in a service without streams."""
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    trainer = lab.trainer(engine=Tff())
    trainer.run(lab.inputs(1))
    trainer.engine.close()


@pytest.mark.parametrize(
    "ending, code",
    [
        pytest.param("", 0, marks=pytest.mark.slow, id="end of script"),
        pytest.param("raise RuntimeError('the run failed')", 1, marks=pytest.mark.slow, id="exception"),
        pytest.param("sys.exit(7)", 7, marks=pytest.mark.slow, id="sys.exit"),
    ],
)
def test_none_is_left_after_a_script_that_never_closes(tmp_path, ending, code):
    note = tmp_path / "workers"
    done = subprocess.run([sys.executable, "-c", SCRIPT + ending, note], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == code, done.stderr
    workers = [int(pid) for pid in note.read_text().split()]
    assert workers, "there was something to end"
    wait_until(lambda: all(has_ended(pid) for pid in workers), "the worker to end")


@pytest.mark.parametrize(
    "signum, code, at",
    [
        pytest.param(signal.SIGKILL, -9, "start", id="SIGKILL start"),
        pytest.param(signal.SIGKILL, -9, "rounds", marks=pytest.mark.slow, id="SIGKILL rounds"),
        *(
            pytest.param(number, 128 + number, at, marks=pytest.mark.slow, id=f"{number.name} {at}")
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            for at in ("start", "rounds")
        ),
    ],
)
def test_a_signal_to_fedlab_train_ends_its_worker(tmp_path, signum, code, at):
    """Sent as soon as the worker is there, and amid the rounds; to the whole group of processes, as a terminal does."""
    command = [sys.executable, "-m", "fedlab.cli.main", "train", "engine=tff", "num_rounds=100000", "hydra.run.dir=run"]
    command += ["partition.num_clients=4", "cohort.clients_per_round=2", "model=perceptron"]
    with open(tmp_path / "output", "w") as output:
        run = subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=output, start_new_session=True)
    try:
        metrics = tmp_path / "run" / "metrics.jsonl"
        wait_until(lambda: run.poll() is not None or workers_of(run.pid), "the worker to start")
        if at == "rounds":
            wait_until(
                lambda: run.poll() is not None or (metrics.exists() and metrics.read_text().count("\n") >= 2), "two rounds"
            )
        workers = [p.pid for p in workers_of(run.pid)]
        assert run.poll() is None and workers, (tmp_path / "output").read_text()
        os.killpg(run.pid, signum)
        assert run.wait(PATIENCE) == code, (tmp_path / "output").read_text()
        wait_until(lambda: all(has_ended(pid) for pid in workers), "the worker to end")
        assert not workers_of_session(run.pid), "another was started in its place"
    finally:
        for process in [*workers_of_session(run.pid), run]:
            process.kill()
        run.wait(PATIENCE)
    shown = (tmp_path / "output").read_text()
    assert "Traceback" not in shown, shown
    assert signum == signal.SIGKILL or not list((tmp_path / "run").glob(".partial-*"))
