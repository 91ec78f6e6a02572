"""The loss that clients minimise: the task's own, also with label smoothing or weights of classes, or a user's."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field, NonNegativeFloat, field_validator

from fedlab.errors import ConfigError, did_you_mean
from fedlab.spec import Spec

if TYPE_CHECKING:
    import tensorflow as tf

    from fedlab.tasks.base import Prediction, Task

_SHOWN = 6  # weights that a line names


class Loss(Spec):
    """The loss that clients minimise, in every engine and algorithm: the mean of `losses` over a batch.

    It replaces the task's loss in training, and in the training loss that records show. Metrics of the test set and of clients'
    own examples keep the loss of the task, so that runs with different losses can be compared. A user's own loss is a subclass
    with `losses`. No loss couples the examples of a batch, so that DP-SGD can clip the gradient of each.
    """

    makes: ClassVar[Mapping[str, tuple[str, ...]]] = {"losses": ("tensorflow.Tensor",)}

    @property
    def statistics(self) -> str:
        """Returns, in words, what the loss computes from the targets of all clients; "" if nothing. No ε covers it."""
        return ""

    def check(self, task: Task) -> None:
        """Raises `ConfigError` if the loss is not for `task`."""
        if not hasattr(task, "losses"):
            raise ConfigError(f"loss: the networks of the task {task.name} have losses of their own: leave loss out.")

    def of(self, task: Prediction, y: np.ndarray) -> Loss | None:
        """Returns the loss to minimise; None: the task's own.

        `y` [N, …]: the training targets of all clients if the loss has `statistics`, else none of them, N = 0.
        """
        return self

    @abc.abstractmethod
    def losses(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each example, float32 [n], of which the gradient must exist.

        `outputs` [n, …]: of the network; logits in classification. `targets` [n, …]: as the task's `targets` returns them:
        classes int32 [n], float32 0 or 1 [n, labels], or scaled numbers [n].
        """

    def described(self) -> dict[str, Any]:
        """Returns the entry of the manifest."""
        return {"name": type(self).__name__, **self.model_dump(mode="json")}

    def lines(self) -> list[str]:
        """Returns notes for the user before the first round."""
        return [f"clients minimise {type(self).__name__}, which train_loss shows; other losses are those of the task"]


def _by_text(given: Any) -> Any:
    """Returns weights by the text of their labels: {0: 1} names the class 0."""
    return {str(label): weight for label, weight in given.items()} if isinstance(given, Mapping) else given


class TaskLoss(Loss):
    """The task's own loss: the cross-entropy, the squared error, …

    `label_smoothing`: in [0, 1), the share s of the target that is spread evenly (Szegedy et al. 2016, section 7): with K classes
    the target is 1 − s + s / K for the example's class and s / K for others; with several labels y (1 − s) + s / 2 for each.

    `class_weights`: {LABEL: WEIGHT, …} multiplies the loss of each example by the weight of its class, 1 for classes that are not
    named. The loss of a batch is divided by its number of examples, not by the sum of weights. With several labels the weight is
    that of a label's positive examples.

    `class_weights=balanced`: all classes get the same total weight in the training examples of all clients: N / (K n) for a class
    with n of N examples, of K classes with examples. With several labels: (N − n) / n for a label that n of N examples have.
    """

    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: (
        Annotated[dict[str, NonNegativeFloat], BeforeValidator(_by_text), Field(min_length=1)] | Literal["balanced"] | None
    ) = None

    @field_validator("class_weights", mode="before")
    @classmethod
    def _is_balanced_or_a_mapping(cls, given: Any) -> Any:
        if given is None or given == "balanced" or isinstance(given, Mapping):
            return given
        raise ValueError("must be balanced, or the weight of each label, such as {cat: 3, dog: 1}")

    @property
    def statistics(self) -> str:
        return "the number of examples of each class" if self.class_weights == "balanced" else ""

    @property
    def _changes(self) -> list[str]:
        """Returns the options that change the task's loss."""
        return [
            name for name, value in (("label_smoothing", self.label_smoothing), ("class_weights", self.class_weights)) if value
        ]

    def check(self, task: Task) -> None:
        if not self._changes:
            return
        names = getattr(task, "weighted_labels", None)
        if names is None:
            raise ConfigError(
                f"loss.{self._changes[0]} is for classification and multi-label classification, and the task is {task.name}: "
                "leave it out."
            )
        if isinstance(self.class_weights, Mapping):
            unknown = next((label for label in self.class_weights if label not in names), None)
            if unknown is not None:
                shown = ", ".join(names[:_SHOWN]) + ", …" * (len(names) > _SHOWN)
                raise ConfigError(
                    f"loss.class_weights: there is no label '{unknown}'.{did_you_mean(unknown, names)} Labels: {shown}."
                )

    def of(self, task: Prediction, y: np.ndarray) -> Loss | None:
        names = task.weighted_labels
        if not self._changes or names is None:
            return None
        weights = None
        if isinstance(self.class_weights, Mapping):
            weights = tuple(float(self.class_weights.get(name, 1.0)) for name in names)
            if not any(weights):
                raise ConfigError("loss.class_weights: all labels have the weight 0, so there is nothing to learn.")
        elif self.class_weights == "balanced":
            weights = tuple(map(float, task.balanced_weights(y)))
        if weights is not None and all(weight == 1.0 for weight in weights):
            weights = None
        if not self.label_smoothing and weights is None:
            return None
        return _Changed(task=task, label_smoothing=self.label_smoothing, weights=weights, balanced=bool(self.statistics))

    def losses(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        raise AssertionError("`of` returns another loss, or that of the task")


class _Changed(Loss):
    """The loss of a task with label smoothing and known weights."""

    task: Any  # a Prediction
    label_smoothing: float
    weights: tuple[float, ...] | None  # of each label, in the order of the task
    balanced: bool

    def losses(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        found: tf.Tensor = self.task.changed_losses(outputs, targets, self.label_smoothing, self.weights)
        return found

    def described(self) -> dict[str, Any]:
        weights = None if self.weights is None else dict(zip(self.task.weighted_labels, self.weights))
        return {"name": "TaskLoss", "label_smoothing": self.label_smoothing, "class_weights": weights}

    def lines(self) -> list[str]:
        changes = [f"label smoothing {self.label_smoothing:g}"] if self.label_smoothing else []
        if self.weights is not None:
            named = [f"{name} {weight:.4g}" for name, weight in zip(self.task.weighted_labels, self.weights)]
            changes.append(f"weights of labels {', '.join(named[:_SHOWN])}{', …' * (len(named) > _SHOWN)}")
        lines = [f"clients minimise the loss with {' and '.join(changes)}, which train_loss shows; other losses are without them"]
        if self.balanced:
            lines.append(
                "loss.class_weights=balanced counts each label over all clients, here in the clear: in a federation the server "
                "would have to learn these sums, and every client the weights"
            )
        return lines
