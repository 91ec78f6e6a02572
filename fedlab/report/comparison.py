"""Runs side by side: where their configurations differ, and what came of it. Runs that differ in their seed alone are one."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from fedlab.archive import Run, read_run, scan
from fedlab.archive.differences import flat
from fedlab.archive.figures import final_figures
from fedlab.archive.folder import relative
from fedlab.archive.reading import Arm
from fedlab.errors import ConfigError, FedlabError
from fedlab.report import words
from fedlab.report.composition import together

# What makes no difference between two runs. `num_rounds` makes one: a longer run is another experiment.
_ASIDE = {"seed", "checkpoint", "logger"}
_FIRST = ("test_accuracy", "test_loss", "client_accuracy_mean", "client_accuracy_p10", "client_accuracy_worst")
_LAST = ("seconds_per_round", "seconds_total", "bytes_up_total", "bytes_down_total")
_NO_METRIC = {
    "num_rounds",
    "num_clients",
    "num_weights",
    "non_finite_clients_total",
    "rounds_without_clients",
    "train_num_examples",
}


@dataclasses.dataclass(frozen=True)
class Spread:
    """A metric over the runs of a group: mean and sample standard deviation, the latter None for fewer than two."""

    mean: float
    deviation: float | None
    count: int

    def text(self, name: str) -> str:
        """ "97.49% ± 0.20%" """
        mean = words.metric_value(name, self.mean)
        if self.deviation is None:
            return mean
        return f"{mean} ± {words.metric_value(name, self.deviation, digits=2)}"


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone.

    `settings`: what this group has of the keys in which groups differ. `marks`: those that tell it from the others, worded.
    """

    marks: dict[str, str]
    settings: dict[str, Any]
    runs: tuple[Run, ...]
    metrics: dict[str, Spread]

    @property
    def label(self) -> str:
        """As it is written in a legend."""
        return ", ".join(f"{key} {value}" for key, value in self.marks.items()) or "all runs"

    @property
    def seeds(self) -> list[int]:
        return [run.config.get("seed", 0) for run in self.runs]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Groups of runs, the dotted configuration keys in which they differ, and the metrics they share in part or in whole."""

    groups: tuple[Group, ...]
    keys: tuple[str, ...]
    metrics: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def num_runs(self) -> int:
        return sum(len(group.runs) for group in self.groups)


def gather(paths: Sequence[str | pathlib.Path]) -> tuple[list[Run], list[FedlabError]]:
    """The runs that `paths` name, each a run or a folder of runs, and what is broken among them. Each arm of a run counts as one.

    Raises `FedlabError` where a path is neither, `ConfigError` where there are fewer than two runs in all.
    """
    runs: dict[pathlib.Path, Run] = {}
    broken: list[FedlabError] = []
    for path in map(pathlib.Path, paths):
        if not path.is_dir() or any((path / name).exists() for name in ("manifest.json", "inventory.json")):
            found: Iterable[Run | FedlabError] = [read_run(path)]
        else:
            found = list(scan(path))
            if not found:
                raise FedlabError(f"no such run: {path} holds no manifest.json, and no run below it.")
        for run in found:
            if isinstance(run, FedlabError):
                broken.append(run)
            else:
                for one in run.each_arm():
                    runs.setdefault(one.path.resolve(), one)
    if len(runs) < 2 and broken:
        raise broken[0]
    if len(runs) < 2:
        raise ConfigError(f"{words.counted(len(runs), 'run')} given: name two or more, or a folder that holds several.")
    return list(runs.values()), broken


def compare(runs: Sequence[Run]) -> Comparison:
    """The groups come in the order of their first runs."""
    configs = [_setting(run) for run in runs]
    keys = [key for key in dict.fromkeys(k for c in configs for k in c) if len({_hashable(c.get(key)) for c in configs}) > 1]
    members: dict[tuple[str, ...], list[int]] = {}
    for i, config in enumerate(configs):
        members.setdefault(tuple(_hashable(config.get(key)) for key in keys), []).append(i)
    settings = [{key: configs[indices[0]][key] for key in keys if key in configs[indices[0]]} for indices in members.values()]
    groups = []
    for indices, mine in zip(members.values(), settings):
        group = tuple(runs[i] for i in indices)
        groups.append(Group(_marks(mine, settings), mine, group, _spreads(group)))
    metrics = dict.fromkeys(name for group in groups for name in group.metrics)
    ordered = [n for n in _FIRST if n in metrics] + [n for n in metrics if n not in (*_FIRST, *_LAST)]
    ordered += [n for n in _LAST if n in metrics]
    return Comparison(tuple(groups), tuple(keys), tuple(ordered), tuple(_remarks(runs, groups)))


def _setting(run: Run) -> dict[str, Any]:
    """Which arm it is, where it is one, and the dotted keys of its configuration."""
    arm = {"arm": run.path.name} if isinstance(run, Arm) else {}
    return {**arm, **{k: v for k, v in flat(run.config).items() if k.partition(".")[0] not in _ASIDE}}


def difference_rows(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """(key, its value in each group); "–" where a group has no such key."""
    rows = []
    for key in comparison.keys:
        pairs = [
            words.option(key, group.settings[key]) if key in group.settings else ("", words.NONE) for group in comparison.groups
        ]
        rows.append((next(name for name, _ in pairs if name), [value for _, value in pairs]))
    return rows


def _marks(mine: dict[str, Any], all_settings: Sequence[dict[str, Any]]) -> dict[str, str]:
    """What tells a group from the others. Options that come with a class go without saying."""
    pairs = []
    for key, value in mine.items():
        target = f"{key.partition('.')[0]}._target_"
        peers = [s for s in all_settings if s.get(target) == mine.get(target)]
        if key == target or len({_hashable(s.get(key)) for s in peers}) > 1:
            pairs.append(words.option(key, value))
    return dict(pairs)


def _spreads(runs: Sequence[Run]) -> dict[str, Spread]:
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, value in final_figures(run).items():
            if name not in _NO_METRIC:
                found.setdefault(name, []).append(value)
    return {
        name: Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))
        for name, values in found.items()
    }


def _remarks(runs: Sequence[Run], groups: Sequence[Group]) -> Iterable[str]:
    for run in runs:
        if run.status != "finished":
            done, wanted = run.rounds_completed, run.manifest["num_rounds"]
            ended = {"interrupted": "was interrupted", "running": "is running,"}.get(run.status, run.status)
            yield f"{relative(run.path)} {ended} after {done:,} of {wanted:,} rounds: its figures are the newest it has."
    prints: dict[str, set[str | None]] = {}
    for run in runs:
        asked = _hashable([run.config.get("data"), run.config.get("seed")])
        prints.setdefault(asked, set()).add((run.manifest.get("data") or {}).get("fingerprint"))
    if any(len(found) > 1 for found in prints.values()):
        yield "Some runs asked for the same data, and were not given the same: its fingerprints differ."
    if total := together(runs):
        yield f"{total[0].upper()}{total[1:]}."
    for group in groups:
        if len(set(group.seeds)) < len(group.seeds):
            yield f"{group.label}: some of its runs have the same seed, and are no independent repetitions."


def _hashable(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
