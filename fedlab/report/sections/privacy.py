"""What was spent of privacy: ε over the rounds, and the account that the manifest keeps."""

from __future__ import annotations

from typing import Any, Optional

from fedlab.archive import Run
from fedlab.archive.differences import flat
from fedlab.report import words
from fedlab.report.plot import Curve, color, line_plot
from fedlab.report.section import Section, section
from fedlab.report.series import last, names, series


def build(run: Run) -> Optional[Section]:
    """None for a run without a privacy account."""
    records = run.records()
    spent = [name for name in names(records) if name.startswith("epsilon")]
    account = run.manifest.get("privacy") or {}
    if not spent and not account:
        return None
    newest = [(words.metric_label(name), point) for name in spent if (point := last(records, name))]
    curves = [Curve(words.metric_label(name), series(records, name), color(i)) for i, name in enumerate(spent)]
    plot = line_plot("Privacy spent", curves, "ε", zero=True)
    return section("privacy", "Privacy", "sections/privacy.html", plot=plot, spent=newest, account=_rows(account))


def _rows(account: Any) -> list[tuple[str, str]]:
    values = flat(account) if isinstance(account, dict) else {"account": account}
    return [(key.replace("_", " "), words.setting(value)) for key, value in values.items()]
