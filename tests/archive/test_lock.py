"""One writer per folder, and no lock outlives its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from fedlab.archive.lock import RunLock, is_held
from fedlab.errors import FedlabError

HOLD = """
import pathlib, sys
from fedlab.archive.lock import RunLock
with RunLock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()  # until it is killed, or whoever started it ends
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / ".lock")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_told_who_holds_it(holder, tmp_path):
    assert is_held(tmp_path / ".lock")
    with pytest.raises(FedlabError, match=rf"written by process {holder.pid} on {os.uname().nodename}, started 20"):
        RunLock(tmp_path / ".lock").__enter__()


def test_the_lock_of_a_dead_process_is_taken_over(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".lock").exists() and not is_held(tmp_path / ".lock")
    with RunLock(tmp_path / ".lock"):
        assert is_held(tmp_path / ".lock")
    assert not is_held(tmp_path / ".lock")


def test_patience_waits_for_a_process_that_is_ending(holder, tmp_path):
    started = time.monotonic()
    with pytest.raises(FedlabError, match="is being written"):
        RunLock(tmp_path / ".lock", patience_seconds=0.3).__enter__()
    assert time.monotonic() - started >= 0.3
    holder.terminate()
    with RunLock(tmp_path / ".lock", patience_seconds=1800):
        pass


def test_a_folder_that_is_gone_is_an_error(tmp_path):
    with pytest.raises(FedlabError, match="cannot write in the run folder"):
        RunLock(tmp_path / "gone" / ".lock").__enter__()
    assert not is_held(tmp_path / "gone" / ".lock")
