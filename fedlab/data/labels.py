"""Class labels of any kind: maps integers, whole floats, booleans and strings to 0, 1, …"""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np

from fedlab.errors import DataError
from fedlab.tasks import Classification

_KINDS = {"i": "integers", "u": "integers", "b": "booleans", "f": "real numbers", "U": "strings"}
_WHOLE = re.compile(r"0|-?[1-9]\d{0,17}", re.ASCII)  # without leading zeros, which belong to a name
_SHOWN = 3  # labels that an error quotes


def encoded(columns: dict[str, np.ndarray]) -> tuple[list[np.ndarray], Classification]:
    """Returns each column as int32 classes in [0, num_classes), and the task, which has the original labels.

    `columns`: name → labels [n], such as those of the training and of the test set, which share one mapping. Labels are sorted:
    numbers by size, also if they are strings; other strings by code point; false before true. Labels that are 0, 1, … already
    stay as they are.
    Raises `DataError` for numbers that are not whole, for empty strings, for columns of different kinds, and for one class only.
    """
    kinds = {name: _kind(name, column) for name, column in columns.items()}
    if len(set(kinds.values())) > 1:
        raise DataError(f"{' and '.join(f'{name} has {kind}' for name, kind in kinds.items())}: use one kind of labels")
    # Of one type: NumPy would join int64 and uint64 to float64, which rounds them
    columns = _without_quotes(columns)
    whole = [column if column.dtype.kind in "Ub" else column.astype(np.int64) for column in columns.values()]
    labels, classes = np.unique(np.concatenate(whole), return_inverse=True)
    if len(labels) == 1:
        raise DataError(f"all labels are {labels[0]}, so there is one class and nothing to learn: give two or more")
    if len(labels) == len(classes) > _SHOWN:
        raise DataError(
            f"the {len(labels)} examples have {len(labels)} different labels ({_some(labels)}), so no class has two examples: "
            "give class labels, or predict numbers with data.task=regression"
        )
    parts = np.split(classes.astype(np.int32), np.cumsum([len(column) for column in whole])[:-1])
    plain = labels.dtype.kind in "iu" and np.array_equal(labels, np.arange(len(labels)))
    return parts, Classification(num_classes=len(labels), labels=None if plain else tuple(map(str, labels)))


def in_order(labels: Collection[str]) -> tuple[str, ...]:
    """Returns strings sorted as labels: by size if all are whole numbers, else by code point."""
    whole = all(map(_WHOLE.fullmatch, labels))
    return tuple(sorted(labels, key=int) if whole else sorted(labels))


def _without_quotes(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns columns of strings as integers if each string is one, such as names of folders, so that 10 comes after 9."""
    strings = np.unique(np.concatenate(list(columns.values())))
    if strings.dtype.kind != "U" or not all(map(_WHOLE.fullmatch, strings)):
        return columns
    return {name: column.astype(np.int64) for name, column in columns.items()}


def _kind(name: str, labels: np.ndarray) -> str:
    """Returns the kind of `labels` in words. Raises `DataError` for labels that cannot be classes."""
    kind = labels.dtype.kind
    if kind not in _KINDS:
        raise DataError(
            f"{name} must contain integers, strings, booleans or whole numbers, not {labels.dtype}: store labels as strings"
        )
    if kind == "f":
        broken = labels[~np.isfinite(labels) | (labels != np.floor(labels)) | (np.abs(labels) > 2**53)]
        if len(broken):
            raise DataError(
                f"{name} has numbers that are no classes ({_some(np.unique(broken))}): give whole numbers or strings, or predict "
                "numbers with data.task=regression"
            )
    if kind == "u" and len(labels) and labels.max() >= 2**63:
        raise DataError(f"{name} has labels up to {labels.max()}, beyond int64: store them as {name}.astype(str)")
    if kind == "U" and (labels == "").any():
        raise DataError(f"{name} has empty strings: give every example a label")
    return "integers" if kind == "f" else _KINDS[kind]


def _some(values: np.ndarray) -> str:
    """Returns the first values, for an error."""
    shown = ", ".join(str(value) for value in values[:_SHOWN])
    return shown + (", …" if len(values) > _SHOWN else "")
