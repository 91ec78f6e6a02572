"""The examples of docs/adding/ that change fedlab itself are applied to a copy of the package, which then has the new thing."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from tests.report.conftest import write_run

ROOT = pathlib.Path(__file__).parents[2]
BLOCK = re.compile(r"^```(python|jinja|diff)\n(?:#|\{#) (\S+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Copy:
    """A copy of the package, with the files and the changes of a page."""

    def __init__(self, folder: pathlib.Path, page: str):
        self.folder = folder
        shutil.copytree(ROOT / "fedlab", folder / "fedlab", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "conf").symlink_to(ROOT / "conf")
        for kind, path, text in BLOCK.findall((ROOT / "docs" / "adding" / f"{page}.md").read_text()):
            target = folder / path
            assert target.is_file() == (kind == "diff"), f"{path}: a change needs the file, a new file must not be there"
            target.write_text(changed(target.read_text(), text) if kind == "diff" else text)

    def fedlab(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of the copy, as a user would."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder)}
        command = [sys.executable, "-c", "import sys; from fedlab.cli.main import main; sys.exit(main())", *words]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=1800)


def changed(text: str, hunks: str) -> str:
    """Returns `text` with the lines that begin with + in `hunks` after the lines before them, which must be there once."""
    for hunk in hunks.split("@@\n"):
        lines = hunk.splitlines()
        before = "".join(f"{line[1:]}\n" for line in lines if line[0] != "+")
        after = "".join(f"{line[1:]}\n" for line in lines)
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


def test_the_verb_of_the_page(tmp_path):
    copy = Copy(tmp_path / "copy", "verb")
    run = write_run(tmp_path / "copy" / "runs" / "first")

    shown = copy.fedlab("disk", "runs/first")
    assert (shown.returncode, shown.stderr) == (0, "")
    head, row = shown.stdout.splitlines()
    sizes = [path.stat().st_size for path in run.rglob("*") if path.is_file()]
    assert head.split() == ["run", "files", "size"] and row.split()[:2] == ["runs/first", str(len(sizes))]

    assert re.search("^  disk +print the disk space", copy.fedlab("--help").stdout, re.MULTILINE)
    assert "usage: fedlab disk" in copy.fedlab("disk", "--help").stdout
    assert copy.fedlab("completion", "query", "fedlab di").stdout.split() == ["difftest", "disk"]
    assert copy.fedlab("completion", "query", "fedlab disk runs/").stdout.split() == ["runs/first"]
    for words in (["disk", "nowhere"], ["disk"], ["disk", "--much", "runs/first"]):
        refused = copy.fedlab(*words)
        assert refused.returncode != 0 and len(refused.stderr.splitlines()) == 1, refused.stderr
        assert refused.stderr.startswith("fedlab disk: ")


@pytest.mark.parametrize("arms", [(), ("a", "b")])
def test_the_report_section_of_the_page(tmp_path, arms):
    copy = Copy(tmp_path / "copy", "report_section")
    metrics = {"train_accuracy": 0.9, "test_accuracy": 0.75}
    names = {f"{arm}/{name}": value for arm in arms for name, value in metrics.items()} or metrics
    config = {f"arms.{arm}": {} for arm in arms}
    run = write_run(copy.folder / "run", config, records=[{"round": r, "seconds": 0.1, **names} for r in (1, 2)])

    written = copy.fedlab("report", "run")
    assert written.returncode == 0, written.stderr
    page = (run / "report.html").read_text()
    assert page.count("the training accuracy minus the test accuracy is 15.00%") == max(1, len(arms))
    assert all(f'id="{anchor}"' in page for anchor in ([f"gap-{arm}" for arm in arms] or ["gap"]))

    write_run(copy.folder / "untested", records=[{"round": 1, "seconds": 0.1, "train_accuracy": 0.9}])
    assert copy.fedlab("report", "untested").returncode == 0
    assert 'id="gap"' not in (copy.folder / "untested" / "report.html").read_text()
