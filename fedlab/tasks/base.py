"""`Task`: the learning objective, its metrics and their display in reports. `Prediction`: the task of predicting targets."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from fedlab.errors import DataError
from fedlab.measures import Metric
from fedlab.spec import Spec, is_of_fedlab
from fedlab.tasks.losses import Loss
from fedlab.tasks.metrics import Further, OwnMetric, computed

if TYPE_CHECKING:
    import tensorflow as tf


class Examples(Protocol):
    """Stored examples [N, …] with their targets [N, …]: `fedlab.types.ExampleSet`."""

    @property
    def x(self) -> np.ndarray: ...
    @property
    def y(self) -> np.ndarray: ...


class Task(Spec):
    """The learning objective of a run. Reports, rankings and checks use these attributes, never the task's name.

    `fedlab.evaluation.EVALUATORS` has the classes that evaluate each kind of task.
    """

    name: ClassVar[str]  # in words, as errors and reports call it
    measured: ClassVar[Mapping[str, Metric]] = {}  # the metrics by name, without test_ or train_, in report order
    headline: ClassVar[str | None] = None  # the metric by which runs and clients are ranked
    trains_adversaries: ClassVar[bool] = False  # the model is a generator and a discriminator, not one network

    def described(self) -> dict[str, Any]:
        """Returns the manifest's entry, for readers of the run."""
        metrics = {name: dataclasses.asdict(metric) for name, metric in self.measured.items()}
        return {"name": self.name, "headline": self.headline, "metrics": metrics}


