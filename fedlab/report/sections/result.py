"""The figures a run was made for."""

from __future__ import annotations

from typing import Any

from fedlab.archive import Run
from fedlab.archive.figures import REPLAYABLE, is_replayable
from fedlab.report import words
from fedlab.report.section import Section, section
from fedlab.report.sections.privacy import distinct
from fedlab.report.series import finite, last

Figure = tuple[str, str, str]  # label, value, remark

_ORDER = ("test_accuracy", "test_loss", "client_accuracy_mean", "client_accuracy_p10", "client_accuracy_worst")
_ELSEWHERE = {"num_rounds", "num_clients", "num_weights", "seconds_total", "seconds_per_round", "bytes_down_total"} | {
    "bytes_up_total",
    "weights_hash",
    "non_finite_clients_total",
    "rounds_without_clients",
}


def build(run: Run) -> Section | None:
    """Final figures, or the newest there are where the run did not come to its end."""
    figures = [] if run.arms else _final(run) if run.summary else _newest(run)
    if not run.arms and not any(label == "ε" for label, _, _ in figures) and (spent := last(run.records(), "epsilon")):
        figures.append(_figure("epsilon", spent[1], f"after round {spent[0]:,}"))
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
    if (run.config.get("secure") or {}).get("reproducible"):
        figures.append(("masks", "replayable", "their keys follow from the seed: whoever knows it can take every mask off"))
    if run.summary.get("num_weights"):
        figures.append(("weights", f"{run.summary['num_weights']:,}", ""))
    return section("result", "Result", "sections/result.html", figures=figures, arms=run.arms, rows=_beside(run))


def _beside(run: Run) -> list[tuple[str, list[str]]]:
    """(label, its value in each arm) of the figures that the arms have."""
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
    names = [n for n in _ORDER if n in run.summary] + [n for n in run.summary if n not in (*_ORDER, *_ELSEWHERE)]
    shown = [name for name in names if "/" not in name and (finite(run.summary[name]) is not None or run.summary[name] == "inf")]
    told = distinct({name: run.summary[name] for name in shown if name.startswith("epsilon")})
    shown = [name for name in shown if name in told or not name.startswith("epsilon")]
    return [_figure(name, run.summary[name]) for name in shown if name != "delta" or "epsilon" in run.summary]


def _figure(name: str, value: Any, remark: str = "") -> Figure:
    usual = "nats" if name.endswith("_loss") else "of this training alone" if name == "epsilon" else ""
    return words.metric_label(name), words.metric_value(name, value), ", ".join(filter(None, (remark, usual)))


def _newest(run: Run) -> list[Figure]:
    records = run.records()
    found = [(name, last(records, name)) for name in ("test_accuracy", "test_loss", "train_accuracy", "train_loss")]
    return [_figure(name, point[1], f"after round {point[0]:,}") for name, point in found if point]


def _wanted(run: Run) -> str:
    return f"of {run.manifest['num_rounds']:,}"
