"""What several trainings on the same people cost together: their ε add up, and so do their δ (basic composition)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from fedlab.archive import Run
from fedlab.archive.figures import epsilon, is_simulated
from fedlab.report import words

ALONE = (
    "ε covers this training alone: arms, jobs of a sweep, filters and first weights made from the data, and other trainings on "
    "the same people add to it"
)
EACH_ALONE = ALONE.replace("ε covers this", "each ε covers one")


@dataclasses.dataclass(frozen=True)
class Claim:
    """What one training promises. `epsilon`: None where it promises nothing. `simulated`: about a larger federation."""

    epsilon: float | None
    delta: float = 0.0
    unit: str = ""
    simulated: bool = False


def claim_of(run: Run) -> Claim:
    """What `run`, which has no arms, has spent so far."""
    spent, account = epsilon(run), run.manifest.get("privacy") or {}
    if spent is None:
        return Claim(None)
    figures = run.summary if "delta" in run.summary else next((r for r in reversed(run.records()) if "delta" in r), account)
    return Claim(spent, float(figures.get("delta", 0.0)), account.get("unit", "user"), is_simulated(run))


def together(runs: Sequence[Run]) -> str | None:
    """What taking part in all of `runs` costs, in words; arms count as runs. None for a single one, or where none claims an ε."""
    return added_up([claim_of(one) for run in runs if run.rounds_completed for one in run.each_arm()])


def added_up(claims: Sequence[Claim]) -> str | None:
    """`together`, of what several trainings claim."""
    claiming = [claim for claim in claims if claim.epsilon is not None]
    if not claiming or len(claims) < 2:
        return None
    without = sum(claim.epsilon is None or math.isinf(claim.epsilon) for claim in claims)
    who = f"whoever takes part in all {len(claims)}"
    if without:
        return f"{EACH_ALONE}; {who} has no guarantee, since {without} of them {'gives' if without == 1 else 'give'} none"
    if len({(claim.unit, claim.simulated) for claim in claiming}) > 1:
        return f"{EACH_ALONE}; here they cannot be added up, since they are about different units or federations"
    total = words.epsilon(math.fsum(claim.epsilon or 0.0 for claim in claiming))
    delta = math.fsum(claim.delta for claim in claiming)
    simulated = " (simulated)" * claiming[0].simulated
    return f"{EACH_ALONE}; {who} has ε = {total} at δ = {delta:.3g}{simulated}, their sums (basic composition)"
