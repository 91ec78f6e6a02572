#!/usr/bin/env python3
"""Writes requirements/*.txt, every package pinned with its hashes, from pyproject.toml; `--check` only says what differs.

    .venv/bin/python scripts/pins.py            # after a change of pyproject.toml
    .venv/bin/python scripts/pins.py --upgrade  # and when newer versions are wanted
    .venv/bin/python scripts/pins.py --check    # exit 1 and a line per difference when the files are out of date

The present pins are preferences: a new release on the registry changes nothing until `--upgrade`. Which registry is asked,
uv's environment says; its address never lands in the files. `base.txt` holds what fedlab needs; each other file starts with
`-r base.txt` and adds what its extra needs beyond that, resolved so that all files can be installed side by side.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"
EXTRAS = ("dev", "arrow", "ray", "mlflow", "gpu")  # each is resolved under the pins of those before it

# One pinned package: `name==version ; marker \` and its indented hashes.
ENTRY = re.compile(r"^(?P<name>[\w.\-]+)==(?P<version>[^\s;\\]+)(?: ; (?P<marker>.+?))?(?: \\)?$")

Pins = dict[tuple[str, str, str], list[str]]  # (name, version, marker) -> the lines as they stand in the file


def parse(text: str) -> Pins:
    """The pins of a requirements file, in order."""
    pins: Pins = {}
    lines: list[str] = []
    for line in text.splitlines():
        match = ENTRY.match(line)
        if match:
            lines = pins.setdefault((match["name"], match["version"], match["marker"] or ""), [])
        if match or line.startswith("    --hash="):
            lines.append(line)
        elif line.strip() and not line.startswith(("#", "-r ")):
            raise SystemExit(f"pins: a line that is not a pin: {line!r}")
    return pins


def entries(pins: Pins) -> str:
    return "".join(f"{line}\n" for lines in pins.values() for line in lines)


def render(extra: str, pins: Pins) -> str:
    """The file of `extra` ("base" for none): how to make it, how to install it, the pins."""
    head = "# Made by `python scripts/pins.py` from pyproject.toml; do not edit.\n"
    head += f"# Install: pip install --no-deps --require-hashes -r requirements/{extra}.txt\n"
    head += "" if extra == "base" else "-r base.txt\n"
    return head + entries(pins)


def resolve(extra: str, present: Pins, constraints: list[pathlib.Path], uv: str, upgrade: bool) -> Pins:
    """All packages that fedlab with `extra` needs, those in `present` preferred and those in `constraints` given."""
    with tempfile.TemporaryDirectory() as temporary:
        output = pathlib.Path(temporary) / "pins.txt"
        if not upgrade:
            output.write_text(entries(present))
        command = [
            uv,
            "pip",
            "compile",
            "pyproject.toml",
            "--universal",
            "--python-version",
            "3.10",
            "--output-file",
            str(output),
        ]
        command += ["--generate-hashes", "--no-header", "--no-annotate", "--quiet"]
        command += [] if extra == "base" else ["--extra", extra]
        for path in constraints:
            command += ["--constraints", str(path)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"pins: uv finds no versions for '{extra}':\n{done.stderr.strip()}")
        return parse(output.read_text())


def differences(extra: str, old: Pins, new: Pins) -> list[str]:
    """One line per package whose version or marker is not the same in both. Hashes may gain members with a new upload."""
    lines = []
    for name in sorted({key[0] for key in {*old} ^ {*new}}):
        was, now = (
            [f"{version} ({marker})" if marker else version for n, version, marker in pins if n == name] for pins in (old, new)
        )
        lines.append(f"requirements/{extra}.txt: {name}: {', '.join(was) or 'absent'}; should be {', '.join(now) or 'absent'}")
    return lines


def find_uv() -> str:
    """uv from beside this Python, else from the PATH."""
    beside = pathlib.Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if not uv:
        raise SystemExit("pins: uv is missing; run this with .venv/bin/python after `make setup`, or pip install uv.")
    return uv


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file no longer matches pyproject.toml")
    parser.add_argument("--upgrade", action="store_true", help="take the newest allowed versions, not the present ones")
    args = parser.parse_args()
    uv = find_uv()
    found: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        shared: dict[str, Pins] = {}
        for extra in ("base", *EXTRAS):
            path = FOLDER / f"{extra}.txt"
            old = parse(path.read_text()) if path.exists() else {}
            constraints = [pathlib.Path(temporary) / f"{other}.txt" for other in shared]
            new = resolve(extra, {**shared.get("base", {}), **old}, constraints, uv, args.upgrade)
            new = {key: lines for key, lines in new.items() if extra == "base" or key not in shared["base"]}
            found += differences(extra, old, new)
            shared[extra] = new
            (pathlib.Path(temporary) / f"{extra}.txt").write_text(entries(new))
            if not args.check:
                path.write_text(render(extra, new))
    print("\n".join(found) if found else "pins: requirements/*.txt match pyproject.toml")
    return 1 if args.check and found else 0


if __name__ == "__main__":
    sys.exit(main())
