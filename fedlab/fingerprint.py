"""Fingerprints: hashes that show if two runs used the same data, partition, files and options. Also parses JSON.

Those of files and values need no NumPy, which tab completion does not wait for; those of arrays import it when they are called.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedlab.types import Dataset, Partition

_CHUNK_BYTES = 1 << 20
_ARRAYS = 1 << 14  # clients whose indices are hashed at a time
_DEEPEST = 100  # levels of JSON that are read; fedlab writes fewer than 20


def file_fingerprint(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file's content, as 64 hexadecimal digits. Raises `OSError` if the file cannot be read."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def parsed_json(text: str | bytes) -> Any:
    """Parses JSON. Raises `ValueError` for text that is no JSON, or is nested in more than 100 levels, which would exhaust the
    stack."""
    too_deep = ValueError(f"it is nested in more than {_DEEPEST} levels")
    try:
        value = json.loads(text)
    except RecursionError:
        raise too_deep from None
    opened = sum(map(text.count, "[{")) if isinstance(text, str) else sum(map(text.count, (b"[", b"{")))
    if opened < _DEEPEST:  # most files: too few lists and objects to be nested so deeply
        return value
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        nodes = [node for node in level if isinstance(node, (dict, list))]
        level = [item for node in nodes for item in (node.values() if isinstance(node, dict) else node)]
        if not level:
            return value
    raise too_deep


def json_fingerprint(value: Any, digits: int = 64) -> str:
    """Returns the first `digits` hexadecimal digits of the SHA-256 of a value as JSON.

    The order of keys has no effect. Keys and values that JSON does not have count as their text.
    """
    plain = json.loads(json.dumps(value, default=str))  # in which all keys are text, and are sorted as such
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:digits]


def data_fingerprint(dataset: Dataset) -> str:
    """Returns the SHA-256 of every array of the data set, with its shape and type."""
    digest = hashlib.sha256()
    for examples in (dataset.train, dataset.test):
        for array in (examples.x, examples.y, examples.user_ids):
            _add(digest, array)
    return digest.hexdigest()


def partition_fingerprint(partition: Partition) -> str:
    """Returns the SHA-256 of the clients' names and the indices of their examples, unseen clients included."""
    digest = hashlib.sha256()
    _add_each(digest, partition.indices, [f"{name}\n" for name in partition.client_ids])
    _add_each(digest, partition.held_out or ())
    if partition.unseen is not None:
        digest.update(f"unseen {partition_fingerprint(partition.unseen)}".encode())
    return digest.hexdigest()


def fingerprints(dataset: Dataset, partition: Partition) -> tuple[str, str]:
    """Returns the fingerprints of the data and of the partition."""
    return data_fingerprint(dataset), partition_fingerprint(partition)


def combined(fingerprints: Iterable[str]) -> str:
    """Returns one fingerprint for several; a single one unchanged."""
    first, *others = fingerprints
    return hashlib.sha256("".join([first, *others]).encode()).hexdigest() if others else first


def _add_each(digest: hashlib._Hash, arrays: Sequence[Any], names: Sequence[str] = ()) -> None:
    """Adds each array with its elements in ascending order, after its name: the bytes of `_add`, for a million arrays."""
    import numpy as np

    from fedlab.ragged import Ragged

    if not isinstance(arrays, Ragged):
        for place, array in enumerate(arrays):
            digest.update(names[place].encode() if names else b"")
            _add(digest, np.sort(array))
        return
    content, kind = arrays.ascending().flat.tobytes(), arrays.flat.dtype
    ends = (arrays.offsets * kind.itemsize).tolist()
    heads = {size: f"{kind.str}({size},)" for size in np.unique(arrays.sizes).tolist()}
    sizes = arrays.sizes.tolist()
    for first in range(0, len(sizes), _ARRAYS):
        last = min(first + _ARRAYS, len(sizes))
        each = [(names[i] + heads[sizes[i]] if names else heads[sizes[i]]).encode() for i in range(first, last)]
        bodies = [content[begin:end] for begin, end in zip(ends[first:last], ends[first + 1 : last + 1])]
        digest.update(b"".join(itertools.chain.from_iterable(zip(each, bodies))))


def _add(digest: hashlib._Hash, array: object) -> None:
    import numpy as np

    if array is None:
        digest.update(b"none")
        return
    array = np.asarray(array)
    if array.dtype.kind not in "uifbU":  # objects: hash their text
        array = array.astype(str)
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
