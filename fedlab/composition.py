"""The privacy cost of several trainings on the same people: their ε add up, and so do their δ (basic composition)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from fedlab.digits import epsilon

REPLAYABLE = "replayable: ε holds only against those who do not know the seed"  # printed wherever such an ε is shown
ALONE = (
    "ε covers this training alone: arms, jobs of a sweep, filters and first weights made from the data, and other trainings on "
    "the same people add to it"
)
FILTERED = "the filter was made from the data, and ε does not cover what it reveals"
INITIALISED = "the initial weights come from an earlier training, and ε does not cover the data of that training"
EACH_ALONE = ALONE.replace("ε covers this", "each ε covers one")


@dataclasses.dataclass(frozen=True)
class Claim:
    """The privacy claim of one training. `epsilon`: None without a claim. `simulated`: it is about a larger federation.

    `noise_seed`: the seed that determines its noise; None if the noise has a key of its own. `filtered`: a filter chose its
    users or examples. `initialised`: it starts from saved weights.
    """

    epsilon: float | None
    delta: float = 0.0
    unit: str = ""
    simulated: bool = False
    noise_seed: int | None = None
    filtered: bool = False
    initialised: bool = False


def added_up(claims: Sequence[Claim]) -> str | None:
    """Describes the privacy cost of taking part in every training of `claims`. None for a single one, or without any ε."""
    claiming = [claim for claim in claims if claim.epsilon is not None]
    if not claiming or len(claims) < 2:
        return None
    replayable = any(claim.noise_seed is not None for claim in claiming)
    filtered = any(claim.filtered for claim in claiming)
    initialised = any(claim.initialised for claim in claiming)
    caveats = [
        *([FILTERED] if filtered else []),
        *([INITIALISED] if initialised else []),
        *([REPLAYABLE] if replayable else []),
    ]
    return "; ".join([EACH_ALONE, _sum(claims, claiming), *caveats])


def _sum(claims: Sequence[Claim], claiming: Sequence[Claim]) -> str:
    """Describes the cost of taking part in every training of `claims`. `claiming`: the claims with an ε."""
    without = sum(claim.epsilon is None or math.isinf(claim.epsilon) for claim in claims)
    who = f"taking part in all {len(claims)} trainings"
    if without:
        return f"{who} has no guarantee, because {without} of them {'gives' if without == 1 else 'give'} none"
    if len({(claim.unit, claim.simulated) for claim in claiming}) > 1:
        return "they cannot be added up, because they are about different units or federations"
    seeds = [claim.noise_seed for claim in claiming if claim.noise_seed is not None]
    if len(set(seeds)) < len(seeds):
        return (
            "they cannot be added up, because trainings of one seed with noise_source=seed have the same noise, which cancels "
            "between their results: use noise_source=key"
        )
    total = epsilon(math.fsum(claim.epsilon or 0.0 for claim in claiming))
    delta = math.fsum(claim.delta for claim in claiming)
    simulated = " (simulated)" * claiming[0].simulated
    return f"{who} costs ε = {total} at δ = {delta:.3g}{simulated}, their sums (basic composition)"
