"""Learning curves: accuracy, loss, and whatever else a run measured in each round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedlab.archive import Run
from fedlab.report import words
from fedlab.report.plot import Curve, Plot, color, line_plot
from fedlab.report.section import Section, section
from fedlab.report.series import Point, names, series

_MAX_OTHERS = 12
# Metrics that mean something beside each other: one picture for each of these pairs
_TOGETHER = {
    "real_score": ("generated_score", "Discriminator's score, evaluation", "real", "generated"),
    "train_real_score": ("train_generated_score", "Discriminator's score, training", "real", "generated"),
}
_ELSEWHERE = ("epsilon", "leakage_", "bytes_")  # sections of their own tell of these


def build(run: Run) -> Section | None:
    """None where no round was completed."""
    arms = {name: run.arm(name).records() for name in run.arms}
    records = arms or {"": run.records()}
    adversarial = any("train_gradient_penalty" in record for rs in records.values() for record in rs)
    loss = ("Discriminator's loss", "Wasserstein, with penalties") if adversarial else ("Loss", "cross-entropy, nats")
    plots = [
        line_plot("Accuracy", _pairs(records, "accuracy"), "", "percent"),
        line_plot(loss[0], _pairs(records, "loss"), loss[1], zero=not adversarial),
    ]
    told = {"train_accuracy", "test_accuracy", "train_loss", "test_loss"}
    others: list[Plot] = []
    for first, (second, title, *each) in _TOGETHER.items():
        pair = [
            Curve(f"{arm}, {what}" if arm else what, series(rs, name), color(2 * i + k))
            for i, (arm, rs) in enumerate(records.items())
            for k, (name, what) in enumerate(zip((first, second), each))
        ]
        drawn = line_plot(title, pair, "") if any(_moves(curve.points) for curve in pair) else None
        if drawn:
            others.append(drawn)
            told |= {first, second}
    for name in dict.fromkeys(n for rs in records.values() for n in names(rs) if n not in told and not n.startswith(_ELSEWHERE)):
        title = words.metric_label(name)
        curves = [Curve(arm or title, series(rs, name), color(i)) for i, (arm, rs) in enumerate(records.items())]
        if any(_moves(curve.points) for curve in curves) and len(others) < _MAX_OTHERS:
            kind = "percent" if "accuracy" in name else "number"
            drawn = line_plot(title[0].upper() + title[1:], curves, "", kind)
            others += [drawn] if drawn else []
    if not any(plots) and not others:
        return None
    return section("curves", "Learning curves", "sections/learning.html", plots=[p for p in plots if p], others=others)


def _pairs(records: Mapping[str, list], metric: str) -> list[Curve]:
    """Training and test of a run; of several arms the test, where there are any test scores."""
    if "" in records:
        kinds = (("train", "clients, while training", "s8"), ("test", "test set", "s1"))
        return [Curve(name, series(records[""], f"{kind}_{metric}"), css) for kind, name, css in kinds]
    tested = any(f"test_{metric}" in record for rs in records.values() for record in rs)
    kind, what = ("test", "test set") if tested else ("train", "while training")
    return [Curve(f"{arm}, {what}", series(rs, f"{kind}_{metric}"), color(i)) for i, (arm, rs) in enumerate(records.items())]


def _moves(points: Sequence[Point]) -> bool:
    """A metric that is always the same needs no picture."""
    return len({y for _, y in points if y is not None}) > 1
