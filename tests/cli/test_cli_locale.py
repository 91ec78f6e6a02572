"""Output where the locale has no UTF-8, as in a container or under cron."""

import os
import subprocess
import sys

import pytest


def python(*args, cwd):
    environment = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    return subprocess.run([sys.executable, *args], cwd=cwd, capture_output=True, env=environment, timeout=1800)


def fedlab(*args, cwd):
    return python("-m", "fedlab.cli.main", *args, cwd=cwd)


SAYS = {
    "--help": "usage: fedlab VERB ...",
    "train --help": "attack: model_inversion, none",
    "train --cfg job": "num_rounds",
    "privacy --population 1000 --cohort 10 --rounds 10 --noise 1": "epsilon = ",
    "data show": "clients hold",
}
ALL = """
import sys
from fedlab.cli.main import main
for command in sys.argv[1:]:
    try:
        code = main(command.split())
    except SystemExit as stop:
        code = stop.code
    print(f"exit code {code or 0} of {command}")
"""


def test_every_character_comes_out(tmp_path):
    """Of one command after the other, in one process."""
    done = python("-c", ALL, *SAYS, cwd=tmp_path)
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
    rest = done.stdout.decode("ascii")
    for command, says in SAYS.items():
        printed, end, rest = rest.partition(f"exit code 0 of {command}\n")
        assert says in printed and end, command


def test_a_mistake_and_a_folder_named_in_utf8_are_one_line(tmp_path):
    done = fedlab("train", "-cd", "Größe", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1
    assert "Größe" in done.stderr.decode()


@pytest.mark.slow
def test_a_run_leaves_utf8_files(tmp_path):
    options = ["num_rounds=1", "data.max_examples=100", "hydra.run.dir=run"]
    done = fedlab("train", *options, cwd=tmp_path)
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
    assert (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert fedlab("runs", ".", cwd=tmp_path).returncode == 0
