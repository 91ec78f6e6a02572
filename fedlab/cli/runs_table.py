"""Rows of `fedlab runs`: what is shown of a run, how runs are sorted and which are kept."""

from __future__ import annotations

import dataclasses
import fnmatch
import time
from collections.abc import Callable, Sequence
from typing import Any

from fedlab.archive import Run
from fedlab.archive.differences import flat
from fedlab.archive.figures import REPLAYABLE, epsilon, final_figures, is_replayable
from fedlab.archive.folder import relative
from fedlab.errors import ConfigError, did_you_mean
from fedlab.report import words

Value = str | float | None
_ASIDE = ("num_rounds", "checkpoint", "logger")  # what has a column, or makes no difference to a model
_MOST_SHOWN = 4  # differing options of a run


@dataclasses.dataclass(frozen=True)
class Listed:
    """What is told of a run. `options`: its configuration by dotted keys, and each stage's class by the stage."""

    path: str
    name: str
    status: str
    rounds: int
    wanted: int
    accuracy: float | None
    loss: float | None
    epsilon: float | None
    noise: str | None  # what limits its ε; None where nothing does
    seconds: float | None
    started: str | None
    options: dict[str, Any]
    config: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The same for programs; JSON has no infinity, which is written "inf"."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "options"}
        return {**plain, "epsilon": "inf" if self.epsilon == float("inf") else self.epsilon}


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of the table: what it is sorted by and what it shows, "" for nothing."""

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
    "epsilon": Column(lambda row: row.epsilon, lambda row: _spent(row)),
    "duration": Column(lambda row: row.seconds, lambda row: "" if row.seconds is None else words.seconds(row.seconds)),
    "started": Column(lambda row: row.started, lambda row: _local(row.started), numeric=False),
}


def listed(run: Run) -> Listed:
    """The row of `run`. Its records are read only where it has not finished."""
    manifest, status, figures = run.manifest, run.status, final_figures(run)
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
        epsilon=epsilon(run),
        noise=REPLAYABLE if is_replayable(run) else None,
        seconds=_duration(manifest, status),
        started=manifest.get("started"),
        options={**flat(run.config), **stages},
        config=run.config,
    )


def differences(rows: Sequence[Listed]) -> list[str]:
    """The options of each row that other rows have otherwise. Options that come with a class go without saying."""
    configs = [{k: v for k, v in flat(row.config).items() if k.partition(".")[0] not in _ASIDE} for row in rows]
    values: dict[tuple[str, Any], set[str]] = {}  # of an option, among the rows whose stage has the same class
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
    """What is built of the stage to which the option `key` belongs; None of the class itself, which all rows share."""
    target = f"{key.partition('.')[0]}._target_"
    return None if key == target else config.get(target)


def ordered(rows: Sequence[Listed], key: str, reverse: bool) -> list[Listed]:
    """By a column or an option, ascending; those without a value at the end either way. Raises `ConfigError`."""
    value = COLUMNS[key].value if key in COLUMNS else _option(rows, key, "--sort ")
    known = [row for row in rows if value(row) is not None]
    mixed = len({isinstance(value(row), (int, float)) for row in known}) > 1
    known.sort(key=lambda row: str(value(row)) if mixed else _sortable(value(row)), reverse=reverse)
    return known + [row for row in rows if value(row) is None]


def filtered(rows: Sequence[Listed], pairs: Sequence[tuple[str, str]]) -> list[Listed]:
    """The rows that have all of the values. Raises `ConfigError` for a key that no run has."""
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
    """Equal as numbers, as text, as the name of a class, or as a pattern with `*`."""
    try:
        return float(value) == float(wanted)
    except (TypeError, ValueError):
        pass
    text = words.setting(value)
    return fnmatch.fnmatchcase(text, wanted) or _bare(text.rpartition(".")[2]) == _bare(wanted)


def _bare(name: str) -> str:
    """So that fed_avg finds FedAvg."""
    return name.replace("_", "").lower()


def _sortable(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else words.setting(value)


def _duration(manifest: dict[str, Any], status: str) -> float | None:
    """Seconds that the run took; so far, where it still runs."""
    total = (manifest.get("seconds") or {}).get("total")
    begun = words.parse_time(manifest.get("started"))
    return time.time() - begun.timestamp() if total is None and status == "running" and begun else total


def _spent(row: Listed) -> str:
    simulated = row.options.get("privacy.simulated_cohort") is not None
    remarks = ["simulated"] * simulated + ["replayable"] * (row.noise is not None)
    return "" if row.epsilon is None else words.epsilon(row.epsilon) + f" ({', '.join(remarks)})" * bool(remarks)


def _local(started: str | None) -> str:
    parsed = words.parse_time(started)
    return parsed.astimezone().strftime("%Y-%m-%d %H:%M") if parsed else ""
