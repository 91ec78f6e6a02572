"""The final metrics of a run, finished or not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from fedlab.archive.metrics import Record
from fedlab.archive.reading import Run
from fedlab.archive.task import Learned, learned
from fedlab.composition import REPLAYABLE
from fedlab.errors import ConfigError, FedlabError
from fedlab.targets import Cost, named, rounds_to, total_after


def final_figures(run: Run) -> dict[str, float]:
    """Returns the numbers of the summary; for an unfinished run, the newest test and training metrics in its records."""
    if run.summary and run.manifest["status"] == "finished":
        return _numbers(run.summary)
    newest: dict[str, Any] = {}
    for record in run.records():
        newest.update({name: value for name, value in record.items() if value is not None})
    if may_end_early(run) and "epsilon" in newest:
        newest = {n: v for n, v in newest.items() if not n.startswith("epsilon")} | {"epsilon": epsilon(run)}
    return {name: value for name, value in _numbers(newest).items() if name.startswith(("test_", "train_", "epsilon"))}


def ranked_metric(task: Learned, arm: str = "") -> str:
    """Returns the metric of the test set that ranks runs of this task, such as test_accuracy; with an arm, ARM/test_accuracy."""
    return f"{arm}/" * bool(arm) + f"test_{task.headline or 'loss'}"


def rounds_to_targets(
    records: Iterable[Record], targets: Iterable[float], task: Learned, arm: str = ""
) -> dict[str, float | None]:
    """Returns rounds_to[TARGET] of each target (`fedlab.targets.rounds_to`) for the metric that ranks runs; None: not reached.

    `arm`: the arm of a run with arms whose metric counts, and whose name the figures then have.
    """
    metric = ranked_metric(task, arm)
    points = [(record["round"], record.get(metric)) for record in records]
    prefix = f"{arm}/" * bool(arm)
    return {f"{prefix}{named(target)}": rounds_to(points, target, task.ranking.more_is_better) for target in targets}


def rounds_to_of(run: Run, targets: Iterable[float]) -> dict[str, float | None]:
    """Returns rounds_to[TARGET] of each target, from the records of `run`, finished or not."""
    return rounds_to_targets(run.records(), targets, learned(run.manifest))


def cost_to(run: Run, cost: Cost, target: float) -> float | None:
    """Returns the rounds, bytes or (simulated) seconds until the metric that ranks runs reaches `target`; None if it never does.

    Bytes are those that all clients have sent and received, seconds those of training, without evaluation, simulated
    seconds those of `clock`. Within a round, they
    are interpolated linearly. Raises `FedlabError` if the records have no such numbers.
    """
    rounds = rounds_to_of(run, [target])[named(target)]
    if cost == "rounds" or rounds is None:
        return rounds
    columns = ("bytes_up", "bytes_down") if cost == "bytes" else (cost,)
    records = run.records()
    missing = [name for name in columns if not all(isinstance(record.get(name), (int, float)) for record in records)]
    if missing:
        raise FedlabError(f"the records of {run.path} have no {' and '.join(missing)}.")
    return total_after(rounds, [float(sum(record[name] for name in columns)) for record in records])


def check_targets(runs: Sequence[Run], targets: Iterable[float]) -> None:
    """Raises `ConfigError` for a target that no run can reach, because each is ranked by a fraction."""
    ranked = {ranked_metric(task): task.ranking for task in (learned(run.manifest) for run in runs)}
    for target in targets:
        if ranked and not 0 <= target <= 1 and all(metric.percent for metric in ranked.values()):
            raise ConfigError(f"--rounds-to {target:g}: {next(iter(ranked))} is a fraction from 0 to 1, such as 0.97 for 97 %.")


def targets_of(run: Run) -> list[float]:
    """Returns the targets that the run itself asks for (`evaluation.rounds_to`)."""
    given = (run.config.get("evaluation") or {}).get("rounds_to") or []
    return [float(target) for target in (given if isinstance(given, list) else [given])]


def best_so_far(run: Run) -> float | None:
    """Returns the best value in the records of `run` of the metric that ranks runs; None if no round was evaluated."""
    task = learned(run.manifest)
    metric = ranked_metric(task)
    values = [value for record in run.records() if (value := record.get(metric)) is not None]
    return (max if task.ranking.more_is_better else min)(values, default=None)


def epsilon(run: Run) -> float | None:
    """Returns the ε that a run has spent so far; ∞ if its noise gives no guarantee; None if it has no privacy mechanism.

    If metrics may end the run early, this is the ε of all planned rounds from the first round on, because the number of rounds
    depends on the clients' data; ∞ if the manifest lacks it.
    """
    if _has_whole_summary(run):
        value = run.summary.get("epsilon")
    else:
        value = next((r["epsilon"] for r in reversed(run.records()) if "epsilon" in r), None)
        if value is not None and may_end_early(run):
            value = (run.manifest.get("privacy") or {}).get("epsilon", math.inf)
    return None if value is None else float(value)


def may_end_early(run: Run) -> bool:
    """Returns True if metrics of the test set may end `run` before its last round (`stop`)."""
    stop = run.config.get("stop") or {}
    return any(stop.get(name) is not None for name in ("when", "patience"))


def _has_whole_summary(run: Run) -> bool:
    """Returns True if the summary is of the present rounds, also in a run that has failed later, as it drew its pictures."""
    if not run.summary or run.manifest["status"] == "finished":
        return bool(run.summary)
    records = run.records()
    is_of_last = bool(records) and run.summary.get("weights_hash") == records[-1].get("weights_hash")
    return is_of_last and run.summary.get("num_rounds") == len(records)


def is_simulated(run: Run) -> bool:
    """Returns True if ε is that of a larger federation that the run simulates."""
    return (run.config.get("privacy") or {}).get("simulated_cohort") is not None


def is_replayable(run: Run) -> bool:
    """Returns True if the noise that ε relies on follows from the seed, which the manifest contains."""
    if epsilon(run) is None:
        return False
    told = (run.manifest.get("privacy") or {}).get("noise")
    if told is None:  # a run of an older fedlab; all except these drew from the seed
        return (run.config.get("privacy") or {}).get("noise_source") != "os"
    return told == REPLAYABLE


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    }
