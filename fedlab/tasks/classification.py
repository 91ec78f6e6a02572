"""Classification: one class per example, cross-entropy, accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import NonNegativeInt, model_validator

from fedlab.errors import ConfigError, DataError
from fedlab.measures import MEASURES_OF_CLASSIFICATION, Metric
from fedlab.tasks import named
from fedlab.tasks.base import Examples, Prediction
from fedlab.tasks.metrics import Further

if TYPE_CHECKING:
    import tensorflow as tf


class Classification(Prediction):
    """Targets are int32 in [0, num_classes); the network returns a logit per class.

    `labels`: the name of each class in the data; None: the classes are called 0, 1, …
    """

    name: ClassVar[str] = MEASURES_OF_CLASSIFICATION.name
    measured: ClassVar[Mapping[str, Metric]] = MEASURES_OF_CLASSIFICATION.metrics
    headline: ClassVar[str | None] = MEASURES_OF_CLASSIFICATION.headline
    outputs_are_logits: ClassVar[bool] = True

    num_classes: NonNegativeInt
    labels: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _a_label_per_class(self) -> Classification:
        assert self.labels is None or len(self.labels) == self.num_classes, self.labels
        return self

    def described(self) -> dict[str, Any]:
        return {**super().described(), **({"labels": list(self.labels)} if self.labels else {})}

    def further(self, name: str) -> tuple[Further, ...]:
        metric = named.of_classes(name)
        if metric and named.fewest_classes(name) > self.num_classes:
            raise ConfigError(f"evaluation.metrics: {name} is 100 % with {self.num_classes} classes: leave it out.")
        return (metric,) if metric else ()

    def check_further(self, examples: Examples) -> None:
        missing = np.setdiff1d(np.arange(self.num_classes), examples.y)
        if len(missing) and any(isinstance(metric, Further) and metric.name == "auc" for metric in self.also):
            raise DataError(
                f"auc needs every class in the test set, which has none of class {missing[0]}: leave auc out, or raise "
                "data.test_fraction"
            )

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

    @property
    def weighted_labels(self) -> tuple[str, ...]:
        return self.labels or tuple(map(str, range(self.num_classes)))

    def balanced_weights(self, y: np.ndarray) -> np.ndarray:
        counts = np.bincount(y, minlength=self.num_classes)
        return np.where(counts > 0, len(y) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 1.0)

    def changed_losses(
        self, outputs: tf.Tensor, targets: tf.Tensor, label_smoothing: float, weights: Sequence[float] | None
    ) -> tf.Tensor:
        import tensorflow as tf

        found = self.losses(outputs, targets)
        if label_smoothing:
            share = label_smoothing / self.num_classes
            smooth = tf.one_hot(targets, self.num_classes, 1.0 - label_smoothing + share, share)
            found = tf.nn.softmax_cross_entropy_with_logits(labels=smooth, logits=outputs)
        return found if weights is None else tf.gather(tf.constant(weights, tf.float32), targets) * found

    def counts(self, outputs: tf.Tensor, targets: tf.Tensor) -> Mapping[str, tf.Tensor]:
        import tensorflow as tf

        return {"correct": tf.cast(tf.equal(tf.argmax(outputs, 1, tf.int32), targets), tf.float32)}

    def metrics(self, sums: Mapping[str, Any]) -> Mapping[str, Any]:
        n = sums["num_examples"]  # 0 if every client was left out: the loss is then NaN rather than 0
        return {"loss": sums["loss"] / n, "accuracy": sums["correct"] / n}

    def predictions(self, outputs: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        return tf.nn.softmax(outputs)
