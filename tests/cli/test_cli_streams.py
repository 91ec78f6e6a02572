"""Closed output streams and a full disk: the verb's own exit code, and one line instead of a traceback."""

import pathlib
import subprocess
import sys

import pytest

FEDLAB = str(pathlib.Path(sys.executable).parent / "fedlab")


def shell(command: str, folder: pathlib.Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(f"exec {FEDLAB} {command}", shell=True, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("command", "code", "printed"),
    [
        ("--help >&-", 0, ""),
        ("runs >&-", 0, ""),
        ("runs >&- 2>&- <&-", 0, ""),
        ("runs nowhere 2>&-", 2, ""),  # nothing of it on stdout, either
        ("nonsense 2>&-", 2, ""),
        ("runs nowhere >&-", 2, "fedlab runs: no folder nowhere: name one that holds runs, or give a filter as key=value.\n"),
        ("train partition=dirichlet --help >&-", 0, ""),
    ],
)
def test_a_closed_stream_drops_its_output(command, code, printed, tmp_path):
    done = shell(command, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", printed)


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", ["--help", "runs --json", "completion bash"])
def test_a_full_disk_is_one_line(command, tmp_path):
    done = shell(f"{command} >/dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (1, "fedlab: the output is incomplete: No space left on device.\n")
