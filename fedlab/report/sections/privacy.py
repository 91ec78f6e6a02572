"""The privacy loss: ε over the rounds, and the account in the manifest."""

from __future__ import annotations

from typing import Any

from fedlab.archive import Run
from fedlab.archive.claims import together
from fedlab.archive.figures import is_replayable
from fedlab.archive.reading import Arm
from fedlab.composition import ALONE, REPLAYABLE
from fedlab.report import words
from fedlab.report.plot import Curve, color, line_plot
from fedlab.report.section import Section, section
from fedlab.report.series import distinct, last, names, series


def build(run: Run) -> Section | None:
    """Returns the section; None for a run without a privacy claim."""
    records = run.records()
    spent = distinct({name: series(records, name) for name in names(records) if name.startswith("epsilon")})
    account = run.manifest.get("privacy") or {}
    if not spent and account.get("mechanism", "none") == "none":
        return None
    ends = [(name, point) for name in spent if (point := last(records, name))]
    newest = [(words.metric_label(name), round_num, words.metric_value(name, value)) for name, (round_num, value) in ends]
    curves = [Curve(words.metric_label(name), series(records, name), color(i)) for i, name in enumerate(spent)]
    plot = line_plot("Privacy spent", curves, "ε", zero=True)
    promise = list(account.get("lines") or [])
    promise += [line for line in (*([REPLAYABLE] if is_replayable(run) else []), ALONE) if line not in promise]
    if isinstance(run, Arm) and (total := together(run.whole.each_arm())):
        promise.append(total)
    return section(
        "privacy", "Privacy", "sections/privacy.html", plot=plot, spent=newest, account=_rows(account), promise=promise
    )


def _rows(account: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns the rows of the account that the privacy claim in words does not contain."""
    shown = ("mechanism", "noise_multiplier", "delta", "unit", "neighbours", "sampling", "conversion", "reason")
    values = {key: account[key] for key in shown if account.get(key)}
    return [(k.replace("_", " "), f"{v:.4g}" if isinstance(v, float) else words.setting(v)) for k, v in values.items()]
