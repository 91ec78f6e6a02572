"""The display of metrics in pictures and tables for papers: a name in words, and a unit for all values of an axis or a column."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from fedlab.archive.task import Learned
from fedlab.report import words
from fedlab.targets import target_in

_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_SECONDS = ((3 * 3600.0, 3600.0, "h"), (300.0, 60.0, "min"))  # from this largest value on: seconds per unit, unit
_PLAIN = (1e-3, 1e6)  # the range of the largest value in which numbers need no power of ten
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A metric with its `unit`, "" for none; values are shown multiplied by `factor`. `more_is_better`: None if unknown."""

    label: str
    unit: str = ""
    factor: float = 1.0
    more_is_better: bool | None = None

    @property
    def axis(self) -> str:
        """Returns the label of an axis or a column: "test accuracy (%)"."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


def quantity(name: str, task: Learned, values: Iterable[float]) -> Quantity:
    """Returns the display of the metric `name` of runs of `task`. `values`: all that are shown together, which share a unit."""
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    label, own = words.task_label(name, task), task.metric(name)
    better = own.more_is_better if own else None
    if target_in(name) is not None:
        return Quantity(label, more_is_better=False)
    if own.percent if own else words.metric_value(name, 0.5).endswith("%"):
        return Quantity(label, "%", 100.0, better)
    if name.startswith("bytes") or name.endswith("_bytes"):
        return of_bytes(label, largest)
    if words.is_duration(name):
        return of_seconds(label, largest)
    unit = own.unit.rpartition(", ")[2] if own else ""
    if largest and not _PLAIN[0] <= largest < _PLAIN[1]:
        power = math.floor(math.log10(largest))
        return Quantity(label, f"10{str(power).translate(_SUPERSCRIPTS)} {unit}".rstrip(), 10.0**-power, better)
    return Quantity(label, unit, 1.0, better)


def of_bytes(label: str, largest: float) -> Quantity:
    """Returns the display of numbers of bytes up to `largest`, in powers of 1,000."""
    size, unit = next(((size, unit) for size, unit in _BYTES if largest >= size), (1.0, "B"))
    return Quantity(label, unit, 1 / size, more_is_better=False)


def of_seconds(label: str, largest: float) -> Quantity:
    """Returns the display of durations up to `largest` seconds: in seconds, minutes or hours."""
    size, unit = next(((size, unit) for least, size, unit in _SECONDS if largest >= least), (1.0, "s"))
    return Quantity(label, unit, 1 / size, more_is_better=False)
