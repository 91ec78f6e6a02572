"""The list of runs: its rows, columns, order and filters."""

from __future__ import annotations

import dataclasses
import fnmatch
import pathlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fedlab.archive import Run, scan
from fedlab.archive.differences import flat
from fedlab.archive.figures import check_targets, epsilon, final_figures, is_replayable, rounds_to_of
from fedlab.archive.folder import relative
from fedlab.archive.reading import NeverBegan, without_inventory
from fedlab.archive.task import learned
from fedlab.composition import REPLAYABLE
from fedlab.errors import ConfigError, FedlabError, did_you_mean
from fedlab.report import words

Value = str | float | None
_ASIDE = ("num_rounds", "checkpoint", "logger")  # options that have a column or do not change the model
_MOST_SHOWN = 4  # the most differing options shown per run


@dataclasses.dataclass(frozen=True)
class Listed:
    """One row: the values listed for a run. `options`: its configuration by dotted keys, and the class of each stage."""

    path: str
    name: str
    status: str
    rounds: int
    wanted: int
    accuracy: float | None
    loss: float | None
    metric: str | None  # the metric that ranks runs of this task, such as test_accuracy
    score: float | None  # its value
    more_is_better: bool
    epsilon: float | None
    noise: str | None  # the remark that limits its ε; None without one
    seconds: float | None
    started: str | None
    options: dict[str, Any]
    config: dict[str, Any]
    rounds_to: dict[str, float | None] = dataclasses.field(default_factory=dict)  # by rounds_to[TARGET]; None: not reached

    def reached_text(self, name: str) -> str:
        """Returns the rounds to a target in words."""
        value = self.rounds_to[name]
        return words.metric_value(name, value) if value is not None else words.NOT_REACHED

    def as_json(self) -> dict[str, Any]:
        """Returns the row for JSON. JSON has no infinity, so an infinite ε is "inf"."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "options"}
        return {**plain, "epsilon": "inf" if self.epsilon == float("inf") else self.epsilon}


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of the table: its value, for sorting, and its text, "" for an empty cell."""

    value: Callable[[Listed], Value]
    text: Callable[[Listed], str]
    numeric: bool = True


COLUMNS = {
    "run": Column(lambda row: row.path, lambda row: row.path, numeric=False),
    "name": Column(lambda row: row.name, lambda row: row.name, numeric=False),
    "status": Column(lambda row: row.status, lambda row: row.status, numeric=False),
    "rounds": Column(lambda row: row.rounds, lambda row: f"{row.rounds:,}/{row.wanted:,}"),
    "accuracy": Column(lambda row: row.accuracy, lambda row: "" if row.accuracy is None else words.percent(row.accuracy)),
    "loss": Column(lambda row: row.loss, lambda row: "" if row.loss is None else words.number(row.loss)),
    # Sorted from worst to best; empty if the score is the accuracy, which has a column of its own
    "score": Column(lambda row: _rank(row), lambda row: "" if row.metric == "test_accuracy" else _score(row)),
    "epsilon": Column(lambda row: row.epsilon, lambda row: _spent(row)),
    "duration": Column(lambda row: row.seconds, lambda row: "" if row.seconds is None else words.seconds(row.seconds)),
    "started": Column(lambda row: row.started, lambda row: _local(row.started), numeric=False),
}


@dataclasses.dataclass(frozen=True)
class Listing:
    """The list of the runs below some folders."""

    rows: list[Listed]  # filtered and sorted
    total: int  # number of rows before filters
    left_out: list[FedlabError]  # one for each folder whose run cannot be read or never began
    remark: str | None  # names the runs whose damage goes unnoticed

    @property
    def broken(self) -> bool:
        """Returns whether the run of any folder is damaged."""
        return any(not isinstance(error, NeverBegan) for error in self.left_out)


def read(
    roots: Iterable[pathlib.Path],
    filters: Sequence[tuple[str, str]],
    key: str,
    reverse: bool = False,
    targets: Sequence[float] = (),
) -> Listing:
    """Lists the runs below `roots`. `filters`: (option, value) pairs; `key`: the column or option that sorts the rows.

    `targets`: of the metric that ranks runs; the rows have rounds_to[TARGET] of each. Raises `ConfigError` for an unknown option,
    and for a target that no run can reach.
    """
    found = [one for root in roots for one in scan(root)]
    runs = [one for one in found if not isinstance(one, FedlabError)]
    check_targets(runs, targets)
    rows = [listed(each, targets) for run in runs for each in run.each_arm()]
    kept = ordered(filtered(rows, filters), key, reverse) if rows else []
    return Listing(kept, len(rows), [one for one in found if isinstance(one, FedlabError)], without_inventory(runs))


def listed(run: Run, targets: Sequence[float] = ()) -> Listed:
    """Returns the row of `run`, with rounds_to[TARGET] of each target. Without targets, reads records only of unfinished runs."""
    manifest, status, figures, task = run.manifest, run.status, final_figures(run), learned(run.manifest)
    stages = {
        stage: options["_target_"] for stage, options in run.config.items() if isinstance(options, dict) and "_target_" in options
    }
    return Listed(
        path=relative(run.path),
        name=str(manifest.get("name") or ""),
        status=status,
        rounds=run.rounds_completed,
        wanted=manifest["num_rounds"],
        accuracy=figures.get("test_accuracy"),
        loss=figures.get("test_loss"),
        metric=f"test_{task.headline}" if task.headline else None,
        score=figures.get(f"test_{task.headline}"),
        more_is_better=task.ranking.more_is_better,
        epsilon=epsilon(run),
        noise=REPLAYABLE if is_replayable(run) else None,
        seconds=_duration(manifest, status),
        started=manifest.get("started"),
        options={**flat(run.config), **stages},
        config=run.config,
        rounds_to=rounds_to_of(run, targets) if targets else {},
    )


