"""Compares the configurations and metrics of runs. Runs that differ in their seed alone form one group."""

from __future__ import annotations

import dataclasses
import pathlib
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from fedlab.archive import Run, read_run, scan
from fedlab.archive.claims import together
from fedlab.archive.figures import check_targets, final_figures, rounds_to_of, targets_of
from fedlab.archive.folder import relative
from fedlab.archive.reading import folder_and_arm
from fedlab.archive.task import Learned, learned
from fedlab.errors import ConfigError, FedlabError
from fedlab.report import words
from fedlab.report.grouping import RunGroup, alike, differing, hashable, identifying, setting
from fedlab.report.series import distinct
from fedlab.targets import named, target_in

_LAST = ("simulated_seconds_total", "seconds_per_round", "seconds_total", "bytes_up_total", "bytes_down_total")
NO_METRIC = {
    "num_rounds",
    "num_clients",
    "num_weights",
    "non_finite_clients_total",
    "rounds_without_clients",
    "train_num_examples",
}


@dataclasses.dataclass(frozen=True)
class Spread:
    """A metric over the runs of a group: mean and sample standard deviation (None for fewer than two runs)."""

    mean: float
    deviation: float | None
    count: int

    def text(self, name: str) -> str:
        """Formats the metric: "97.49% ± 0.20%"."""
        mean = words.metric_value(name, self.mean)
        if self.deviation is None:
            return mean
        return f"{mean} ± {words.metric_value(name, self.deviation, digits=2)}"


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone.

    `settings`: values of the keys in which groups differ. `marks`: the settings that identify the group, in words.
    """

    marks: dict[str, str]
    settings: dict[str, Any]
    runs: tuple[Run, ...]
    metrics: dict[str, Spread]

    @property
    def label(self) -> str:
        """Returns the label of the group in a legend."""
        return ", ".join(f"{key} {value}" for key, value in self.marks.items()) or "all runs"

    @property
    def seeds(self) -> list[int]:
        return [run.config.get("seed", 0) for run in self.runs]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Groups of runs, the dotted configuration keys in which they differ, and the metrics that at least one group has."""

    groups: tuple[Group, ...]
    keys: tuple[str, ...]
    metrics: tuple[str, ...]
    remarks: tuple[str, ...]
    task: Learned  # of the first run

    @property
    def best(self) -> str:
        """Names the group with the best headline metric; "" for runs of several tasks, or if all groups are equal."""
        name, metric = f"test_{self.task.headline}", self.task.ranking
        means = [group.metrics[name].mean for group in self.groups if name in group.metrics]
        if len(means) < max(2, len(self.groups)) or any(learned(r.manifest) != self.task for g in self.groups for r in g.runs):
            return ""
        if min(means) == max(means):
            return ""
        value = max(means) if metric.more_is_better else min(means)
        which = ", ".join(str(i) for i, mean in enumerate(means, 1) if mean == value)
        superlative = "highest" if metric.more_is_better else "lowest"
        shown = words.task_value(name, value, self.task)
        return f"{superlative} {words.task_label(name, self.task)}: group {which} ({shown})"

    @property
    def num_runs(self) -> int:
        return sum(len(group.runs) for group in self.groups)


def gather(given: Sequence[str | pathlib.Path | Run], at_least: int = 2) -> tuple[list[Run], list[FedlabError]]:
    """Returns the runs in `given` (runs, run folders, RUN:ARM, or folders of runs) and the broken ones. Each arm counts as a run.

    Raises `FedlabError` if a folder contains no run, `ConfigError` for a total of fewer than `at_least` runs.
    """
    runs: dict[pathlib.Path, Run] = {}
    broken: list[FedlabError] = []
    for one in given:
        for run in _found(one):
            if isinstance(run, FedlabError):
                broken.append(run)
            else:
                for arm in run.each_arm():
                    runs.setdefault(arm.path.resolve(), arm)
    if len(runs) < at_least and broken:
        raise broken[0]
    if len(runs) < at_least:
        raise ConfigError(f"{words.counted(len(runs), 'run')} given: name two or more, or a folder that holds several.")
    return list(runs.values()), broken


def _found(given: str | pathlib.Path | Run) -> Iterable[Run | FedlabError]:
    if isinstance(given, Run):
        return [given]
    path, arm = folder_and_arm(str(given))
    if arm is not None:
        return [read_run(path).arm(arm)]
    if not path.is_dir() or any((path / name).exists() for name in ("manifest.json", "inventory.json")):
        return [read_run(path)]
    found = list(scan(path))
    if not found:
        raise FedlabError(f"no such run: {path} holds no manifest.json, and no run below it.")
    return found


