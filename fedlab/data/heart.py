"""Heart disease at four hospitals (UCI, 1988): small tables with missing values, a client per hospital."""

from __future__ import annotations

import pathlib
from typing import ClassVar

import numpy as np

from fedlab.data.columns import Rows, encoded
from fedlab.data.files import Progress
from fedlab.data.source import Published, Source
from fedlab.errors import DataError
from fedlab.tasks import Classification
from fedlab.types import Dataset, ExampleSet

_HOSPITALS = {"cleveland": 303, "hungarian": 294, "switzerland": 123, "va": 200}  # rows
_COLUMNS = ["age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope", "ca", "thal"]
_CATEGORICAL = ("cp", "restecg", "slope", "thal")
_NEVER_0 = ("trestbps", "chol")  # a blood pressure or a cholesterol of 0 was not measured


class Heart(Source):
    """Janosi, Steinbrunn, Pfisterer and Detrano 1988: 920 patients of four hospitals, 13 measurements, healthy or sick.

    Reads processed.HOSPITAL.data in the folder heart of the data directory. Columns are encoded as in `fedlab.data.Table`. User
    ids are the hospitals.
    """

    name: ClassVar[str] = "heart"

    @property
    def published(self) -> Published:
        return Published(train=sum(_HOSPITALS.values()), test=0, classes=2, names=("healthy", "sick"))

    @property
    def has_user_ids(self) -> bool:
        return True

    @property
    def statistics(self) -> str:
        return "medians, means, standard deviations and categories of columns"

    def files(self) -> list[pathlib.Path]:
        return [self.data_dir / "heart" / f"processed.{hospital}.data" for hospital in _HOSPITALS]

    def verify(self) -> None:
        self._rows()

    def fetch(self, progress: Progress) -> None:
        """Raises `DataError` with the place of the files, which have no published checksums, unless they are there."""
        self._rows()

    def load(self, seed: int) -> Dataset:
        return encoded(self.name, *self._divided(self._rows(), None, seed))

    def _read(self) -> tuple[ExampleSet, ExampleSet | None]:
        rows = self._rows()
        return encoded(self.name, rows, rows).train, None

    def _rows(self) -> Rows:
        tables = [self._table(path, rows) for path, rows in zip(self.files(), _HOSPITALS.values())]
        cells = np.concatenate(tables)
        columns: dict[str, np.ndarray] = {}
        for name, values in zip(_COLUMNS, cells.T):
            known = np.where((values == -9) | ((values == 0) & (name in _NEVER_0)), np.nan, values)
            columns[name] = np.where(np.isnan(known), "", known.astype(str)) if name in _CATEGORICAL else known
        hospitals = np.repeat(list(_HOSPITALS), [len(table) for table in tables])
        y = (cells[:, -1] > 0).astype(np.int32)
        return Rows(columns, y, Classification(num_classes=2, labels=("healthy", "sick")), hospitals)

    def _table(self, path: pathlib.Path, num_rows: int) -> np.ndarray:
        """Returns float64 [rows, 14], NaN where a cell is "?"."""
        try:
            lines = path.read_text().split()
            cells = np.array([line.replace("?", "nan").split(",") for line in lines], np.float64)
        except FileNotFoundError:
            raise DataError(
                f"{path}: no such file. Copy the files processed.*.data of UCI's Heart Disease data set into {path.parent}."
            ) from None
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: not the published table ({error}).") from None
        if cells.shape != (num_rows, len(_COLUMNS) + 1):
            raise DataError(f"{path}: {list(cells.shape)} cells, and the published table has [{num_rows}, {len(_COLUMNS) + 1}].")
        return cells
