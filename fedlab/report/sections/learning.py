"""Learning curves: accuracy, loss, and whatever else a run measured in each round."""

from __future__ import annotations

from typing import Optional

from fedlab.archive import Run
from fedlab.report import words
from fedlab.report.plot import Curve, Plot, line_plot
from fedlab.report.section import Section, section
from fedlab.report.series import Point, names, series

_MAX_OTHERS = 12


def build(run: Run) -> Optional[Section]:
    """None where no round was completed."""
    records = run.records()
    plots = [
        line_plot("Accuracy", _pair(records, "accuracy"), "", "percent"),
        line_plot("Loss", _pair(records, "loss"), "cross-entropy, nats", zero=True),
    ]
    told = {"train_accuracy", "test_accuracy", "train_loss", "test_loss"}
    others: list[Plot] = []
    for name in [n for n in names(records) if n not in told and not n.startswith("epsilon")]:
        points = series(records, name)
        if _moves(points) and len(others) < _MAX_OTHERS:
            kind = "percent" if "accuracy" in name else "number"
            title = words.metric_label(name)
            drawn = line_plot(title[0].upper() + title[1:], [Curve(title, points, "s1")], "", kind)
            others += [drawn] if drawn else []
    if not any(plots) and not others:
        return None
    return section("curves", "Learning curves", "sections/learning.html", plots=[p for p in plots if p], others=others)


def _pair(records: list, metric: str) -> list[Curve]:
    kinds = (("train", "clients, while training", "s8"), ("test", "test set", "s1"))
    return [Curve(name, series(records, f"{kind}_{metric}"), css) for kind, name, css in kinds]


def _moves(points: list[Point]) -> bool:
    """A metric that is always the same needs no picture."""
    return len({y for _, y in points if y is not None}) > 1
