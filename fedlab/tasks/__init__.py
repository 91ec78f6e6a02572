"""Tasks: the learning objective of a run. The data declares its task. This module imports no TensorFlow."""

from fedlab.measures import Metric
from fedlab.tasks.base import Prediction, Task
from fedlab.tasks.classification import Classification
from fedlab.tasks.generation import Generation
from fedlab.tasks.losses import Loss, TaskLoss
from fedlab.tasks.metrics import OwnMetric
from fedlab.tasks.multi_label import MultiLabel
from fedlab.tasks.next_token import NextToken
from fedlab.tasks.regression import Regression
from fedlab.tasks.unmeasured import Unmeasured

__all__ = [
    "Classification",
    "Generation",
    "Loss",
    "Metric",
    "MultiLabel",
    "NextToken",
    "OwnMetric",
    "Prediction",
    "Regression",
    "Task",
    "TaskLoss",
    "Unmeasured",
]
