"""Classification: one class per example, cross-entropy, accuracy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import NonNegativeInt, model_validator

from fedlab.errors import DataError
from fedlab.measures import MEASURES_OF_CLASSIFICATION, Metric
from fedlab.tasks.base import Examples, Prediction
from fedlab.tasks.named import computed, metric_of

if TYPE_CHECKING:
    import tensorflow as tf


class Classification(Prediction):
    """Targets are int32 in [0, num_classes); the network returns a logit per class.

    `labels`: the name of each class in the data; None: the classes are called 0, 1, …
    `also`: further metrics of the test set, by the names of `fedlab.tasks.named`.
    """

    name: ClassVar[str] = MEASURES_OF_CLASSIFICATION.name
    measured: ClassVar[Mapping[str, Metric]] = MEASURES_OF_CLASSIFICATION.metrics
    headline: ClassVar[str | None] = MEASURES_OF_CLASSIFICATION.headline
    outputs_are_logits: ClassVar[bool] = True

    num_classes: NonNegativeInt
    labels: tuple[str, ...] | None = None
    also: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _a_label_per_class(self) -> Classification:
        assert self.labels is None or len(self.labels) == self.num_classes, self.labels
        return self

    def described(self) -> dict[str, Any]:
        found = super().described()
        found["metrics"].update({name: dataclasses.asdict(metric_of(name)) for name in self.also})
        return {**found, **({"labels": list(self.labels)} if self.labels else {})}

    def test_metrics(self, predictions: np.ndarray, y: np.ndarray) -> dict[str, float]:
        return {name: computed(name, predictions, y) for name in self.also}

    @property
    def num_outputs(self) -> int:
        return self.num_classes

    @property
    def needed_outputs(self) -> str:
        return f"{self.num_classes} classes need logits of shape (None, {self.num_classes})"

    def check_examples(self, examples: Examples, name: str) -> None:
        if self.num_classes < 2:
            raise DataError(f"{name}: all labels are 0, so there is one class and nothing to learn: give two or more.")

    def check_targets(self, y: np.ndarray) -> None:
        if len(y) and not 0 <= y.min() <= y.max() < self.num_classes:
            raise DataError(f"labels outside [0, {self.num_classes}).")

    def losses(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=outputs)

    def counts(self, outputs: tf.Tensor, targets: tf.Tensor) -> Mapping[str, tf.Tensor]:
        import tensorflow as tf

        return {"correct": tf.cast(tf.equal(tf.argmax(outputs, 1, tf.int32), targets), tf.float32)}

    def metrics(self, sums: Mapping[str, Any]) -> Mapping[str, Any]:
        n = sums["num_examples"]  # 0 if every client was left out: the loss is then NaN rather than 0
        return {"loss": sums["loss"] / n, "accuracy": sums["correct"] / n}

    def predictions(self, outputs: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        return tf.nn.softmax(outputs)
