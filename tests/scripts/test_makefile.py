"""The Makefile's set-up: what it finds, what it repeats, what it makes anew. Python is a stand-in, make is real."""

from __future__ import annotations

import os
import pathlib
import re
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
    (folder / "scripts").mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements/base.txt", "requirements/dev.txt", "scripts/setup.sh"):
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


def make(checkout: pathlib.Path, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    bin_folder = checkout.parent / "bin"
    environment = {"PATH": str(bin_folder), "HOME": str(checkout), "LOG": str(checkout.parent / "log"), **variables}
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


def test_a_checkout_that_is_reached_through_a_link_is_set_up_once(checkout: pathlib.Path) -> None:
    """make knows the real folder, a shell that went through the link says the link's."""
    link = checkout.parent / "link"
    link.symlink_to(checkout)
    assert make(link, "setup", PWD=str(link)).returncode == 0
    assert log(checkout) == ["venv", "pip", "pip"]
    assert make(link, "setup", PWD=str(link)).returncode == 0
    assert log(checkout) == []


def test_a_venv_whose_python_is_gone_is_made_anew(checkout: pathlib.Path) -> None:
    assert make(checkout, "setup").returncode == 0
    (checkout / ".venv/bin/python").unlink()
    log(checkout)
    assert make(checkout, "setup").returncode == 0
    assert log(checkout) == ["venv", "pip", "pip"]


def without_python(checkout: pathlib.Path) -> pathlib.Path:
    """Takes the Python away that fits; returns where there would be a uv."""
    (checkout.parent / "bin/python3").unlink()
    return checkout.parent / "bin/uv"


def write_uv(path: pathlib.Path, *downloads: str) -> None:
    """A uv that notes how it was called and then runs `downloads`, with the stand-in at hand as `$STAND_IN`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name("stand-in").write_text(STAND_IN)
    path.with_name("stand-in").chmod(0o755)
    lines = ["#!/bin/sh", 'echo "uv:$UV_PYTHON_INSTALL_BIN:$*" >> "$LOG"', f'STAND_IN="{path.with_name("stand-in")}"', *downloads]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)


DOWNLOAD = 'to="$UV_PYTHON_INSTALL_DIR/cpython-3.11-linux/bin"; mkdir -p "$to"; cp "$STAND_IN" "$to/python3.11"'


def test_where_no_python_fits_and_none_can_be_had_one_line_says_what_to_do(checkout: pathlib.Path) -> None:
    without_python(checkout)
    done = make(checkout, "setup")
    assert done.returncode != 0
    line, last = done.stderr.strip().splitlines()
    assert line.startswith("fedlab needs Python 3.10 or 3.11")
    assert all(way in line for way in ("pyenv install 3.11", "install uv", "PYTHON=/path/to/python"))
    assert last.startswith("make: ***")
    assert not (checkout / ".venv").exists()


def test_where_no_python_fits_uv_downloads_one_into_the_checkout_once(checkout: pathlib.Path) -> None:
    write_uv(without_python(checkout), DOWNLOAD)
    done = make(checkout, "setup")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "No Python 3.10 or 3.11 here: downloading Python 3.11 into .python/ with uv…\n"
    assert "/.python/cpython-3.11-linux/bin/python3.11" in done.stdout.splitlines()[0]
    assert log(checkout) == ["uv:0:python", "install", "--quiet", "3.11", "venv", "pip", "pip"]
    shutil.rmtree(checkout / ".venv")
    assert make(checkout, "setup").returncode == 0
    assert log(checkout) == ["venv", "pip", "pip"]  # no second download


def test_a_uv_that_cannot_download_ends_in_the_same_line(checkout: pathlib.Path) -> None:
    write_uv(without_python(checkout), "echo 'no network' >&2", "exit 2")
    done = make(checkout, "setup")
    assert done.returncode != 0 and not (checkout / ".venv").exists()
    assert "no network" in done.stderr and "fedlab needs Python 3.10 or 3.11" in done.stderr


def test_uv_comes_from_the_package_index_where_there_is_none(checkout: pathlib.Path) -> None:
    """With the hashes of its pin, by a Python that fedlab itself cannot use."""
    write_uv(checkout.parent / "index/uv", DOWNLOAD)
    python = without_python(checkout).with_name("python3")
    python.write_text(
        f"""#!/bin/sh
[ "$1 $2" = "-m pip" ] || exit 1  # too new for fedlab
while [ "$1" != -r ]; do shift; done
cat "$2" > "$LOG.pin"
mkdir -p .uv/bin; cp "{checkout.parent}/index/uv" .uv/bin/uv
"""
    )
    python.chmod(0o755)
    done = make(checkout, "setup")
    assert done.returncode == 0, done.stderr
    pin, *hashes = (checkout.parent / "log.pin").read_text().splitlines()
    assert re.fullmatch(r"uv==[\d.]+ \\", pin)
    assert hashes and all(line.strip().startswith("--hash=sha256:") for line in hashes)


def test_the_python_asked_for_is_the_one_used(checkout: pathlib.Path) -> None:
    done = make(checkout, "setup", "PYTHON=/nowhere/python")
    assert done.returncode != 0
    assert done.stderr.startswith("PYTHON=/nowhere/python is no Python 3.10 or 3.11")


def test_help_is_the_default_and_names_every_target(checkout: pathlib.Path) -> None:
    done = make(checkout)
    assert done.returncode == 0
    listed = {line.split()[1] for line in done.stdout.splitlines()}
    phony = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    assert listed == {*phony.split()[1:], "experiment/NAME", "investigate/NAME", "reproduce/NAME"}
    assert log(checkout) == []
