"""The figures a run comes down to, whether or not it came to its end."""

from __future__ import annotations

import math
from typing import Any

from fedlab.archive.reading import Run

REPLAYABLE = "replayable: ε holds only against those who do not know the seed"  # said wherever such an ε is shown


def final_figures(run: Run) -> dict[str, float]:
    """The numbers of the summary; of a run that has not finished, the newest test and training scores its records hold."""
    if run.summary and run.manifest["status"] == "finished":
        return _numbers(run.summary)
    newest: dict[str, Any] = {}
    for record in run.records():
        newest.update({name: value for name, value in record.items() if value is not None})
    return {name: value for name, value in _numbers(newest).items() if name.startswith(("test_", "train_", "epsilon"))}


def epsilon(run: Run) -> float | None:
    """The privacy a run has spent so far, ∞ where its noise earns none; None where it makes no promise."""
    if run.summary and run.manifest["status"] == "finished":
        value = run.summary.get("epsilon")
    else:
        value = next((r["epsilon"] for r in reversed(run.records()) if "epsilon" in r), None)
    return None if value is None else float(value)


def is_simulated(run: Run) -> bool:
    """Whether its ε is that of a larger federation, for which the run only stands."""
    return (run.config.get("privacy") or {}).get("simulated_cohort") is not None


def is_replayable(run: Run) -> bool:
    """Whether the noise on which its ε rests follows from the seed, which the manifest names."""
    if epsilon(run) is None:
        return False
    told = (run.manifest.get("privacy") or {}).get("noise")
    if told is None:  # a run of an older fedlab, of which all but these drew from the seed
        return (run.config.get("privacy") or {}).get("noise_source") != "os"
    return told == REPLAYABLE


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    }