def differences(rows: Sequence[Listed]) -> list[str]:
    """Returns, per row, the options that differ from other rows. Options are compared between rows with the same class only."""
    configs = [{k: v for k, v in flat(row.config).items() if k.partition(".")[0] not in _ASIDE} for row in rows]
    values: dict[tuple[str, Any], set[str]] = {}  # values of an option, over the rows whose stage has the same class
    for config in configs:
        for key, value in config.items():
            values.setdefault((key, _class(config, key)), set()).add(repr(value))
    found = []
    for config in configs:
        told = [words.option(k, v) for k, v in config.items() if len(values[k, _class(config, k)]) > 1]
        shown = [f"{key} {value}" for key, value in told[:_MOST_SHOWN]]
        more = [f"{len(told) - _MOST_SHOWN} more (--json shows them)"] if len(told) > _MOST_SHOWN else []
        found.append(", ".join([*shown, *more]))
    return found


def _class(config: dict[str, Any], key: str) -> Any:
    """Returns the class of the stage to which option `key` belongs; None if `key` is the class itself."""
    target = f"{key.partition('.')[0]}._target_"
    return None if key == target else config.get(target)


def ordered(rows: Sequence[Listed], key: str, reverse: bool) -> list[Listed]:
    """Sorts rows by a column or an option; rows without a value come last in both directions. Raises `ConfigError`."""
    value = _sorted_by(rows, key)
    known = [row for row in rows if value(row) is not None]
    mixed = len({isinstance(value(row), (int, float)) for row in known}) > 1
    known.sort(key=lambda row: str(value(row)) if mixed else _sortable(value(row)), reverse=reverse)
    return known + [row for row in rows if value(row) is None]


def _sorted_by(rows: Sequence[Listed], key: str) -> Callable[[Listed], Value]:
    if any(key in row.rounds_to for row in rows):
        return lambda row: row.rounds_to.get(key)
    return COLUMNS[key].value if key in COLUMNS else _option(rows, key, "--sort ")


def filtered(rows: Sequence[Listed], pairs: Sequence[tuple[str, str]]) -> list[Listed]:
    """Returns the rows that match all pairs. Raises `ConfigError` for a key that no run has."""
    kept = list(rows)
    for key, wanted in pairs:
        value = (lambda row, key=key: getattr(row, key)) if key in ("status", "name") else _option(rows, key, "")
        kept = [row for row in kept if _matches(value(row), wanted)]
    return kept


def _option(rows: Sequence[Listed], key: str, flag: str) -> Callable[[Listed], Any]:
    known = {option for row in rows for option in row.options}
    if rows and key not in known:
        choices = [*(COLUMNS if flag else ("status", "name")), *sorted(known)]
        raise ConfigError(
            f"{flag}{key}: no run has an option of that name.{did_you_mean(key, choices)} "
            f"There are {', '.join(choices[: len(choices) - len(known)])} and the options of `fedlab train --cfg job`."
        )
    return lambda row: row.options.get(key)


def _matches(value: Any, wanted: str) -> bool:
    """Returns whether `value` equals `wanted` as a number, a text, a class name, or matches it as a pattern with `*`."""
    try:
        return float(value) == float(wanted)
    except (TypeError, ValueError):
        pass
    text = words.setting(value)
    return fnmatch.fnmatchcase(text, wanted) or _bare(text.rpartition(".")[2]) == _bare(wanted)


def _bare(name: str) -> str:
    """Normalises a class name, so that fed_avg finds FedAvg."""
    return name.replace("_", "").lower()


def _sortable(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else words.setting(value)


def _duration(manifest: dict[str, Any], status: str) -> float | None:
    """Returns the duration of the run in seconds, up to now if it still runs."""
    total = (manifest.get("seconds") or {}).get("total")
    begun = words.parse_time(manifest.get("started"))
    return time.time() - begun.timestamp() if total is None and status == "running" and begun else total


def _rank(row: Listed) -> float | None:
    """Returns the score, negated if less is better, so that better runs rank higher."""
    return row.score if row.score is None or row.more_is_better else -row.score


def _score(row: Listed) -> str:
    return "" if row.score is None or row.metric is None else f"{row.metric.replace('_', ' ')} {words.number(row.score)}"


def _spent(row: Listed) -> str:
    simulated = row.options.get("privacy.simulated_cohort") is not None
    remarks = ["simulated"] * simulated + ["replayable"] * (row.noise is not None)
    return "" if row.epsilon is None else words.epsilon(row.epsilon) + f" ({', '.join(remarks)})" * bool(remarks)


def _local(started: str | None) -> str:
    parsed = words.parse_time(started)
    return parsed.astimezone().strftime("%Y-%m-%d %H:%M") if parsed else ""
