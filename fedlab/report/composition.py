"""What several trainings on the same people cost together: their ε add up, and so do their δ (basic composition)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from fedlab.archive import Run
from fedlab.archive.figures import REPLAYABLE, epsilon, is_replayable, is_simulated
from fedlab.report import words

ALONE = (
    "ε covers this training alone: arms, jobs of a sweep, filters and first weights made from the data, and other trainings on "
    "the same people add to it"
)
EACH_ALONE = ALONE.replace("ε covers this", "each ε covers one")


@dataclasses.dataclass(frozen=True)
class Claim:
    """What one training promises. `epsilon`: None where it promises nothing. `simulated`: about a larger federation.

    `noise_seed`: the seed from which its noise follows; None where that is a key of its own.
    """

    epsilon: float | None
    delta: float = 0.0
    unit: str = ""
    simulated: bool = False
    noise_seed: int | None = None


def claim_of(run: Run) -> Claim:
    """What `run`, which has no arms, has spent so far."""
    spent, account = epsilon(run), run.manifest.get("privacy") or {}
    if spent is None:
        return Claim(None)
    figures = run.summary if "delta" in run.summary else next((r for r in reversed(run.records()) if "delta" in r), account)
    seed = run.config.get("seed") if is_replayable(run) else None
    return Claim(spent, float(figures.get("delta", 0.0)), account.get("unit", "user"), is_simulated(run), seed)


def together(runs: Sequence[Run]) -> str | None:
    """What taking part in all of `runs` costs, in words; arms count as runs. None for a single one, or where none claims an ε."""
    return added_up([claim_of(one) for run in runs if run.rounds_completed for one in run.each_arm()])


def added_up(claims: Sequence[Claim]) -> str | None:
    """`together`, of what several trainings claim."""
    claiming = [claim for claim in claims if claim.epsilon is not None]
    if not claiming or len(claims) < 2:
        return None
    replayable = any(claim.noise_seed is not None for claim in claiming)
    return "; ".join([EACH_ALONE, _sum(claims, claiming), *([REPLAYABLE] if replayable else [])])


def _sum(claims: Sequence[Claim], claiming: Sequence[Claim]) -> str:
    """What taking part in every training of `claims` costs; `claiming` are those with an ε."""
    without = sum(claim.epsilon is None or math.isinf(claim.epsilon) for claim in claims)
    who = f"whoever takes part in all {len(claims)}"
    if without:
        return f"{who} has no guarantee, since {without} of them {'gives' if without == 1 else 'give'} none"
    if len({(claim.unit, claim.simulated) for claim in claiming}) > 1:
        return "here they cannot be added up, since they are about different units or federations"
    seeds = [claim.noise_seed for claim in claiming if claim.noise_seed is not None]
    if len(set(seeds)) < len(seeds):
        return (
            "here they cannot be added up, since trainings of one seed with noise_source=seed have the same noise, which cancels "
            "between their results: use noise_source=key"
        )
    total = words.epsilon(math.fsum(claim.epsilon or 0.0 for claim in claiming))
    delta = math.fsum(claim.delta for claim in claiming)
    simulated = " (simulated)" * claiming[0].simulated
    return f"{who} has ε = {total} at δ = {delta:.3g}{simulated}, their sums (basic composition)"
