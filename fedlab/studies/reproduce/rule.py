"""The rule by which a row passes, and its verdict on the figures of a row's runs. Imports nothing that reads runs."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, model_validator

from fedlab.config import bounds
from fedlab.spec import Spec


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The verdict on a row, and its reason in words."""

    passed: bool
    reason: str


class Rule(Spec):
    """A rule that passes or fails; exactly one of its kinds. Numbers are compared as means over seeds.

    `within`: largest difference from the paper's figure, at least 0. `as_good`: at least as good as the paper's figure, where
    "higher" or "lower" is better, except for `slack` (at least 0). `above`, `below`: another row, from which the figure must
    differ by more than `by`. `least`, `most`: inclusive bounds. `equal`: a text that the figure must be for every seed.
    `confidence`: level, between 0 and 1, of a Student interval of the mean over seeds that must contain the paper's figure.
    """

    within: NonNegativeFloat | None = None
    as_good: Literal["higher", "lower"] | None = None
    slack: NonNegativeFloat | None = None
    above: str | None = None
    below: str | None = None
    by: float | None = None
    least: float | None = None
    most: float | None = None
    equal: str | None = None
    confidence: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Rule:
        is_bounded = self.least is not None or self.most is not None
        kinds = (self.within, self.as_good, self.above, self.below, self.equal, self.confidence)
        if sum(kind is not None for kind in kinds) + is_bounded != 1:
            raise ValueError("give exactly one of within, as_good, above, below, least and most, equal, confidence")
        if self.slack is not None and self.as_good is None:
            raise ValueError("slack goes with as_good only")
        if self.by is not None and self.other is None:
            raise ValueError("by goes with above and below only")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"least={self.least:g} is more than most={self.most:g}")
        return self

    @property
    def other(self) -> str | None:
        """Returns the name of the row with which this one is compared."""
        return self.above if self.above is not None else self.below

    @property
    def needs_paper(self) -> bool:
        """Returns True if the rule compares with the paper's figure."""
        return self.within is not None or self.as_good is not None or self.confidence is not None

    def words(
        self, shown: Callable[[float], str], shown_difference: Callable[[float], str], paper: float | str | None = None
    ) -> str:
        """Returns the rule in words. `shown`, `shown_difference`: format a figure, and a difference of two figures."""
        if self.within is not None:
            return f"within {shown_difference(self.within)} of {shown(paper) if isinstance(paper, float) else 'the paper'}"
        if self.as_good is not None:
            direction, sign = ("at least", "minus") if self.as_good == "higher" else ("at most", "plus")
            return f"{direction} the paper's figure" + (f" {sign} {shown_difference(self.slack)}" if self.slack else "")
        if self.other is not None:
            direction, contrary = ("above", "below") if self.above is not None else ("below", "above")
            if self.by is not None and self.by < 0:
                return f"less than {shown_difference(-self.by)} {contrary} {self.other}, or {direction} it"
            return f"{direction} {self.other}" + (f" by more than {shown_difference(self.by)}" if self.by else "")
        if self.equal is not None:
            return f"{self.equal} for every seed"
        if self.confidence is not None:
            return f"the paper's figure is in the {100 * self.confidence:g} % interval of the mean over seeds"
        return bounds.in_words(self.least, self.most, shown)

    def applied_to(
        self,
        values: Sequence[Any],
        paper: float | str | None = None,
        other: Sequence[Any] | None = None,
        shown: Callable[[float], str] = "{:.6g}".format,
    ) -> Outcome:
        """Returns the verdict on the figures of a row, one per seed, None where there is none. A missing figure fails.

        `paper`: the paper's figure. `other`: the figures of the row in `above` or `below`. `shown`: formats a figure.
        """
        if not values:
            return Outcome(False, "there is no figure")
        if self.equal is not None:
            wrong = [value for value in values if value != self.equal]
            return Outcome(not wrong, f"it is {wrong[0]}" if wrong else "it is, for every seed")
        if not _all_numbers(values):
            return Outcome(False, "the figure is missing, or no finite number, for at least one seed")
        mean = statistics.fmean(values)
        if self.other is not None:
            if not other or not _all_numbers(other):
                return Outcome(False, f"row {self.other} has no figure to compare with")
            difference = mean - statistics.fmean(other)
            ahead = difference if self.above is not None else -difference
            reason = f"{self.other} has {shown(statistics.fmean(other))}, this row {shown(mean)}"
            return Outcome(ahead > (self.by or 0.0), reason)
        if self.needs_paper:
            assert isinstance(paper, (int, float))
            return self._beside(values, mean, paper, shown)
        return Outcome(bounds.is_between(mean, self.least, self.most), f"it is {shown(mean)}")

    def _beside(self, values: Sequence[float], mean: float, paper: float, shown: Callable[[float], str]) -> Outcome:
        """Returns the verdict of a rule that compares with the paper's figure."""
        beside = f"it is {shown(mean)}, and {shown(paper)} in the paper"
        if self.within is not None:
            return Outcome(bounds.is_within(mean, paper, self.within), beside)
        if self.as_good is not None:
            ahead = mean - paper if self.as_good == "higher" else paper - mean
            return Outcome(ahead >= -(self.slack or 0.0) - bounds.ROUNDING, beside)
        if len(values) < 2:
            return Outcome(False, "an interval needs at least two seeds")
        assert self.confidence is not None
        half = half_width(values, self.confidence)
        inside = bounds.is_within(mean, paper, half)
        return Outcome(inside, f"the interval is {shown(mean - half)} to {shown(mean + half)}")


def half_width(values: Sequence[float], confidence: float) -> float:
    """Returns half the width of the Student interval of the mean of at least two `values` at this level."""
    from scipy import stats

    quantile = float(stats.t.ppf(0.5 + confidence / 2, len(values) - 1))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def _all_numbers(values: Sequence[Any]) -> bool:
    return all(map(bounds.is_number, values))