class Prediction(Task):
    """One network predicts a target for each example.

    A subclass defines the targets (`target_shape`, `target_dtype`), the network's outputs (`num_outputs`), the loss and the
    metrics. Methods that take tensors are traced into TensorFlow graphs and import TensorFlow themselves.

    Metrics are quotients of sums, so that clients can add them up: `losses` and `counts` return one example's terms, `metrics`
    computes the metrics from the sums over any number of examples.
    """

    makes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "losses": ("tensorflow.Tensor",),
        "counts": ("collections.abc.Mapping",),
        "metrics": ("collections.abc.Mapping",),
    }
    target_dtype: ClassVar[str] = "int32"  # of stored targets
    outputs_are_logits: ClassVar[bool] = False  # True: a network that ends in a softmax or a sigmoid is rejected

    # Every target is a class in [0, num_classes). None: no classes; stages that need classes raise an error
    num_classes: int | None = None

    # `evaluation.metrics`: further metrics of the test set and of clients, which are no quotients of sums
    also: tuple[Further | OwnMetric, ...] = ()

    # The loss that training minimises; None: `loss`. Evaluation always has `losses`
    minimised: Loss | None = None

    def described(self) -> dict[str, Any]:
        found = super().described()
        found["metrics"].update({metric.name: dataclasses.asdict(metric.display) for metric in self.also})
        return found if self.minimised is None else {**found, "minimised": self.minimised.described()}

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Returns the shape of one stored target."""
        return ()

    @property
    def num_outputs(self) -> int:
        """Returns the number of outputs per example: the second argument of the network's builder."""
        raise NotImplementedError(f"{type(self).__name__} defines no num_outputs")

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Returns the shape of the network's output for one example."""
        return (self.num_outputs,)

    @property
    def needed_outputs(self) -> str:
        """Returns the requirement on the network's outputs, for error messages."""
        return f"{self.name} needs outputs of shape {(None, *self.output_shape)}"

    def check_examples(self, examples: Examples, name: str) -> None:
        """Raises `DataError` for examples that the task cannot use. `name`: of the data."""

    def check_inputs(self, x: np.ndarray) -> None:
        """Raises `DataError` for stored examples [n, …] that are invalid."""

    def check_targets(self, y: np.ndarray) -> None:
        """Raises `DataError` for stored targets [n, *target_shape] that are invalid."""
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            raise DataError("targets with NaN or infinity.")

    def inputs(self, x: tf.Tensor) -> tf.Tensor:
        """Converts stored examples to the network's inputs, of the type `fedlab.tasks.encoding.input_dtype`."""
        from fedlab.tasks.encoding import as_model_input

        return as_model_input(x)

    def targets(self, y: tf.Tensor) -> tf.Tensor:
        """Converts stored targets to the loss's targets."""
        return y

    def losses(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each example: outputs [n, *output_shape] → float32 [n]."""
        raise NotImplementedError(f"{type(self).__name__} defines no losses")

    def loss(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns the loss of a batch, a scalar, which training minimises if there is no `minimised`."""
        import tensorflow as tf

        return tf.reduce_mean(self.losses(outputs, targets))

    def objective(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns the value that training minimises, for a batch: a scalar."""
        import tensorflow as tf

        return self.loss(outputs, targets) if self.minimised is None else tf.reduce_mean(self.minimised.losses(outputs, targets))

    def training_losses(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns each example's training loss: float32 [n]."""
        return (self if self.minimised is None else self.minimised).losses(outputs, targets)

    @property
    def weighted_labels(self) -> tuple[str, ...] | None:
        """Returns the names of the classes, or labels, that may have weights; None: neither weights nor label smoothing."""
        return None

    def balanced_weights(self, y: np.ndarray) -> np.ndarray:
        """Returns float64 [labels]: the weights with which all labels weigh the same in `y` [N, …], see `TaskLoss`."""
        raise NotImplementedError(f"{type(self).__name__} defines no balanced_weights")

    def changed_losses(
        self, outputs: tf.Tensor, targets: tf.Tensor, label_smoothing: float, weights: Sequence[float] | None
    ) -> tf.Tensor:
        """Returns `losses` with label smoothing and weights of `weighted_labels`, see `TaskLoss`: float32 [n]."""
        raise NotImplementedError(f"{type(self).__name__} defines no changed_losses")

    def counts(self, outputs: tf.Tensor, targets: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Returns each example's other terms of the sums: name → float32 [n, …]."""
        return {}

    def sums(self, loss: tf.Tensor, num_examples: tf.Tensor, outputs: tf.Tensor, targets: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Returns a batch's terms of the sums, given its `loss`."""
        import tensorflow as tf

        counts = {name: tf.reduce_sum(each, 0) for name, each in self.counts(outputs, targets).items()}
        return collections.OrderedDict(loss=loss * num_examples, **counts, num_examples=num_examples)

    def metrics(self, sums: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the metrics, given the sums: `loss`, those of `counts`, and `num_examples`. Tensors or NumPy arrays."""
        return {"loss": sums["loss"] / sums["num_examples"]}

    def metrics_of_each(self, sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns `metrics` of each of many groups of examples, given their sums [groups, …]: float64 [groups] by metric."""
        if is_of_fedlab(type(self).metrics.__module__):  # which takes arrays, with the bits of single numbers
            return dict(self.metrics(sums))
        numbers = sums["num_examples"].tolist()
        each = [self.metrics({**{name: sums[name][i] for name in sums}, "num_examples": n}) for i, n in enumerate(numbers)]
        return {name: np.array([float(one[name]) for one in each], np.float64) for name in (each[0] if each else ())}

    def training_metrics(self, sums: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns `metrics` of sums in training, whose loss is the value that training minimises."""
        found = self.metrics(sums)
        return found if self.minimised is None else {**found, "loss": sums["loss"] / sums["num_examples"]}

    def further(self, name: str) -> tuple[Further, ...]:
        """Returns the metrics that `name`, an entry of `evaluation.metrics`, means for this task; () if it means none.

        Raises `ConfigError` for a name that is useless for this data.
        """
        return ()

    def check_further(self, examples: Examples) -> None:
        """Raises `DataError` for a test set on which a metric of `also` is undefined."""

    def test_metrics(self, predictions: np.ndarray, y: np.ndarray) -> dict[str, float]:
        """Returns the metrics of `also`; NaN for one that is undefined. `predictions` [N, …]: as below; `y` [N, …]."""
        return {metric.name: computed(metric, predictions, y) for metric in self.also}

    def predictions(self, outputs: tf.Tensor) -> tf.Tensor:
        """Returns the predictions that a differential test compares: [n, …]; with classes, their probabilities."""
        return outputs

    def exported(self, model: tf.keras.Model) -> tf.keras.Model:
        """Returns the model that a finished run saves as model.keras."""
        return model


def power(base: Any, exponent: Any) -> Any:
    """Returns `base` ** `exponent`. Of NumPy arrays it has the bits of single numbers, which NumPy's loops over arrays round in
    another way."""
    arrays = [value for value in (base, exponent) if isinstance(value, np.ndarray) and value.ndim]
    if not arrays:
        return base**exponent
    pairs = zip(*(np.broadcast_to(value, arrays[0].shape).ravel() for value in (base, exponent)))
    return np.array([x**y for x, y in pairs]).reshape(arrays[0].shape)
