"""The verdict on two models, from the rows of a comparison, and its wording."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from fedlab.studies.difftest.record import ClientDifference

EQUAL, DIFFERENT, UNDECIDED = "equal", "different", "undecided"
EXIT_CODES = {EQUAL: 0, DIFFERENT: 4, UNDECIDED: 5}  # of `fedlab difftest`
_MOST_NAMED = 12


@dataclasses.dataclass(frozen=True)
class Differences:
    """The rows of one round: one per client, then one for all examples."""

    rows: tuple[ClientDifference, ...]

    @property
    def clients(self) -> tuple[ClientDifference, ...]:
        return self.rows[:-1]

    @property
    def all(self) -> ClientDifference:
        return self.rows[-1]

    @property
    def verdict(self) -> str:
        """Returns `different` if any row is different, `equal` if every row is equal, else `undecided`."""
        verdicts = {row.verdict for row in self.rows}
        return DIFFERENT if DIFFERENT in verdicts else UNDECIDED if UNDECIDED in verdicts else EQUAL

    def named(self, verdict: str) -> list[str]:
        """Returns the clients with this verdict."""
        return [row.client for row in self.clients if row.verdict == verdict]

    @property
    def worse(self) -> list[str]:
        """Returns the clients on which b is significantly less accurate than a."""
        return [row.client for row in self.clients if row.worse]

    def figures(self) -> dict[str, float]:
        """Returns the metrics for the record of the round."""
        return {
            "difftest_delta_class": self.all.delta_class,
            "difftest_delta_score": self.all.delta_score,
            "difftest_largest_score_difference": self.all.largest_score_difference,
            "difftest_accuracy_difference": self.all.accuracy_difference,
            "difftest_clients_different": len(self.named(DIFFERENT)),
            "difftest_clients_worse": len(self.worse),
        }

    def tests(self) -> dict[str, float]:
        """Returns the tests on all examples together, for summary.json: p-values that are not adjusted, and the original's."""
        names = ("p_mcnemar", "p_ks", "p_chi2", "original_delta_score", "original_p_ks", "original_p_chi2")
        return {f"difftest_{name}": getattr(self.all, name) for name in names}

    def _where(self) -> list[str]:
        """Groups effects by their clients: "in accuracy and classes on 2 of 10 clients (3, 7)", …"""
        effects: dict[tuple[str, ...], list[str]] = {}
        for effect in dict.fromkeys(effect for row in self.rows for effect in row.found.split()):
            found = tuple(row.client for row in self.clients if effect in row.found.split())
            effects.setdefault(found, []).append(effect)
        return [
            f"in {_enumerated(names)} on {listed(found, len(self.clients)) if found else 'all examples together'}"
            for found, names in sorted(effects.items(), key=lambda item: len(item[0]))
        ]

    def told(self, a: str, b: str) -> str:
        """Returns one line without a full stop: `different: b differs from a in accuracy on 2 of 10 clients (3, 7), …`."""
        total, whole = len(self.clients), self.all
        if self.verdict == DIFFERENT:
            told = f"{b} differs from {a} {', '.join(self._where())}"
            told += f"; less accurate on {listed(self.worse, total)}" if self.worse else ""
        elif self.verdict == EQUAL:
            told = f"{b} and {a}, " + ("within the tolerance" if whole.delta_score else "all scores within their tolerance")
        else:
            undecided = self.named(UNDECIDED)
            told = f"{b} and {a}, neither shown to differ nor shown to be equal on "
            told += listed(undecided, total) if undecided else "all examples together"
        return (
            f"{self.verdict}: {told}; {whole.delta_class:,} of {whole.examples:,} predictions differ, accuracy by "
            f"{points(whole.accuracy_difference)} points ({interval(whole)})"
        )


def latest(rows: Sequence[ClientDifference]) -> Differences | None:
    """Returns the comparison of the newest round in `rows`; None without rows."""
    return Differences(tuple(row for row in rows if row.round == rows[-1].round)) if rows else None


def points(share: float) -> str:
    """Formats a share in hundredths, "+0.35", "−0.10"; zero is never negative."""
    return f"{round(100 * share, 2) + 0.0:+.2f}".replace("-", "−")


def interval(row: ClientDifference) -> str:
    """Formats the interval of the accuracy difference in hundredths: "−0.10 to +0.35"."""
    return f"{points(row.interval_low)} to {points(row.interval_high)}"


def _enumerated(names: Sequence[str]) -> str:
    """Joins names as "accuracy, scores and classes"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def listed(clients: Sequence[str], total: int) -> str:
    """Formats clients as "2 of 10 clients (3, 7)"; shortens a long list."""
    if len(clients) == total:
        return "the examples" if total == 1 else f"all {total:,} clients"
    more = f" and {len(clients) - _MOST_NAMED:,} more" if len(clients) > _MOST_NAMED else ""
    return f"{len(clients):,} of {total:,} clients ({', '.join(clients[:_MOST_NAMED])}{more})"
