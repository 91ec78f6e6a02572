"""The cost of the run: seconds per phase and per round, bytes sent, memory."""

from __future__ import annotations

from typing import Any

from fedlab.archive import Run
from fedlab.registry import studies
from fedlab.report.plot import Curve, line_plot
from fedlab.report.section import Section, section
from fedlab.report.series import series

_PHASES = {
    "data": "reading the data",
    "tensorflow": "importing TensorFlow",
    "building": "building the model",
    "cutting": "cutting the model",
    "lowering": "lowering the process",
    "tracing": "tracing the round",
    "training": "training",
    "aggregation": "aggregating",
    "evaluation": "evaluating",
    "pictures": "drawing pictures",
    "checkpoints": "saving checkpoints",
    **{phase: words for study in studies() for phase, words in study.phases.items()},
}


def build(run: Run) -> Section | None:
    """Returns the section; None for a run that ended before its first round and recorded no times."""
    seconds, records = run.manifest.get("seconds") or {}, run.records()
    if not seconds and not records:
        return None
    plots = [
        line_plot("Time of each round", [Curve("seconds", series(records, "seconds"), "s1")], "seconds", zero=True),
    ]
    if len({r.get("num_clients") for r in records} | {r.get("num_dropped") for r in records if r.get("num_dropped")}) > 1:
        pair = (("reporting", "num_clients", "s1"), ("dropped out", "num_dropped", "s2"))
        curves = [Curve(name, series(records, metric), css) for name, metric, css in pair]
        plots.append(line_plot("Clients of each round", curves, "clients", zero=True))
    return section(
        "cost",
        "Time, traffic and memory",
        "sections/cost.html",
        phases=_phases(seconds),
        total=seconds.get("total"),
        traffic=_traffic(records),
        per_round=run.summary.get("seconds_per_round"),
        memory=run.manifest.get("peak_memory_bytes"),
        plots=[p for p in plots if p],
    )


def _phases(seconds: dict[str, float]) -> list[tuple[str, float, float]]:
    """Returns (phase, seconds, percent of the total); the remaining time comes last."""
    total = seconds.get("total") or sum(seconds.values()) or 1.0
    known = {name: value for name, value in seconds.items() if name != "total"}
    rows = [(_PHASES.get(name, name.replace("_", " ")), value, 100 * value / total) for name, value in known.items()]
    rest = total - sum(known.values())
    return [*rows, ("everything else", rest, 100 * rest / total)] if rest > 0.005 else rows


def _traffic(records: list[dict[str, Any]]) -> list[tuple[str, float, float, float | None]]:
    """Returns (direction, total bytes, bytes per round, bytes per message)."""
    rows = []
    for name, direction in (("bytes_down", "server to clients"), ("bytes_up", "clients to server")):
        total = sum(r.get(name) or 0 for r in records)
        returned = sum(r.get("num_clients") or 0 for r in records)
        sent = returned + sum(r.get("num_dropped") or 0 for r in records)
        messages = sent if name == "bytes_down" else returned
        if total:
            rows.append((direction, total, total / len(records), total / messages if messages else None))
    return rows
