"""The line about attacks that a finished run prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedlab.report import words


def attacked(summary: Mapping[str, Any]) -> str | None:
    """Returns a line with the metrics of attacks in the summary of a run without arms, or of an arm; None without any."""
    measured = {name: value for name, value in summary.items() if name.startswith("attack_")}
    if not measured:
        return None
    return "attack: " + ", ".join(
        f"{words.metric_label(n[len('attack_') :])} {words.metric_value(n, v)}" for n, v in measured.items()
    )
