"""Learning curves: accuracy, loss, and the other metrics of each round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedlab.archive import Run
from fedlab.archive.task import learned
from fedlab.measures import Metric
from fedlab.report import words
from fedlab.report.plot import Curve, Plot, color, line_plot
from fedlab.report.section import Section, section
from fedlab.report.series import Point, names, series

_MAX_OTHERS = 12
# Pairs of metrics that share a picture
_TOGETHER = {
    "real_score": ("generated_score", "Discriminator's score, evaluation", "real", "generated"),
    "train_real_score": ("train_generated_score", "Discriminator's score, training", "real", "generated"),
}
_ELSEWHERE = ("epsilon", "leakage_", "bytes_")  # these have sections of their own


def build(run: Run) -> Section | None:
    """Returns the section; None without a completed round."""
    arms = {name: run.arm(name).records() for name in run.arms}
    records = arms or {"": run.records()}
    adversarial = any("train_gradient_penalty" in record for rs in records.values() for record in rs)
    task = learned(run.manifest)
    own = task.metrics.get("loss", Metric("loss"))
    loss = ("Discriminator's loss", "Wasserstein, with penalties") if adversarial else (_capital(own.label), own.unit)
    headline, shown = task.headline or "loss", task.ranking
    plots = _drawn(records, "loss", loss[0], loss[1], zero=not adversarial)
    if headline != "loss":
        kind = "percent" if shown.percent else "number"
        plots = [*_drawn(records, headline, _capital(shown.label), shown.unit, kind), *plots]
    told = {f"{kind}_{name}" for kind in ("train", "test") for name in (headline, "loss")}
    if "" in records:
        told |= {f"global_test_{name}" for name in (headline, "loss")}
    others: list[Plot] = []
    told |= {f"unseen_client_{headline}_{which}" for which in ("mean", "weighted", "std", "p10", "p90", "worst")}
    if unseen := _over_unseen(records, headline, shown):
        others.append(unseen)
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
        title = words.task_label(name, task)
        curves = [Curve(arm or title, series(rs, name), color(i)) for i, (arm, rs) in enumerate(records.items())]
        drawn_of = [curve.name for curve in curves if curve.points]
        title += f": {drawn_of[0]}" if len(records) > len(drawn_of) == 1 else ""  # one curve has no legend
        if any(_moves(curve.points) for curve in curves) and len(others) < _MAX_OTHERS:
            metric = task.metric(name)
            kind = "percent" if "accuracy" in name or (metric and metric.percent) else "number"
            unit = metric.unit if metric else words.axis_label(name).removeprefix(words.metric_label(name)).removeprefix(", ")
            drawn = line_plot(_capital(title), curves, unit, kind)
            others += [drawn] if drawn else []
    if not any(plots) and not others:
        return None
    return section("curves", "Learning curves", "sections/learning.html", plots=[p for p in plots if p], others=others)


def _drawn(
    records: Mapping[str, list], metric: str, title: str, unit: str, kind: str = "number", **options: Any
) -> list[Plot | None]:
    """Returns the plot of a metric in training and test.

    Where clients have models of their own next to a global one, that is a plot of the global model, which the training metrics
    are about, and one of the clients' own models.
    """
    if not any(f"global_test_{metric}" in record for record in records.get("", ())):
        return [line_plot(title, _pairs(records, metric), unit, kind, **options)]
    training, own = _pairs(records, metric)
    shared = Curve("test set", series(records[""], f"global_test_{metric}"), "s1")
    return [
        line_plot(f"{title}: global model", [training, shared], unit, kind, **options),
        line_plot(f"{title}: clients' own models, test set", [own], unit, kind, **options),
    ]


def _over_unseen(records: Mapping[str, list], metric: str, shown: Metric) -> Plot | None:
    """Returns the plot of the headline metric over the clients that are never trained; None if it was not measured."""
    tenth = ("p10", "10th percentile") if shown.more_is_better else ("p90", "90th percentile")
    each = [("mean", "mean"), tenth, ("worst", "worst client")] if "" in records else [("mean", "mean")]
    curves = [
        Curve(f"{arm}, {what}" if arm else what, series(rs, f"unseen_client_{metric}_{which}"), color(i + k))
        for i, (arm, rs) in enumerate(records.items())
        for k, (which, what) in enumerate(each)
    ]
    if not any(curve.points for curve in curves):
        return None
    title = f"{_capital(shown.label)} of clients that are never trained"
    return line_plot(title, curves, shown.unit, "percent" if shown.percent else "number")


def _pairs(records: Mapping[str, list], metric: str) -> list[Curve]:
    """Returns the training and test curves of a run; for several arms the test curves, if there are test scores."""
    if "" in records:
        kinds = (("train", "clients, while training", "s8"), ("test", "test set", "s1"))
        return [Curve(name, series(records[""], f"{kind}_{metric}"), css) for kind, name, css in kinds]
    tested = any(f"test_{metric}" in record for rs in records.values() for record in rs)
    kind, what = ("test", "test set") if tested else ("train", "while training")
    return [Curve(f"{arm}, {what}", series(rs, f"{kind}_{metric}"), color(i)) for i, (arm, rs) in enumerate(records.items())]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _moves(points: Sequence[Point]) -> bool:
    """Returns whether the values differ: a constant metric needs no picture."""
    return len({y for _, y in points if y is not None}) > 1
