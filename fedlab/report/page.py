"""report.html of a run: one file that needs no network. A further section is a module with a `build`, and a row in `SECTIONS`."""

from __future__ import annotations

import dataclasses
import pathlib
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from markupsafe import Markup

import fedlab
from fedlab.archive import Run, manifest, read_run, replacing
from fedlab.archive.folder import relative
from fedlab.archive.metrics import Record
from fedlab.errors import FedlabError
from fedlab.report import words
from fedlab.report.section import Builder, Section, render
from fedlab.report.sections import (
    attacks,
    clients,
    configuration,
    cost,
    difftest,
    environment,
    images,
    learning,
    local_models,
    partition,
    privacy,
    result,
    split,
)

# In the order of the page; each `build(run)` gives its section, or None where the run has nothing of the kind
SECTIONS: Sequence[Builder] = (
    result.build,
    learning.build,
    privacy.build,
    split.build,
    local_models.build,
    clients.build,
    difftest.build,
    attacks.build,
    images.build,
    partition.build,
    cost.build,
    configuration.build,
    environment.build,
)
# Of these, a run with arms has one for each arm
OF_EACH_ARM: Sequence[Builder] = (privacy.build, local_models.build, clients.build, attacks.build, images.build)


@dataclasses.dataclass(frozen=True)
class Page:
    """What `templates/page.html` needs."""

    kind: str
    title: str
    lead: Markup
    sections: tuple[Section, ...]
    version: str = fedlab.__version__
    written: str = dataclasses.field(default_factory=lambda: words.when(manifest.now()))

    def write(self, path: pathlib.Path) -> pathlib.Path:
        """Replaces `path`. Raises `FedlabError` where it cannot be written."""
        html = render("page.html", page=self)
        try:
            with replacing(path) as partial:
                partial.write_text(html)
        except OSError as error:
            raise FedlabError(f"cannot write {path} ({error.strerror}): name another file with --output FILE.") from error
        return path


_READ = (".json", ".jsonl", ".csv", ".png", ".gif")  # what sections read


class ReadOnce(Run):
    """A run whose records are read once for all sections."""

    def records(self) -> list[Record]:
        if "_records" not in self.__dict__:
            self.__dict__["_records"] = super().records()
        return self.__dict__["_records"]


def write_report(run_path: str | pathlib.Path, output: pathlib.Path | None = None) -> pathlib.Path:
    """Writes the page of the run in `run_path`, to report.html there or to `output`, and returns where.

    Raises `FedlabError` where there is no run or the file cannot be written.
    """
    found = read_run(run_path)
    found.check(suffixes=_READ)
    run = ReadOnce(found.folder, found.manifest, found.summary, found.inventory)
    page = Page("run", str(run.manifest.get("name") or run.path.name), lead(run), built(run, SECTIONS))
    return page.write(output or run.folder.report)


def built(run: Run, builders: Iterable[Builder]) -> tuple[Section, ...]:
    """The sections that have something to say."""
    return tuple(found for build in builders for found in _each(run, build))


def _each(run: Run, build: Builder) -> Iterator[Section]:
    if not run.arms or build not in OF_EACH_ARM:
        found = build(run)
        if found:
            yield found
        return
    for name in run.arms:
        found = build(run.arm(name))
        if found:
            yield dataclasses.replace(found, anchor=f"{found.anchor}-{name}", title=f"{found.title}: {name}")


def lead(run: Run) -> Markup:
    """What stands above the sections: how it ended, what it was, how to run it again."""
    return render("lead.html", run=run, status=run.status, commands=_commands(run), facts=_facts(run))


def _facts(run: Run) -> dict[str, Any]:
    data, partition = run.manifest.get("data") or {}, run.manifest.get("partition") or {}
    begun, ended = (words.parse_time(run.manifest.get(key)) for key in ("started", "ended"))
    seconds = (run.manifest.get("seconds") or {}).get("total")
    elapsed = (ended - begun).total_seconds() if begun and ended and not seconds else seconds
    return {"data": data.get("name"), "clients": partition.get("num_clients"), "seconds": elapsed}


def _commands(run: Run) -> list[tuple[str, str]]:
    """(what for, command) for the shell."""
    path = shell_path(run.path)
    rows = [("Run it again", run.manifest["command"])] if run.manifest.get("command") else []
    if run.status in ("interrupted", "failed"):
        rows.append(("Go on with it", f"fedlab train resume={path}"))
    elif run.status == "finished" and run.manifest.get("reproducible"):
        rows.append(("Check every round", f"fedlab verify {path}"))
    return rows


def shell_path(path: pathlib.Path) -> str:
    """`path` as it would be typed from here."""
    return shlex.quote(relative(path))
