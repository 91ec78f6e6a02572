"""Multi-label classification: any number of labels per example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from fedlab.errors import DataError
from fedlab.measures import Metric
from fedlab.tasks import named
from fedlab.tasks.base import Examples, Prediction
from fedlab.tasks.metrics import Further

if TYPE_CHECKING:
    import tensorflow as tf


class MultiLabel(Prediction):
    """Targets are uint8 [n, L], 1 for each of the L labels that an example has, else 0; the network returns a logit per label.

    The loss of an example is the mean binary cross-entropy over the labels, in nats. A label is predicted if its logit is above
    0, so if its probability is above one half. TP, FP and FN are the numbers of predictions that are right, that are wrong, and
    that are missing:
    `micro_f1`: 2 TP / (2 TP + FP + FN), of all labels together; NaN without any label in targets and predictions.
    `macro_f1`: the mean of each label's F1, without the labels that neither targets nor predictions have; NaN if there are none.
    `exact_match`: the share of examples all of whose labels are right (subset accuracy).
    `label_accuracy`: the share of pairs of an example and a label that are right, which is 1 − Hamming loss.

    `names`: the labels' names in the data; None: the labels are called 0, 1, …
    """

    name: ClassVar[str] = "multi-label classification"
    target_dtype: ClassVar[str] = "uint8"
    measured: ClassVar[Mapping[str, Metric]] = {
        "micro_f1": Metric("micro F1", percent=True, more_is_better=True),
        "macro_f1": Metric("macro F1", percent=True, more_is_better=True),
        "exact_match": Metric("exact match", percent=True, more_is_better=True),
        "label_accuracy": Metric("accuracy per label", percent=True, more_is_better=True),
        "loss": Metric("loss", unit="binary cross-entropy, nats per label"),
    }
    headline: ClassVar[str | None] = "micro_f1"
    outputs_are_logits: ClassVar[bool] = True

    num_labels: int = Field(gt=0)
    names: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _a_name_per_label(self) -> MultiLabel:
        assert self.names is None or len(self.names) == self.num_labels, self.names
        return self

    @property
    def target_shape(self) -> tuple[int, ...]:
        return (self.num_labels,)

    @property
    def num_outputs(self) -> int:
        return self.num_labels

    @property
    def needed_outputs(self) -> str:
        return f"{self.num_labels} labels need logits of shape (None, {self.num_labels})"

    @property
    def label_names(self) -> tuple[str, ...]:
        """Returns the name of each label."""
        return self.names or tuple(map(str, range(self.num_labels)))

    def described(self) -> dict[str, Any]:
        return {**super().described(), "names": list(self.label_names)}

    def further(self, name: str) -> tuple[Further, ...]:
        return named.of_labels(name)

    def check_further(self, examples: Examples) -> None:
        means = [metric.name for metric in self.also if isinstance(metric, Further) and named.of_labels(metric.name)]
        if means and not named.with_both(examples.y).any():
            raise DataError(
                f"{means[0]} needs a label that some examples of the test set have and others have not, and there is none: leave "
                f"{means[0]} out, or raise data.test_fraction"
            )

    def check_targets(self, y: np.ndarray) -> None:
        if y.size and y.max() > 1:
            raise DataError("targets other than 0 and 1.")

    def targets(self, y: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        return tf.cast(y, tf.float32)

    def losses(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=outputs), 1)

    @property
    def weighted_labels(self) -> tuple[str, ...]:
        return self.label_names

    def balanced_weights(self, y: np.ndarray) -> np.ndarray:
        """Returns the number of examples without a label divided by that of examples with it; 1 if one of them is 0."""
        with_it = y.sum(axis=0, dtype=np.int64)
        return np.where((with_it > 0) & (with_it < len(y)), (len(y) - with_it) / np.maximum(with_it, 1), 1.0)

    def changed_losses(
        self, outputs: tf.Tensor, targets: tf.Tensor, label_smoothing: float, weights: Sequence[float] | None
    ) -> tf.Tensor:
        import tensorflow as tf

        smooth = targets * (1.0 - label_smoothing) + 0.5 * label_smoothing
        each = tf.nn.sigmoid_cross_entropy_with_logits(labels=smooth, logits=outputs)
        if weights is not None:
            each *= 1.0 + targets * (tf.constant(weights, tf.float32) - 1.0)
        return tf.reduce_mean(each, 1)

    def counts(self, outputs: tf.Tensor, targets: tf.Tensor) -> Mapping[str, tf.Tensor]:
        import tensorflow as tf

        predicted = tf.cast(outputs > 0.0, tf.float32)
        right = tf.cast(tf.equal(predicted, targets), tf.float32)
        return {
            "exact": tf.reduce_min(right, 1),
            "right": tf.reduce_mean(right, 1),
            "hits": predicted * targets,  # TP
            "claims": predicted + targets,  # 2 TP + FP + FN
        }

    def metrics(self, sums: Mapping[str, Any]) -> Mapping[str, Any]:
        n, hits, claims = sums["num_examples"], sums["hits"], sums["claims"]
        with np.errstate(divide="ignore", invalid="ignore"):
            known = claims / _at_least_one(claims)  # 1 for a label that targets or predictions have, else 0
            of_label = 2.0 * hits / _at_least_one(claims)
            return {
                "loss": sums["loss"] / n,
                "micro_f1": 2.0 * _sum(hits) / _sum(claims),
                "macro_f1": _sum(of_label) / _sum(known),
                "exact_match": sums["exact"] / n,
                "label_accuracy": sums["right"] / n,
            }

    def predictions(self, outputs: tf.Tensor) -> tf.Tensor:
        """Returns the probability of each label: [n, L]."""
        import tensorflow as tf

        return tf.sigmoid(outputs)


def _at_least_one(counts: Any) -> Any:
    """Returns the larger of 1 and each count. Tensors or NumPy arrays."""
    if isinstance(counts, (np.ndarray, np.generic)):
        return np.maximum(counts, 1.0)
    import tensorflow as tf

    return tf.maximum(counts, 1.0)


def _sum(values: Any) -> Any:
    """Returns the sum over all labels, the last axis. Tensors or NumPy arrays."""
    if isinstance(values, (np.ndarray, np.generic)):
        return values.sum(-1)
    import tensorflow as tf

    return tf.reduce_sum(values)
