"""An estimate as lines of text and as JSON, as `fedlab privacy` prints it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedlab.composition import ALONE
from fedlab.privacy.accounting import Spending, rounded_up
from fedlab.privacy.estimate import Estimate


def as_json(found: Estimate, unit: str, size: int, with_table: bool) -> dict[str, Any]:
    """Returns it as JSON. `unit`: population or examples; `size`: their number; `with_table`: also ε of fewer rounds."""
    report = {"noise_multiplier": found.noise_multiplier, unit: size, **found.total.as_dict(), "covers": ALONE}
    return {**report, **({"table": [row.as_dict() for row in found.table()]} if with_table else {})}


def as_text(found: Estimate, size: int, with_table: bool) -> str:
    """Returns the lines of the estimate. `size`: number of users or examples; `with_table`: also ε after fewer rounds."""
    return "\n".join([*_lines(found.total, found.noise_multiplier, size), *_table(found.table() if with_table else [])])


def _lines(total: Spending, noise: float, size: int) -> list[str]:
    after = f"{total.rounds:,} round{'s' * (total.rounds != 1)}"
    lines = [
        f"ε = {rounded_up(total.epsilon)} at δ = {total.delta:.4g} after {after}, noise multiplier {noise:.6g}",
        f"  RDP         {rounded_up(total.epsilon_rdp)}",
        f"  PLD         {'not available for this' if total.epsilon_pld is None else rounded_up(total.epsilon_pld)}",
        f"  unit        {total.unit}",
        f"  neighbours  {total.neighbours}",
        f"  sampling    {total.sampling}",
        f"  conversion  {total.conversion}",
    ]
    notes = [ALONE, *([f"ε is infinite: {total.reason}"] if total.reason else []), *total.notes]
    if total.delta * size >= 1:
        notes.append(f"δ is not below 1 / {size:,}: a mechanism with this δ may reveal one {total.unit} completely")
    return lines + [f"  note        {note}" for note in notes]


def _table(rows: Sequence[Spending]) -> list[str]:
    cells: list[tuple[str, ...]] = [("rounds", "ε", "RDP", "PLD")] if rows else []
    cells += [(f"{r.rounds:,}", *(rounded_up(e) for e in (r.epsilon, r.epsilon_rdp, r.epsilon_pld))) for r in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(4)] if rows else []
    return ["", *("  ".join(cell.rjust(w) for cell, w in zip(row, widths)) for row in cells)] if rows else []
