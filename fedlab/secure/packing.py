"""Packs contributions into rows of real numbers that fill the slots of ciphertexts, across tensors.

Floats stay unchanged. An integer is scaled to steps of 4 · precision, so that a sum decrypted to within the precision
rounds to the right integer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedlab.secure.encoding import OutOfRange
from fedlab.secure.layout import Layout, bounded, widened


class Packing:
    def __init__(self, layout: Layout, precision: float, clip_range: float, out_of_range: OutOfRange):
        self.layout, self.out_of_range = layout, out_of_range
        self._steps = [1.0 if t.is_float else 4 * precision for t in layout.tensors]
        self._bounds = [widened(clip_range) if t.is_float else t.largest_integer for t in layout.tensors]

    @property
    def largest(self) -> float:
        """The largest magnitude that a client may put into a slot."""
        return max((bound * step for bound, step in zip(self._bounds, self._steps)), default=0.0) or 1.0

    def pack(self, arrays: Sequence[np.ndarray], num_slots: int) -> tuple[np.ndarray, int]:
        """Returns float64 [ciphertexts, num_slots] and the count of clipped values. Raises `ContributionError`."""
        self.layout.check(arrays)
        rows = np.zeros((-(-self.layout.size // num_slots), num_slots))
        flat, start, clipped = rows.reshape(-1), 0, 0
        for array, tensor, step, bound in zip(arrays, self.layout.tensors, self._steps, self._bounds):
            values = np.asarray(array, np.float64) if tensor.is_float else np.asarray(array)
            values, beyond = bounded(values, bound, self.out_of_range)
            flat[start : start + tensor.size] = values.reshape(-1) * step
            start, clipped = start + tensor.size, clipped + beyond
        return rows, clipped

    def unpack(self, rows: np.ndarray) -> list[np.ndarray]:
        """Returns the tensors of a sum: floats in the type of the layout, integers as int64."""
        flat, start, arrays = rows.reshape(-1), 0, []
        for tensor, step in zip(self.layout.tensors, self._steps):
            values = flat[start : start + tensor.size].reshape(tensor.shape) / step
            arrays.append(values.astype(tensor.dtype) if tensor.is_float else np.rint(values).astype(np.int64))
            start += tensor.size
        return arrays
