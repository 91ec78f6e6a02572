"""Diabetes progression of 442 patients, which scikit-learn ships: regression without a network."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fedlab.data.columns import Rows, encoded
from fedlab.data.source import Source
from fedlab.data.targets import scaled
from fedlab.tasks import Regression
from fedlab.types import Dataset, ExampleSet


class Diabetes(Source):
    """Efron et al. 2004, section 1: 10 measurements of 442 patients, and the progression of diabetes after a year, 25 to 346.

    x float32 [N, 10], scaled to mean 0 and standard deviation 1 over the training examples; so is the target for the loss.
    """

    name: ClassVar[str] = "diabetes"
    unread: ClassVar[tuple[str, str, str]] = ("442 + 0", "numbers", "no")

    @property
    def statistics(self) -> str:
        return "means and standard deviations of columns and of the targets"

    def load(self, seed: int) -> Dataset:
        return encoded(self.name, *scaled(*self._divided(self._rows(), None, seed)))

    def _read(self) -> tuple[ExampleSet, ExampleSet | None]:
        rows = self._rows()
        return encoded(self.name, rows, rows).train, None

    def _rows(self) -> Rows:
        from sklearn.datasets import load_diabetes

        data = load_diabetes(scaled=False)
        columns = dict(zip(data.feature_names, data.data.T))
        return Rows(columns, data.target.astype(np.float32), Regression(), None)
