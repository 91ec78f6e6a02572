"""Regression: one real number per example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import FiniteFloat, PositiveFloat

from fedlab.errors import DataError
from fedlab.measures import Metric
from fedlab.tasks.base import Prediction, power

if TYPE_CHECKING:
    import tensorflow as tf

_SPREAD = 1e-6  # of the squares of the targets; a smaller share is a rounding error
Criterion = Literal["mse", "mae", "huber", "poisson"]


class Regression(Prediction):
    """Targets are float32 numbers y; the network returns one output o per example.

    The prediction is `center` + `scale` · o, and for poisson exp(o). The loss compares o with t = (y − `center`) / `scale`:
    `mse`: (o − t)². `mae`: |o − t|. `huber`: (o − t)² / 2 up to a distance of 1, then |o − t| − 1/2 (Huber 1964). `poisson`:
    exp(o) − y · o, for counts y ≥ 0. `origin`: a number near the targets t, from which R² measures them, because float32 has no
    digits left for the spread of squares of large numbers. The metrics have the units of y.
    R² = 1 − Σ(y − prediction)² / Σ(y − mean of y)² is NaN if all targets are equal.
    """

    name: ClassVar[str] = "regression"
    target_dtype: ClassVar[str] = "float32"
    measured: ClassVar[Mapping[str, Metric]] = {
        "rmse": Metric("root mean squared error"),
        "mae": Metric("mean absolute error"),
        "r2": Metric("R²", more_is_better=True),
        "loss": Metric("loss", unit="of scaled targets"),
    }
    headline: ClassVar[str | None] = "rmse"

    criterion: Criterion = "mse"
    center: FiniteFloat = 0.0
    scale: PositiveFloat = 1.0
    origin: FiniteFloat = 0.0

    @property
    def num_outputs(self) -> int:
        return 1

    def described(self) -> dict[str, Any]:
        return {**super().described(), "criterion": self.criterion, "center": self.center, "scale": self.scale}

    def check_targets(self, y: np.ndarray) -> None:
        super().check_targets(y)
        if self.criterion == "poisson" and len(y) and y.min() < 0:
            raise DataError("targets below 0, which are no counts: use another loss than poisson.")

    def targets(self, y: tf.Tensor) -> tf.Tensor:
        return (y - self.center) / self.scale

    def losses(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        o = outputs[:, 0]
        if self.criterion == "poisson":
            return tf.exp(o) - targets * o
        distance = tf.abs(o - targets)
        if self.criterion == "mse":
            return distance**2
        if self.criterion == "mae":
            return distance
        return tf.where(distance <= 1.0, 0.5 * distance**2, distance - 0.5)

    def counts(self, outputs: tf.Tensor, targets: tf.Tensor) -> Mapping[str, tf.Tensor]:
        import tensorflow as tf

        error, distance = self._predicted(outputs) - targets, targets - self.origin
        return {"squared_error": error**2, "absolute_error": tf.abs(error), "target": distance, "squared_target": distance**2}

    def metrics(self, sums: Mapping[str, Any]) -> Mapping[str, Any]:
        n = sums["num_examples"]
        spread = sums["squared_target"] - power(sums["target"], 2) / n
        with np.errstate(divide="ignore", invalid="ignore"):
            r2 = 1.0 - sums["squared_error"] / _or_nan(spread, spread > _SPREAD * sums["squared_target"])
        return {
            "loss": sums["loss"] / n,
            "rmse": self.scale * power(sums["squared_error"] / n, 0.5),
            "mae": self.scale * sums["absolute_error"] / n,
            "r2": r2,
        }

    def predictions(self, outputs: tf.Tensor) -> tf.Tensor:
        return self.center + self.scale * self._predicted(outputs)[:, None]

    def exported(self, model: tf.keras.Model) -> tf.keras.Model:
        """Returns the model with a last layer that converts its output to the prediction."""
        import tensorflow as tf

        if self.criterion == "poisson":
            last: tf.keras.layers.Layer = tf.keras.layers.Activation("exponential", name="prediction")
        elif (self.center, self.scale) == (0.0, 1.0):
            return model
        else:
            last = tf.keras.layers.Rescaling(self.scale, self.center, name="prediction")
        return tf.keras.Sequential([model, last]) if not model.inputs else tf.keras.Model(model.inputs, last(model.output))

    def _predicted(self, outputs: tf.Tensor) -> tf.Tensor:
        """Returns the scaled prediction of each example, [n]."""
        import tensorflow as tf

        return tf.exp(outputs[:, 0]) if self.criterion == "poisson" else outputs[:, 0]


def _or_nan(value: Any, holds: Any) -> Any:
    """Returns `value` where `holds`, else NaN. Tensors or NumPy arrays."""
    if isinstance(holds, (bool, np.bool_, np.ndarray)):
        return np.where(holds, value, np.nan)
    import tensorflow as tf

    return tf.where(holds, value, np.nan)
