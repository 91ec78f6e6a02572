"""Groups of examples by a column: a label, a user, or a further attribute."""

from __future__ import annotations

import numpy as np

from fedlab.errors import DataError, did_you_mean
from fedlab.types import ExampleSet


def groups_of(examples: ExampleSet, column: str | None, bins: int) -> tuple[np.ndarray, int]:
    """Returns the group of each example, int64 [N] from 0, and the number of groups.

    `column`: None or "label": the classes; "user": the users; "target": targets that are numbers; or an attribute, which has
    precedence. Each value of text, of integers or of booleans is a group, a missing one as well. So is each value of other
    numbers if there are at most `bins`; else they are cut at quantiles into up to `bins` groups, and missing ones are a further
    group. Raises `DataError` for another name, and lists the columns.
    """
    if column not in examples.attributes and column in (None, "label") and examples.task.num_classes is not None:
        return examples.y.astype(np.int64), examples.num_classes
    values = _columns(examples).get(column or "label")
    if values is None:
        known = [*(["label"] if examples.task.num_classes is not None else []), *_columns(examples)]
        if column is None:
            use = f"Set partition.by to one of: {', '.join(known)}." if known else "Choose another partition."
            raise DataError(f"partition=dirichlet divides by label, and the task of this data is {examples.task.name}. {use}")
        exist = f"It has: {', '.join(known)}." if known else "It has none."
        raise DataError(f"partition.by={column}: this data has no such column.{did_you_mean(column, known)} {exist}")
    if values.dtype.kind == "f":
        values = _binned(values, bins)
    _, groups = np.unique(values, return_inverse=True)
    return groups.astype(np.int64), int(groups.max(initial=-1)) + 1


def _columns(examples: ExampleSet) -> dict[str, np.ndarray]:
    """Returns the columns except the classes, by name."""
    users = {} if examples.user_ids is None else {"user": examples.user_ids}
    targets = {"target": examples.y} if examples.y.ndim == 1 and examples.y.dtype.kind == "f" else {}
    return {**users, **targets, **examples.attributes}


def _binned(values: np.ndarray, bins: int) -> np.ndarray:
    """Returns integers in the order of the numbers `values` [N], equal ones for equal numbers; missing ones come last."""
    missing = np.isnan(values)
    known = np.sort(values[~missing])
    distinct = np.unique(known)
    if len(distinct) <= bins:
        return np.where(missing, bins, np.searchsorted(distinct, values))
    return np.where(missing, bins, np.searchsorted(known, values) * bins // len(known))
