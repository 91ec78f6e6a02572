"""The final metrics of a run."""

from __future__ import annotations

from typing import Any

from fedlab.archive import Run
from fedlab.archive.figures import epsilon, is_replayable, may_end_early
from fedlab.archive.task import CLASSIFICATION, Learned, learned
from fedlab.composition import REPLAYABLE
from fedlab.report import words
from fedlab.report.section import Section, section
from fedlab.report.series import distinct, finite, last
from fedlab.targets import target_in

Figure = tuple[str, str, str]  # label, value, remark

_ELSEWHERE = {"num_rounds", "num_clients", "num_weights", "seconds_total", "seconds_per_round", "bytes_down_total"} | {
    "bytes_up_total",
    "weights_hash",
    "non_finite_clients_total",
    "rounds_without_clients",
}


def build(run: Run) -> Section | None:
    """Returns the section with the final metrics, or the newest ones of an unfinished run."""
    figures = [] if run.arms else _final(run) if run.summary else _newest(run)
    if not run.arms and not any(label == "ε" for label, _, _ in figures) and (spent := last(run.records(), "epsilon")):
        when = f"of all {run.manifest['num_rounds']:,} planned rounds" if may_end_early(run) else f"after round {spent[0]:,}"
        figures.append(_figure("epsilon", epsilon(run), when))
    if not run.arms and is_replayable(run):
        figures = [(label, value, f"{remark}; {REPLAYABLE}" if label == "ε" else remark) for label, value, remark in figures]
    figures.append(("rounds", f"{run.rounds_completed:,}", _wanted(run)))
    if run.summary.get("non_finite_clients_total"):
        count = words.number(run.summary["non_finite_clients_total"])
        figures.append(
            ("non-finite client updates", count, "or metrics: NaN, infinite, too large for float32 or secure.clip_range")
        )
    if run.summary.get("rounds_without_clients"):
        empty = words.number(run.summary["rounds_without_clients"])
        figures.append(("rounds without an update", empty, "their cohorts were empty, or they were abandoned"))
    figures += _masks(run)
    if run.summary.get("num_weights"):
        figures.append(("weights of all arms" if run.arms else "weights", f"{run.summary['num_weights']:,}", ""))
    return section("result", "Result", "sections/result.html", figures=figures, arms=run.arms, rows=_beside(run))


def _masks(run: Run) -> list[Figure]:
    """Returns what weakens the masks of a run, or of its arms: keys from the seed, and masks between pairs of clients only."""
    figures = []
    for label, arm in ({f"masks of {name}": run.arm(name) for name in run.arms} or {"masks": run}).items():
        if (arm.config.get("secure") or {}).get("reproducible"):
            told = "their keys follow from the seed, so anybody who knows the seed can remove every mask"
            figures.append((label, "replayable", told))
        for line in (arm.manifest.get("secure") or {}).get("lines", ()):
            option, _, told = line.partition(": ")
            if option.startswith("secure.neighbors="):
                figures.append((label, "of pairs", told))
    return figures


def _beside(run: Run) -> list[tuple[str, list[str]]]:
    """Returns (label, its value in each arm) of the metrics of the arms."""
    each = [_final(arm) if arm.summary else _newest(arm) for arm in map(run.arm, run.arms)]
    values = [{label: value for label, value, _ in figures} for figures in each]
    labels = dict.fromkeys(label for figures in values for label in figures)
    rows = [(label, [figures.get(label, words.NONE) for figures in values]) for label in labels]
    for name in ("bytes_up_total", "bytes_down_total", "seconds_per_round"):
        found = [run.arm(arm).summary.get(name) for arm in run.arms]
        if found and None not in found:
            rows.append((words.metric_label(name), [words.metric_value(name, value) for value in found]))
    return rows


def _final(run: Run) -> list[Figure]:
    task = learned(run.manifest)
    names = [n for n in task.first if n in run.summary] + [n for n in run.summary if n not in (*task.first, *_ELSEWHERE)]
    named = [name for name in names if "/" not in name]
    shown = [n for n in named if finite(run.summary[n]) is not None or run.summary[n] == "inf" or target_in(n) is not None]
    told = distinct({name: run.summary[name] for name in shown if name.startswith("epsilon")})
    shown = [name for name in shown if name in told or not name.startswith("epsilon")]
    planned = f"of all {run.manifest['num_rounds']:,} planned rounds" if run.summary.get("stopped") else ""
    remarks = {name: planned for name in told}
    return [
        _figure(name, run.summary[name], remarks.get(name, ""), task)
        for name in shown
        if name != "delta" or "epsilon" in run.summary
    ]


def _figure(name: str, value: Any, remark: str = "", task: Learned = CLASSIFICATION) -> Figure:
    metric = task.metric(name)
    usual = metric.unit.rpartition(", ")[2] if metric else "of this training alone" if name == "epsilon" else ""
    return words.task_label(name, task), words.task_value(name, value, task), ", ".join(filter(None, (remark, usual)))


def _newest(run: Run) -> list[Figure]:
    records = run.records()
    task = learned(run.manifest)
    names = [f"{kind}_{metric}" for kind in ("test", "train") for metric in dict.fromkeys((task.headline or "loss", "loss"))]
    found = [(name, last(records, name)) for name in names]
    return [_figure(name, point[1], f"after round {point[0]:,}", task) for name, point in found if point]


def _wanted(run: Run) -> str:
    stopped = f"; ended early by {run.summary['stopped']}" if run.summary.get("stopped") else ""
    return f"of {run.manifest['num_rounds']:,}{stopped}"