def compare(runs: Sequence[Run], targets: Sequence[float] = ()) -> Comparison:
    """Returns the comparison of `runs`. Groups are in the order of their first runs.

    `targets`: of the metric that ranks runs: rounds_to[TARGET] is compared for each of them, and for those that a run itself asks
    for with evaluation.rounds_to. A group has no such figure if one of its runs has not reached the target. Raises `ConfigError`
    for a target that no run can reach.
    """
    check_targets(runs, targets)
    asked = dict.fromkeys([*targets, *(target for run in runs for target in targets_of(run))])
    configs = [setting(run) for run in runs]
    keys = differing(configs)
    members = alike(configs, keys)
    settings = [{key: configs[indices[0]][key] for key in keys if key in configs[indices[0]]} for indices in members]
    groups = []
    for indices, mine in zip(members, settings):
        group = tuple(runs[i] for i in indices)
        groups.append(
            Group(
                dict(words.option(key, mine[key]) for key in identifying(mine, settings)),
                mine,
                group,
                {**_spreads(group), **_reached(group, asked)},
            )
        )
    metrics = dict.fromkeys(name for group in groups for name in group.metrics)
    spent = {n: [group.metrics.get(n) for group in groups] for n in metrics if n.startswith("epsilon")}
    metrics = {n: None for n in metrics if n not in spent or n in distinct(spent)}
    tasks = [learned(run.manifest) for run in runs]
    first = list(dict.fromkeys(name for task in tasks for name in task.first))
    ordered = [n for n in first if n in metrics] + [n for n in metrics if n not in (*first, *_LAST)]
    ordered += [n for n in _LAST if n in metrics]
    return Comparison(tuple(groups), tuple(keys), tuple(ordered), (*caveats(runs, groups), *_unreached(groups, asked)), tasks[0])


def difference_rows(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Returns (key, its value in each group); the value is "–" in a group without the key."""
    rows = []
    for key in comparison.keys:
        pairs = [
            words.option(key, group.settings[key]) if key in group.settings else ("", words.NONE) for group in comparison.groups
        ]
        rows.append((next(name for name, _ in pairs if name), [value for _, value in pairs]))
    return rows


def _spreads(runs: Sequence[Run]) -> dict[str, Spread]:
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, value in final_figures(run).items():
            if name not in NO_METRIC and target_in(name) is None:
                found.setdefault(name, []).append(value)
    return {name: _spread(values) for name, values in found.items()}


def _spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def _reached(runs: Sequence[Run], targets: Iterable[float]) -> dict[str, Spread]:
    """Returns rounds_to[TARGET] of the targets that all `runs` have reached; a mean over the others would be too small."""
    each = [rounds_to_of(run, targets) for run in runs]
    columns = {name: [figures[name] for figures in each] for name in each[0]}
    return {
        name: _spread(known)
        for name, values in columns.items()
        if len(known := [v for v in values if v is not None]) == len(runs)
    }


def _unreached(groups: Sequence[Group], targets: Iterable[float]) -> Iterable[str]:
    """Yields a sentence per target that some runs have not reached."""
    for target in targets:
        counts = []
        for number, group in enumerate(groups, 1):
            missing = sum(value is None for run in group.runs for value in rounds_to_of(run, [target]).values())
            counts += [f"{missing:,} of {words.counted(len(group.runs), 'run')} of group {number}"] if missing else []
        if counts:
            yield f"{words.metric_label(named(target))}: not reached by {', '.join(counts)}."


def caveats(runs: Sequence[Run], groups: Sequence[Group | RunGroup]) -> Iterable[str]:
    """Yields the caveats of a comparison of `runs`, in sentences."""
    for run in runs:
        if run.status != "finished":
            done, wanted = run.rounds_completed, run.manifest["num_rounds"]
            ended = {"interrupted": "was interrupted", "running": "is running,"}.get(run.status, run.status)
            yield f"{relative(run.path)} {ended} after {done:,} of {wanted:,} rounds: its figures are the newest it has."
    if early := len({run.root for run in runs if "stopped" in run.summary}):
        yield f"{words.counted(early, 'run')} ended early (stop.when, stop.patience): final metrics are those of the last round."
    prints: dict[str, set[str | None]] = {}
    for run in runs:
        asked = hashable([run.config.get("data"), run.config.get("seed")])
        prints.setdefault(asked, set()).add((run.manifest.get("data") or {}).get("fingerprint"))
    if any(len(found) > 1 for found in prints.values()):
        yield "Some runs asked for the same data, and were not given the same: its fingerprints differ."
    if total := together(runs):
        yield f"{total[0].upper()}{total[1:]}."
    for group in groups:
        if len(set(group.seeds)) < len(group.seeds):
            yield f"{group.label}: some of its runs have the same seed, and are no independent repetitions."
