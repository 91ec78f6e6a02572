"""Several labels per example: reads them from arrays, from columns of 0 and 1, and from cells such as beach|sunset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fedlab.data.kinds import is_numeric, numbers
from fedlab.data.labels import in_order
from fedlab.errors import DataError
from fedlab.tasks import MultiLabel

_WORDS = {"false": 0.0, "no": 0.0, "true": 1.0, "yes": 1.0}


def encoded(sets: Mapping[str, np.ndarray], names: Sequence[str] | None = None) -> tuple[list[np.ndarray], MultiLabel]:
    """Returns each array as uint8 [n, L] of 0 and 1, and the task.

    `sets`: name → numbers or booleans [n, L], the training set first. `names`: of the L labels; None: 0, 1, … Raises `DataError`
    for other values, for arrays of different widths, and if no label differs between two training examples.
    """
    found = []
    width = next(iter(sets.values())).shape[1]
    for name, y in sets.items():
        if y.dtype.kind not in "iufb":
            raise DataError(f"{name} must contain 0 and 1 for task=multi_label, not {y.dtype}")
        other = np.unique(y[(y != 0) & (y != 1)])
        if len(other):
            raise DataError(f"{name} must contain 0 and 1 for task=multi_label, and has {other[0]}")
        if y.shape[1] != width:
            raise DataError(f"{next(iter(sets))} has {width} labels, and {name} has {y.shape[1]}")
        found.append(y.astype(np.uint8))
    if (found[0] == found[0][:1]).all():
        raise DataError("all training examples have the same labels, so there is nothing to learn")
    return found, MultiLabel(num_labels=width, names=None if names is None else tuple(map(str, names)))


def of_columns(where: str, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns columns of text as float64 [n, L]: 0 or 1, or false, true, no, yes. `where`: the file, for errors.

    Raises `DataError` for other cells and for missing ones.
    """
    found = []
    for name, cells in columns.items():
        if (cells == "").any():
            row = int(np.argmax(cells == "")) + 1
            raise DataError(f"column {name} of {where}, a target, is missing in row {row}: remove the row")
        lower = np.char.lower(cells)
        if np.isin(lower, list(_WORDS)).all():
            found.append(np.array([_WORDS[cell] for cell in lower]))
            continue
        values = numbers(cells) if is_numeric(cells) else None
        if values is None or not np.isin(values, (0.0, 1.0)).all():
            good = np.isin(lower, [*_WORDS, "0", "1"]) if values is None else np.isin(values, (0.0, 1.0))
            raise DataError(
                f"column {name} of {where} must contain 0 and 1, or true and false, for task=multi_label, and has "
                f"'{cells[int(np.argmin(good))]}'"
            )
        found.append(values)
    return np.stack(found, axis=1)


def of_cells(sets: Mapping[str, np.ndarray], separator: str) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Returns cells such as beach|sunset as bool [n, L], and the names of the L labels, sorted as `labels` sorts them.

    An empty cell is an example without a label. Raises `DataError` if no cell has a label.
    """
    split = {name: [{part.strip() for part in cell.split(separator)} - {""} for cell in cells] for name, cells in sets.items()}
    names = in_order(set().union(*(own for examples in split.values() for own in examples)))
    if not names:
        raise DataError(f"{next(iter(sets))} has no label in any row")
    place = {name: i for i, name in enumerate(names)}
    found = {}
    for name, examples in split.items():
        y = np.zeros((len(examples), len(names)), bool)
        for i, own in enumerate(examples):
            y[i, [place[label] for label in own]] = True
        found[name] = y
    return found, names
