"""Every process that fedlab starts has ended, and was waited for, when the code that started it is left in any way."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
import types

import pytest

from fedlab import stopping
from fedlab.cli import checks, probes
from fedlab.errors import FedlabError
from fedlab.run import child as children
from fedlab.run.child import JobFolder, JobRecord
from fedlab.studies.investigate import stages
from fedlab.studies.sweep import jobs
from fedlab.studies.sweep import stop as sweep_stop

PATIENCE = 1800  # seconds until a child gives up: it only catches what hangs
SLEEPS = f"import time; time.sleep({PATIENCE})"
IGNORES_SIGTERM = f"import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep({PATIENCE})"


@pytest.fixture
def started(monkeypatch):
    """The processes that the test has started; at its end each of them must have been waited for."""
    created = []

    class Recorded(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            created.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    yield created
    left = [process for process in created if process.returncode is None]
    for process in left:
        process.kill()
        process.wait()
    assert created and not left


def raising(error):
    def act(*_, **__):
        raise error

    return act


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), stopping.Stopped(143), ValueError("wrong")], ids=lambda e: type(e).__name__
)
def test_an_exception_in_the_block_asks_the_child_to_stop(started, error):
    child = subprocess.Popen([sys.executable, "-c", SLEEPS])
    with pytest.raises(type(error)), stopping.ending(child):
        raise error
    assert child.returncode == -signal.SIGTERM


def test_an_exception_while_it_waits_kills_the_child(started, monkeypatch):
    child = subprocess.Popen([sys.executable, "-c", IGNORES_SIGTERM], stdout=subprocess.PIPE)
    child.stdout.readline()
    waits, wait = iter([raising(KeyboardInterrupt())]), child.wait
    monkeypatch.setattr(child, "wait", lambda *args: next(waits, wait)(*args))
    with pytest.raises(KeyboardInterrupt), stopping.ending(child):
        raise ValueError
    assert child.returncode == -signal.SIGKILL and child.stdout.closed


def test_a_child_that_has_ended_is_left_alone(started):
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
    with stopping.ending(child):
        assert child.wait() == 7
    assert child.returncode == 7


@pytest.mark.parametrize("error", [KeyboardInterrupt(), stopping.Stopped(143)], ids=lambda e: type(e).__name__)
def test_doctor_ends_its_probes(started, monkeypatch, error):
    for name in ("tensorflow", "tenseal"):
        monkeypatch.setitem(probes.CODE, name, SLEEPS)
    monkeypatch.setattr(checks, "check_packages", raising(error))
    with pytest.raises(type(error)):
        checks.examine()
    assert len(started) == 2


def test_doctor_ends_the_first_probe_if_the_second_does_not_start(started, monkeypatch):
    monkeypatch.setitem(probes.CODE, "tensorflow", SLEEPS)
    recording = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *args, **kw: raising(OSError("no memory"))() if started else recording(*args, **kw)
    )
    with pytest.raises(OSError, match="no memory"):
        checks.examine()


@pytest.fixture
def job(tmp_path, monkeypatch):
    """The folder of a job whose process sleeps."""
    monkeypatch.setattr(children, "job_command", lambda *_: [sys.executable, "-c", SLEEPS])
    folder = JobFolder(tmp_path / "job")
    folder.path.mkdir()
    return folder


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("the disk is gone")], ids=lambda e: type(e).__name__)
def test_a_sweep_ends_its_job(started, job, monkeypatch, error):
    plan = types.SimpleNamespace(folder=job.path.parent, trusted=False, full_error=None, cores=None, pid=-1, launched_here=False)
    handlers = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    monkeypatch.setattr(sweep_stop, "asked", raising(error))
    with pytest.raises(type(error)):
        jobs._process(plan, job, job.path)
    assert {number: signal.getsignal(number) for number in stopping.SIGNALS} == handlers


@pytest.mark.parametrize("interruptions", [1, 2, 3])
def test_an_investigation_ends_its_run_however_often_it_is_interrupted(started, job, monkeypatch, interruptions):
    left, wait = [KeyboardInterrupt()] * interruptions, subprocess.Popen.wait
    monkeypatch.setattr(subprocess.Popen, "wait", lambda self, *a: raising(left.pop())() if left else wait(self, *a))
    with pytest.raises(KeyboardInterrupt):
        stages._train(job.path, {}, "name", "command", lambda line: None)
    assert len(started) == 1 and not left


def test_an_investigation_reports_a_run_that_was_killed(started, job, monkeypatch):
    monkeypatch.setattr(children, "job_command", lambda *_: [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    with pytest.raises(FedlabError, match="exit code -9"):
        stages._train(job.path, {}, "name", "command", lambda line: None)
    assert JobRecord(**{**vars(job.read())}).status == "running"  # a record that the next attempt reads


def test_each_place_that_starts_a_process_names_its_owner():
    """A `Popen` is in `ending`, or a class of its own ends it; `subprocess.run` and its relatives wait by themselves."""
    package = pathlib.Path(stopping.__file__).parent
    places = {path: path.read_text() for path in package.rglob("*.py")}
    starting = {str(path.relative_to(package)) for path, text in places.items() if "Popen(" in text}
    assert starting == {"cli/probes.py", "run/child.py"}  # and the class of TFF's worker, in engine/reference.py
    for name in starting:
        text = places[package / name]
        assert text.count("subprocess.Popen(") == text.count("with ending(")
