"""The line about a differential test that a finished run prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def told(summary: Mapping[str, Any]) -> str | None:
    """Returns a line with the verdict in the summary of a run; None if no arms were compared."""
    return f"difftest: {summary['difftest_told']}" if "difftest_told" in summary else None
