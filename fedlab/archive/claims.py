"""The privacy claims of recorded runs, and their sum (`fedlab.composition`)."""

from __future__ import annotations

from collections.abc import Sequence

from fedlab.archive.figures import epsilon, is_replayable, is_simulated, may_end_early
from fedlab.archive.reading import Run
from fedlab.composition import Claim, added_up
from fedlab.spec import is_of_fedlab


def claim_of(run: Run) -> Claim:
    """Returns the claim of `run`, which has no arms, for the rounds so far."""
    spent, account = epsilon(run), run.manifest.get("privacy") or {}
    if spent is None:
        return Claim(None)
    places = [run.summary, *([account] if may_end_early(run) else []), *reversed(run.records())]
    figures = next((place for place in places if "delta" in place), account)
    seed = run.config.get("seed") if is_replayable(run) else None
    initialised = (run.config.get("init") or {}).get("from") is not None
    unit = account.get("unit", "user")
    return Claim(spent, float(figures.get("delta", 0.0)), unit, is_simulated(run), seed, _is_filtered(run), initialised)


def _is_filtered(run: Run) -> bool:
    """Returns False only if the run recorded no filter, or that of fedlab without options: its other filters name a file."""
    node = run.config.get("filter") or {}
    return bool(node) and not (set(node) == {"_target_"} and is_of_fedlab(str(node["_target_"])))


def together(runs: Sequence[Run]) -> str | None:
    """Describes the privacy cost of taking part in every run; arms count as runs. None for a single run, or without any ε."""
    return added_up([claim_of(one) for run in runs if run.rounds_completed for one in run.each_arm()])
