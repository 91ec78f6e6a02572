"""Groups of runs: runs that differ in their seed alone, or that have the same values of chosen options."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedlab.archive import Run
from fedlab.archive.differences import flat
from fedlab.archive.folder import relative
from fedlab.archive.reading import Arm
from fedlab.errors import ConfigError, did_you_mean
from fedlab.moved import with_later
from fedlab.report import words

# Options that make no group of their own. `num_rounds` counts: a longer run is another experiment.
_ASIDE = {"seed", "checkpoint", "logger"}
_OF_A_RUN = ("name", "run", "arm")  # keys that are no options
_MOST_SHOWN = 3  # the most options that a remark names


@dataclasses.dataclass(frozen=True)
class RunGroup:
    """Runs that are shown together, as one line with a band. `settings`: their common values of the keys of the groups."""

    label: str
    settings: dict[str, Any]
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> list[int]:
        """Returns the seed of each run."""
        return [run.config.get("seed", 0) for run in self.runs]

    @property
    def repeats(self) -> bool:
        """Returns True if all runs have different seeds, so that each is an independent repetition."""
        return len(set(self.seeds)) == len(self.seeds)


def setting(run: Run) -> dict[str, Any]:
    """Returns the configuration of a run by dotted keys, with the name of the arm if it is one; without the seed."""
    arm = {"arm": run.path.name} if isinstance(run, Arm) else {}
    options = flat(with_later(run.config))
    return {**arm, **{k: v for k, v in options.items() if k.partition(".")[0] not in _ASIDE and k != "stop._target_"}}


def hashable(value: Any) -> str:
    """Returns a text that is equal exactly for equal values of an option."""
    return json.dumps(value, sort_keys=True, default=str)


def differing(configs: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the keys whose values differ between some of `configs`."""
    keys = dict.fromkeys(key for config in configs for key in config)
    return [key for key in keys if len({hashable(config.get(key)) for config in configs}) > 1]


