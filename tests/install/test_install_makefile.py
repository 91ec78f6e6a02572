"""The Makefile's set-up: what it finds, what it repeats, what it makes anew. Python is a stand-in, make is real."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Answers `-c` like Python, makes a `.venv` of itself for `-m venv`, and only notes what it was asked to install.
STAND_IN = f"""#!/bin/sh
case "$1 $2" in
    "-c "*) exec {sys.executable} "$@" ;;
    "--version "*) echo Python 3.11.0 ;;
    "-m venv") echo venv >> "$LOG"; mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
    "-m pip") echo pip >> "$LOG"; if [ -e "$LOG.fail" ]; then echo "ERROR: no network" >&2; exit 1; fi ;;
esac
"""


@pytest.fixture(params=["checkout", "a folder with spaces"])
def checkout(tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> pathlib.Path:
    """A copy of what set-up reads, with the stand-in as the only Python that works, and a shim before it that fails."""
    folder = tmp_path / request.param
    (folder / "requirements").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "requirements/base.txt", "requirements/dev.txt"):
        shutil.copy(ROOT / name, folder / name)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "make", "uname", "cat", "touch", "rm", "mkdir", "cp", "awk", "env"):
        (tools / name).symlink_to(str(shutil.which(name)))
    (tools / "python3.11").write_text("#!/bin/sh\necho 'pyenv: python3.11: command not found' >&2\nexit 127\n")
    (tools / "python3").write_text(STAND_IN)
    for name in ("python3.11", "python3"):
        (tools / name).chmod(0o755)
    return folder


def make(checkout: pathlib.Path, *args: str) -> subprocess.CompletedProcess[str]:
    bin_folder = checkout.parent / "bin"
    environment = {"PATH": str(bin_folder), "HOME": str(checkout), "LOG": str(checkout.parent / "log")}
    command = [str(bin_folder / "make"), "--no-print-directory", *args]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, env=environment)


def log(checkout: pathlib.Path) -> list[str]:
    """What was done since the last look."""
    path = checkout.parent / "log"
    lines = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_set_up_happens_once_and_again_only_when_the_pins_change(checkout: pathlib.Path) -> None:
    done = make(checkout, "setup")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "Making .venv with Python 3.11.0 (python3)"
    assert log(checkout) == ["venv", "pip", "pip"]
    assert make(checkout, "setup").returncode == 0
    assert log(checkout) == []
    newer = (checkout / ".venv/.ready").stat().st_mtime + 5
    os.utime(checkout / "requirements/dev.txt", (newer, newer))
    assert make(checkout, "setup").returncode == 0
    assert log(checkout) == ["pip", "pip"]


def test_a_set_up_that_failed_says_why_and_is_made_anew(checkout: pathlib.Path) -> None:
    fail = checkout.parent / "log.fail"
    fail.touch()
    done = make(checkout, "setup")
    assert done.returncode != 0
    assert "ERROR: no network" in done.stderr
    assert not (checkout / ".venv/.ready").exists()
    fail.unlink()
    log(checkout)
    assert make(checkout, "setup").returncode == 0
    assert log(checkout) == ["venv", "pip", "pip"]


def test_a_checkout_that_moved_gets_a_new_venv(checkout: pathlib.Path) -> None:
    assert make(checkout, "setup").returncode == 0
    moved = checkout.rename(checkout.parent / "moved")
    log(moved)
    assert make(moved, "setup").returncode == 0
    assert log(moved) == ["venv", "pip", "pip"]


def test_a_venv_whose_python_is_gone_is_made_anew(checkout: pathlib.Path) -> None:
    assert make(checkout, "setup").returncode == 0
    (checkout / ".venv/bin/python").unlink()
    log(checkout)
    assert make(checkout, "setup").returncode == 0
    assert log(checkout) == ["venv", "pip", "pip"]


def test_where_no_python_fits_one_line_says_what_to_install(checkout: pathlib.Path) -> None:
    (checkout.parent / "bin/python3").unlink()
    done = make(checkout, "setup")
    assert done.returncode != 0
    line, last = done.stderr.strip().splitlines()
    assert line.startswith("fedlab needs Python 3.10 or 3.11")
    assert last.startswith("make: ***")


def test_the_python_asked_for_is_the_one_used(checkout: pathlib.Path) -> None:
    done = make(checkout, "setup", "PYTHON=/nowhere/python")
    assert done.returncode != 0
    assert done.stderr.startswith("PYTHON=/nowhere/python is no Python 3.10 or 3.11")


def test_help_is_the_default_and_names_every_target(checkout: pathlib.Path) -> None:
    done = make(checkout)
    assert done.returncode == 0
    listed = {line.split()[1] for line in done.stdout.splitlines()}
    phony = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    assert listed == {*phony.split()[1:], "experiment/NAME", "investigate/NAME"}
    assert log(checkout) == []
