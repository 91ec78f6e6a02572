"""Runs the jobs of a scorecard, each in a process of its own, and writes the scorecard. A finished job is not repeated."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import statistics
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from fedlab import cores
from fedlab.archive import make_folder, manifest
from fedlab.archive.folder import relative
from fedlab.archive.lock import RunLock
from fedlab.errors import ConfigError, FedlabError
from fedlab.stopping import STOPS
from fedlab.studies.reproduce import measuring, page, text
from fedlab.studies.reproduce.jobs import Job
from fedlab.studies.reproduce.plan import ScorecardPlan
from fedlab.studies.reproduce.results import FAILED, NOT_RUN, PASSED, Card, CardRow
from fedlab.studies.reproduce.scorecard import Row

Line = Callable[[str], None]
_LOOK_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class _Measured:
    """The runs of one row: a figure per seed, if all have finished; otherwise the reason."""

    values: list[Any] | None
    reason: str = ""
    ended: str | None = None
    remark: str = ""


def reproduce(plan: ScorecardPlan, progress: Line, side_by_side: int = 1) -> Card:
    """Runs the jobs that have not finished, computes the verdicts of all rows, and writes the scorecard; returns it.

    `side_by_side`: number of jobs at a time, at least 1; they share the cores. A failed job fails its rows and does not end the
    command. Raises `FedlabError` if the folder cannot be written or another process works in it, and `ConfigError`, before any
    training, if a verb refuses its words.
    """
    try:
        make_folder(plan.folder.path)
    except OSError as error:
        raise FedlabError(f"cannot make the folder {plan.folder.path} ({error.strerror}): give --out FOLDER.") from error
    failures: dict[pathlib.Path, str] = {}
    with RunLock(plan.folder.lock):
        try:
            with contextlib.closing(_done(plan.todo, side_by_side, progress)) as done:
                for job, reason in done:
                    if reason is not None:
                        failures[job.folder] = reason
                    _write(plan, failures)
        except STOPS:  # the runs have saved their states
            _write(plan, failures)
            progress(f"to go on: {plan.command}")
            raise
        return _write(plan, failures)


@dataclasses.dataclass
class _Running:
    """A job in its process."""

    job: Job
    label: str
    child: subprocess.Popen
    leaving: contextlib.ExitStack  # ends the process
    started: float


def _done(todo: Sequence[Job], side_by_side: int, progress: Line) -> Generator[tuple[Job, str | None], None, None]:
    """Runs or continues the jobs that have not finished; yields each with the reason of its failure in one line, or None.

    Verbs come first. Raises `ConfigError` if one refuses its words.
    """
    share = min(side_by_side, len(todo))
    waiting = [(f"run {i} of {len(todo)}: {job.label}", job) for i, job in enumerate(todo, 1)]
    busy: list[_Running] = []
    with contextlib.ExitStack() as every:  # ends all processes, whatever is raised
        while waiting or busy:
            for label, job in _beginning(waiting, busy, side_by_side):
                waiting.remove((label, job))
                if not job.is_due:
                    progress(f"{label}: finished before")
                else:
                    busy.append(_begun(job, label, share, every, progress))
            for one in list(busy):
                try:
                    code = one.child.wait(_LOOK_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
                busy.remove(one)
                one.leaving.close()
                reason = one.job.failure(code)
                if not one.job.trains and code == ConfigError.exit_code:
                    raise ConfigError(f"{one.job.command}: {reason}")
                seconds = time.monotonic() - one.started
                progress(f"{one.label}: {'failed' if reason else 'finished'} after {seconds:.0f} s")
                yield one.job, reason


def _beginning(waiting: Sequence[tuple[str, Job]], busy: Sequence[_Running], side_by_side: int) -> Sequence[tuple[str, Job]]:
    """Returns the jobs that may begin now: no run before all verbs have ended, and no two jobs that must be alone."""
    ready = [pair for pair in waiting if not (pair[1].alone and any(one.job.alone for one in busy))]
    if any(not job.trains for job in (*(job for _, job in waiting), *(one.job for one in busy))):
        ready = [pair for pair in ready if not pair[1].trains]
    return ready[: min(1, side_by_side - len(busy))]


def _begun(job: Job, label: str, share: int, every: contextlib.ExitStack, progress: Line) -> _Running:
    """Starts the process of a job, which gets its share of the cores: all, if `share` is 1."""
    progress(f"{label}: {job.doing}; its output is in {relative(job.log)}" if job.trains else f"{label}: {job.doing}")
    environment = {**os.environ, **cores.limiting(cores.share(share))} if share > 1 else None
    leaving = every.enter_context(contextlib.ExitStack())
    child = leaving.enter_context(job.running(environment))
    return _Running(job, label, child, leaving, time.monotonic())


def _write(plan: ScorecardPlan, failures: Mapping[pathlib.Path, str]) -> Card:
    """Computes the verdict of every row from the runs in the folder; writes the scorecard and returns it."""
    card = card_of(plan, failures)
    card.write(plan.folder)
    text.write(card, plan.folder.text)
    page.write_page(card, plan.folder, plan.folder.page)
    return card


def card_of(plan: ScorecardPlan, failures: Mapping[pathlib.Path, str]) -> Card:
    """Returns the scorecard. `failures`: the reason of each run that has just failed, by its folder."""
    found = {name: _measured(row, plan.jobs[name], failures) for name, row in plan.card.rows.items()}
    rows = [_row(plan, name, row, found) for name, row in plan.card.rows.items()]
    return Card(plan.name, plan.card.title, plan.card.paper, plan.command, manifest.now(), rows)


def _measured(row: Row, jobs: Sequence[Job], failures: Mapping[pathlib.Path, str]) -> _Measured:
    values: list[Any] = []
    remarks, ended = [], None
    for job in jobs:
        if job.folder in failures:
            return _Measured([], f"{job.named} failed: {failures[job.folder]}")
        if not job.has_finished:
            return _Measured(None)
        try:
            found, remark = job.values(row)
            ended = max(filter(None, (ended, job.ended())), default=None)
        except FedlabError as error:
            return _Measured([], str(error))
        values += found
        remarks += [remark] * bool(remark)
    return _Measured(values, "", ended, "; ".join(dict.fromkeys(remarks)))


def _row(plan: ScorecardPlan, name: str, row: Row, found: Mapping[str, _Measured]) -> CardRow:
    mine, jobs = found[name], plan.jobs[name]
    values = mine.values or []
    numbers = [float(v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    whole = bool(values) and len(numbers) == len(values)
    mean: Any = statistics.fmean(numbers) if whole else None
    if values and mean is None:
        mean = ", ".join(dict.fromkeys(measuring.shown(row.metric, v) if v is not None else "not reached" for v in values))
    verdict, reason = _verdict(row, mine, found)
    return CardRow(
        name=name,
        source=row.source,
        figure=row.metric,
        metric=measuring.label(row),
        paper=row.paper,
        rule=measuring.rule_of(row),
        size=row.size,
        seeds=list(row.seeds) if row.verb is None else [],
        minutes=row.minutes,
        note=row.note,
        command=jobs[0].command,
        values=values,
        mean=mean,
        deviation=statistics.stdev(numbers) if whole and len(numbers) > 1 else None,
        difference=mean - row.paper if whole and isinstance(row.paper, float) else None,
        verdict=verdict,
        reason=reason,
        labels=[job.about.removeprefix("seed ") or "computed" for job in jobs],
        runs=[job.folder.relative_to(plan.folder.path).as_posix() for job in jobs],
        ended=mine.ended,
        asked=name in plan.asked,
    )


def _verdict(row: Row, mine: _Measured, found: Mapping[str, _Measured]) -> tuple[str, str]:
    """Returns the verdict and its reason. A row without finished runs, or compared with such a row, is not run."""
    if mine.values is None:
        return NOT_RUN, ""
    if mine.reason:
        return FAILED, mine.reason
    if None in mine.values:
        return FAILED, "the target was not reached"
    verdict, reason = _by_rule(row, mine.values, found)
    return verdict, f"{reason} ({mine.remark})" if mine.remark and reason else reason


def _by_rule(row: Row, values: Sequence[Any], found: Mapping[str, _Measured]) -> tuple[str, str]:
    other = found[row.rule.other] if row.rule.other is not None else None
    if other is not None and other.values is None:
        return NOT_RUN, f"row {row.rule.other} has not been run"
    figures_of_other = other.values if other else None
    outcome = row.rule.applied_to(values, row.paper, figures_of_other, lambda value: measuring.shown(row.metric, value))
    return PASSED if outcome.passed else FAILED, outcome.reason