def alike(configs: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[list[int]]:
    """Returns the positions of the configurations that agree in each of `keys`, in the order of the first of each group."""
    members: dict[tuple[str, ...], list[int]] = {}
    for i, config in enumerate(configs):
        members.setdefault(tuple(hashable(config.get(key)) for key in keys), []).append(i)
    return list(members.values())


def identifying(mine: dict[str, Any], all_settings: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the keys of `mine` that identify a group. Options that only its class has are left out."""
    found = []
    for key in mine:
        target = f"{key.partition('.')[0]}._target_"
        peers = [s for s in all_settings if s.get(target) == mine.get(target)]
        if key == target or len({hashable(s.get(key)) for s in peers}) > 1:
            found.append(key)
    return found


def grouped(runs: Sequence[Run], keys: Sequence[str] = ()) -> list[RunGroup]:
    """Groups `runs` by the values of `keys`: options, such as partition.alpha, stages, such as aggregator, or name, run or arm.

    Without keys, runs that differ in their seed alone form a group. Groups are ordered by numbers where all values of a key are
    numbers, else by their first runs. Raises `ConfigError` for a key that no run has.
    """
    configs = [_described(run) for run in runs] if keys else [setting(run) for run in runs]
    chosen = [_resolved(key, configs) for key in keys] or differing(configs)
    members = alike(configs, chosen)
    settings = [{key: configs[indices[0]][key] for key in chosen if key in configs[indices[0]]} for indices in members]
    labels = _labels(
        [mine if keys else {k: mine[k] for k in identifying(mine, settings)} for mine in settings], chosen if keys else ()
    )
    if len(members) == 1 and not keys:
        labels = [runs[0].path.name if isinstance(runs[0], Arm) else str(runs[0].manifest.get("name") or runs[0].path.name)]
    groups = [RunGroup(label, mine, tuple(runs[i] for i in indices)) for label, mine, indices in zip(labels, settings, members)]
    return sorted(groups, key=_order(groups, chosen))


def setting_columns(groups: Sequence[RunGroup]) -> tuple[list[str], list[str], list[list[str]]]:
    """Returns the first columns of a table of groups that `grouped` has made without keys: (options, short names, rows).

    The options identify a group; a row contains their values in words. A single group is identified by its experiment.
    """
    settings = [group.settings for group in groups]
    marks = [{key: mine[key] for key in identifying(mine, settings)} for mine in settings]
    every = list(dict.fromkeys(key for mine in marks for key in mine))
    if not every:
        return ["name"], ["experiment"], [[group.label] for group in groups]
    values = [[words.option(key, mine[key])[1] if key in mine else words.NONE for key in every] for mine in marks]
    return [key.removesuffix("._target_") for key in every], [_last(key, every) for key in every], values


def remarks(groups: Sequence[RunGroup]) -> Iterable[str]:
    """Yields a sentence per group whose runs are no independent repetitions of one configuration."""
    for group in groups:
        others = differing([setting(run) for run in group.runs])
        if others:
            more = f" and {len(others) - _MOST_SHOWN} more" if len(others) > _MOST_SHOWN else ""
            which = f"{', '.join(others[:_MOST_SHOWN])}{more}"
            yield f"{group.label}: its runs also differ in {which}: mean and band are over all of them."
        elif not group.repeats:
            yield f"{group.label}: some of its runs have the same seed, and are no independent repetitions."


def _described(run: Run) -> dict[str, Any]:
    """Returns the values by which a run may be grouped."""
    arm = {"arm": run.path.name} if isinstance(run, Arm) else {}
    place = f"{relative(run.root)}:{run.path.name}" if arm else relative(run.path)
    return {"name": run.manifest.get("name"), "run": place, **arm, **flat(with_later(run.config))}


def _resolved(key: str, configs: Sequence[dict[str, Any]]) -> str:
    """Returns the dotted key of an option, of the class of a stage, or of a name. Raises `ConfigError` if no run has it."""
    for option in (key, f"{key}._target_"):
        if any(option in config for config in configs):
            return option
    options = [option.removesuffix("._target_") for config in configs for option in config]
    raise ConfigError(
        f"no run has an option {key} to group by.{did_you_mean(key, [*_OF_A_RUN, *options])} "
        f"There are {', '.join(_OF_A_RUN)}, stages such as aggregator, and the options of `fedlab train --cfg job`."
    )


def _labels(marks: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[str]:
    """Returns a legend per group: short names of options, or whole keys where the short ones are not distinct.

    `keys`: those that each legend names, also for a group without this option; others are named where a group has them.
    """
    every = list(dict.fromkeys([*keys, *(key for mine in marks for key in mine)]))

    def texts(names: Mapping[str, str]) -> list[str]:
        shown = [[key for key in every if key in mine or key in keys] for mine in marks]
        return [", ".join(_mark(key, mine, names[key]) for key in named) for mine, named in zip(marks, shown)]

    short = texts({key: _last(key, every) for key in every})
    return short if len(set(short)) == len(short) else texts({key: key for key in every})


def _mark(key: str, mine: dict[str, Any], name: str) -> str:
    if key not in mine:
        return f"{name} {words.NONE}"
    value = words.option(key, mine[key])[1]
    if key in _OF_A_RUN or (key.endswith("._target_") and name != key):
        return value
    return f"{name} = {mine[key]:.6g}" if isinstance(mine[key], float) else f"{name} = {value}"


def _last(key: str, keys: Sequence[str]) -> str:
    """Returns the last word of a dotted key, the stage of a class; the whole key if another one ends with the same word."""

    def last(option: str) -> str:
        return option.removesuffix("._target_").rpartition(".")[2]

    return last(key).replace("_", " ") if sum(last(other) == last(key) for other in keys) == 1 else key


def _order(groups: Sequence[RunGroup], keys: Sequence[str]) -> Any:
    """Returns the key for sorting groups: by the values of each key that has numbers only, else by first appearance."""
    ranks: dict[str, dict[str, float]] = {}
    for key in keys:
        values = [group.settings.get(key) for group in groups]
        first = list(dict.fromkeys(map(hashable, values)))
        numbers = [float(v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
        places = numbers if len(numbers) == len(values) else [float(first.index(hashable(v))) for v in values]
        ranks[key] = dict(zip(map(hashable, values), places))
    return lambda group: tuple(ranks[key][hashable(group.settings.get(key))] for key in keys)
