"""The options of an investigation."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, PositiveInt, model_validator

from fedlab.filter import Threshold
from fedlab.spec import Spec, absolute


def _threshold(text: Any) -> str:
    Threshold.parse(str(text))
    return str(text)


AccuracyText = Annotated[str, BeforeValidator(_threshold)]


class Investigation(Spec):
    """Compares two groups of users, or of examples, by the accuracy of a classifier.

    `classifier`: the folder of a finished run, or a .keras file; or a list of overrides of `fedlab train`, which is run once.
    `by` user: compares users with an accuracy below `low` with users at `high` or above, each an accuracy in [0, 1] or a
    percentile of the users' accuracies, such as p25. `by` example: compares incorrectly with correctly classified examples, of
    users with at least `min_examples` of them.
    """

    locations: ClassVar[tuple[str, ...]] = ("classifier",)

    classifier: str | tuple[str, ...]
    by: Literal["user", "example"] = "user"
    low: AccuracyText = "p25"
    high: AccuracyText = "p75"
    min_examples: PositiveInt = 5

    @classmethod
    def recorded_location(cls, option: str, value: Any) -> Any:
        return absolute(value) if isinstance(value, str) else value  # a list contains overrides, not files

    @model_validator(mode="after")
    def _low_below_high(self) -> Investigation:
        low, high = Threshold.parse(self.low), Threshold.parse(self.high)
        if low.is_percentile == high.is_percentile and low.value > high.value:
            raise ValueError(f"low={self.low} is above high={self.high}: users would be in both groups. Exchange them")
        return self

    def filter_spec(self, path: pathlib.Path) -> dict[str, str]:
        """Returns the configuration `filter` of an arm that trains on the examples that the file keeps."""
        return {"_target_": f"fedlab.filter.{'Users' if self.by == 'user' else 'Examples'}", "path": str(path)}
