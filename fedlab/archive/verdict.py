"""The verdict on two models, from the rows of a comparison, and how it is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from fedlab.archive.difftest import ClientDifference

EQUAL, DIFFERENT, UNDECIDED = "equal", "different", "undecided"
_MOST_NAMED = 12


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The rows of one round, a client each and then all of their examples together."""

    rows: tuple[ClientDifference, ...]

    @property
    def clients(self) -> tuple[ClientDifference, ...]:
        return self.rows[:-1]

    @property
    def all(self) -> ClientDifference:
        return self.rows[-1]

    @property
    def verdict(self) -> str:
        """`different` where any row is, `equal` where every row is, else `undecided`."""
        verdicts = {row.verdict for row in self.rows}
        return DIFFERENT if DIFFERENT in verdicts else UNDECIDED if UNDECIDED in verdicts else EQUAL

    def named(self, verdict: str) -> list[str]:
        """The clients of this verdict."""
        return [row.client for row in self.clients if row.verdict == verdict]

    @property
    def worse(self) -> list[str]:
        """The clients on which b is less accurate than a, significantly."""
        return [row.client for row in self.clients if row.worse]

    def figures(self) -> dict[str, float]:
        """For the record of the round."""
        return {
            "difftest_delta_class": self.all.delta_class,
            "difftest_delta_score": self.all.delta_score,
            "difftest_largest_score_difference": self.all.largest_score_difference,
            "difftest_accuracy_difference": self.all.accuracy_difference,
            "difftest_clients_different": len(self.named(DIFFERENT)),
            "difftest_clients_worse": len(self.worse),
        }

    def _where(self) -> list[str]:
        """ "in accuracy and classes on 2 of 10 clients (3, 7)", and so on: the effects that are found on the same clients."""
        effects: dict[tuple[str, ...], list[str]] = {}
        for effect in dict.fromkeys(effect for row in self.rows for effect in row.found.split()):
            found = tuple(row.client for row in self.clients if effect in row.found.split())
            effects.setdefault(found, []).append(effect)
        return [
            f"in {_enumerated(names)} on {listed(found, len(self.clients)) if found else 'all examples together'}"
            for found, names in sorted(effects.items(), key=lambda item: len(item[0]))
        ]

    def told(self, a: str, b: str) -> str:
        """One line without a full stop: `different: b differs from a in accuracy on 2 of 10 clients (3, 7), …`."""
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


def latest(rows: Sequence[ClientDifference]) -> Comparison | None:
    """The comparison of the newest round among `rows`; None without any."""
    return Comparison(tuple(row for row in rows if row.round == rows[-1].round)) if rows else None


def points(share: float) -> str:
    """ "+0.35", in hundredths; never "-0.00"."""
    return f"{round(100 * share, 2) + 0.0:+.2f}"


def interval(row: ClientDifference) -> str:
    """ "-0.10 to +0.35", of the accuracy difference in hundredths."""
    return f"{points(row.interval_low)} to {points(row.interval_high)}"


def _enumerated(names: Sequence[str]) -> str:
    """ "accuracy, scores and classes"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def listed(clients: Sequence[str], total: int) -> str:
    """ "2 of 10 clients (3, 7)", cut short where there are many."""
    if len(clients) == total:
        return "the examples" if total == 1 else f"all {total:,} clients"
    more = f" and {len(clients) - _MOST_NAMED:,} more" if len(clients) > _MOST_NAMED else ""
    return f"{len(clients):,} of {total:,} clients ({', '.join(clients[:_MOST_NAMED])}{more})"
