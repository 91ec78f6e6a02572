"""report.html of a run: one file that needs no network.

To add a section, write a module with a `build`, and add a row to `SECTIONS` or to the `STUDY` of a study (`fedlab/studies`).
"""

from __future__ import annotations

import dataclasses
import pathlib
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from markupsafe import Markup

import fedlab
from fedlab import registry
from fedlab.archive import Run, manifest, read_run, replacing
from fedlab.archive.folder import relative
from fedlab.archive.metrics import Record
from fedlab.errors import FedlabError
from fedlab.registry import resolved
from fedlab.report import words
from fedlab.report.section import Builder, Section, render
from fedlab.report.sections import (
    client_models,
    clients,
    configuration,
    cost,
    environment,
    images,
    learning,
    local_models,
    partition,
    privacy,
    result,
    split,
)


@dataclasses.dataclass(frozen=True)
class Part:
    """A section of every page. `of_each_arm`: a run with arms has one per arm."""

    build: Builder
    of_each_arm: bool = False


def _of_study(reference: str) -> Builder:
    """Returns the builder of a study's section; it imports the study's module when a page is written."""
    return lambda run: resolved(reference)(run)


SECTIONS: Sequence[Part] = (  # in the order of the page
    Part(result.build),
    Part(learning.build),
    Part(privacy.build, of_each_arm=True),
    Part(split.build),
    Part(local_models.build, of_each_arm=True),
    Part(clients.build, of_each_arm=True),
    Part(client_models.build, of_each_arm=True),
    *(Part(_of_study(section.build), section.of_each_arm) for section in registry.sections()),
    Part(images.build, of_each_arm=True),
    Part(partition.build),
    Part(cost.build),
    Part(configuration.build),
    Part(environment.build),
)


@dataclasses.dataclass(frozen=True)
class Page:
    """The values for `templates/page.html`."""

    kind: str
    title: str
    lead: Markup
    sections: tuple[Section, ...]
    version: str = fedlab.__version__
    written: str = dataclasses.field(default_factory=lambda: words.when(manifest.now()))

    def write(self, path: pathlib.Path) -> pathlib.Path:
        """Replaces `path`; returns it. Raises `FedlabError` if it cannot be written."""
        html = render("page.html", page=self)
        try:
            with replacing(path) as partial:
                partial.write_text(html)
        except OSError as error:
            raise FedlabError(f"cannot write {path} ({error.strerror}): name another file with --output FILE.") from error
        return path


_READ = (".json", ".jsonl", ".csv", ".png", ".gif")  # the files that sections read


class ReadOnce(Run):
    """A run whose records are read once for all sections."""

    def records(self) -> list[Record]:
        if "_records" not in self.__dict__:
            self.__dict__["_records"] = super().records()
        return self.__dict__["_records"]


def write_report(run_path: str | pathlib.Path, output: pathlib.Path | None = None) -> pathlib.Path:
    """Writes the page of the run in `run_path`, to report.html there or to `output`; returns the path.

    Raises `FedlabError` if there is no run or the file cannot be written.
    """
    found = read_run(run_path)
    found.check(suffixes=_READ)
    run = ReadOnce(found.folder, found.manifest, found.summary, found.inventory)
    page = Page("run", str(run.manifest.get("name") or run.path.name), lead(run), built(run, SECTIONS))
    return page.write(output or run.folder.report)


def built(run: Run, parts: Iterable[Part]) -> tuple[Section, ...]:
    """Returns the sections of the page, without empty ones."""
    return tuple(found for part in parts for found in _each(run, part))


def _each(run: Run, part: Part) -> Iterator[Section]:
    if not run.arms or not part.of_each_arm:
        found = part.build(run)
        if found:
            yield found
        return
    for name in run.arms:
        found = part.build(run.arm(name))
        if found:
            yield dataclasses.replace(found, anchor=f"{found.anchor}-{name}", title=f"{found.title}: {name}")


def lead(run: Run) -> Markup:
    """Renders the part above the sections: the status of the run, its facts, and the commands to repeat it."""
    return render("lead.html", run=run, status=run.status, commands=_commands(run), facts=_facts(run))


def _facts(run: Run) -> dict[str, Any]:
    data, partition = run.manifest.get("data") or {}, run.manifest.get("partition") or {}
    begun, ended = (words.parse_time(run.manifest.get(key)) for key in ("started", "ended"))
    seconds = (run.manifest.get("seconds") or {}).get("total")
    elapsed = (ended - begun).total_seconds() if begun and ended and not seconds else seconds
    return {"data": data.get("name"), "clients": partition.get("num_clients"), "seconds": elapsed}


def _commands(run: Run) -> list[tuple[str, str]]:
    """Returns (purpose, command) pairs for the shell."""
    path = shell_path(run.path)
    rows = [("Run it again", run.manifest["command"])] if run.manifest.get("command") else []
    if run.status in ("interrupted", "failed"):
        rows.append(("Go on with it", f"fedlab train resume={path}"))
    elif run.status == "finished" and run.manifest.get("reproducible"):
        rows.append(("Check every round", f"fedlab verify {path}"))
    return rows


def shell_path(path: pathlib.Path) -> str:
    """Returns `path`, quoted for the shell, relative to the current folder."""
    return shlex.quote(relative(path))
