"""The messages across the cut of split learning: bytes by kind, and how much of the images' geometry they preserve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedlab.archive import Run
from fedlab.report import words
from fedlab.report.plot import Curve, color, line_plot
from fedlab.report.section import Section, section
from fedlab.report.series import last, series

_LEAKAGE = "leakage_distance_correlation"
_DIRECTIONS = {"up": "client to server", "down": "server to client", "across": "client to client"}


def build(run: Run) -> Section | None:
    """Returns the section; None for a run without a cut. All arms with a cut share one table and one picture."""
    cut = {name: part for name, part in _parts(run).items() if (part.manifest.get("split") or {}).get("cut")}
    if not cut:
        return None
    records = {name: part.records() for name, part in cut.items()}
    curves = [
        Curve(name or "images and activations", series(rs, _LEAKAGE), color(i)) for i, (name, rs) in enumerate(records.items())
    ]
    plot = line_plot("Distance correlation of images and activations", curves, "")
    return section(
        "cut",
        "What crossed the cut",
        "sections/split.html",
        places=[_place(name, part.manifest["split"]) for name, part in cut.items()],
        rows=[(name, *row) for name, rs in records.items() for row in _traffic(rs)],
        newest=[(name, words.number(point[1]), point[0]) for name, rs in records.items() if (point := last(rs, _LEAKAGE))],
        several=bool(run.arms),
        plots=[plot] if plot else [],
    )


def _parts(run: Run) -> dict[str, Run]:
    return {name: run.arm(name) for name in run.arms} or {"": run}


def _place(name: str, split: Mapping[str, Any]) -> str:
    """Describes the position of the cut in a sentence."""
    shape = " × ".join(f"{n:,}" for n in split.get("cut_shape") or [])
    text = f"the client holds the layers up to {split['cut']}, whose output is {shape} values an example"
    if split.get("cut_top"):
        text += f"; the server those up to {split['cut_top']}; the client the rest, and the labels"
    return f"{name}: {text}." if name else f"{text[0].upper()}{text[1:]}."


def _traffic(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, float, float]]:
    """Returns (kind, direction, total bytes, bytes per round) of each kind of message, in order of appearance."""
    found = {}
    for name in dict.fromkeys(n for record in records for n in record if n.startswith("bytes_") and n.count("_") > 1):
        direction, _, kind = name[len("bytes_") :].partition("_")
        if direction in _DIRECTIONS and kind:
            total = sum(record.get(name) or 0 for record in records)
            found[name] = (kind.replace("_", " "), _DIRECTIONS[direction], total, total / len(records))
    return list(found.values())
