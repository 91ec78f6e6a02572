"""The task of a run, from its manifest: its metrics, their display, and the one that ranks runs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from fedlab.archive.folder import RunFolder
from fedlab.fingerprint import parsed_json
from fedlab.measures import MEASURES_OF_CLASSIFICATION, Measures, Metric

_KINDS = {
    "test_": "test ",
    "best_test_": "best round, test ",
    "train_": "training ",
    "client_": "clients, ",
    "unseen_client_": "unseen clients, ",
    "global_test_": "global model, test ",
    "global_client_": "global model, clients, ",
}
_OVER_CLIENTS = {
    "mean": "{}, mean",
    "p10": "{}, 10th percentile",
    "p90": "{}, 90th percentile",
    "worst": "{}, worst client",
    "best": "{}, best client",
    "undefined": "{}, number of clients without it",
    "std": "{}, standard deviation",
    "weighted": "{}, mean over examples",
}
_NAME = re.compile(rf"({'|'.join(_KINDS)})(\w+?)(?:_({'|'.join(_OVER_CLIENTS)}))?")


@dataclasses.dataclass(frozen=True)
class Learned(Measures):
    """The task of a run."""

    @property
    def ranking(self) -> Metric:
        """Returns the headline metric; the loss if there is none."""
        return self.metrics.get(self.headline or "loss", Metric("loss"))

    def metric(self, name: str) -> Metric | None:
        """Returns the metric to which `name`, such as test_accuracy or client_accuracy_p10, belongs; None for other names."""
        found = _NAME.fullmatch(name)
        metric = self.metrics.get(found[2]) if found and found[3] != "undefined" else None
        return dataclasses.replace(metric, more_is_better=False) if found and metric and found[3] == "std" else metric

    def label(self, name: str) -> str | None:
        """Returns the name in words; None for a name that is no metric of the task."""
        found = _NAME.fullmatch(name)
        metric = self.metrics.get(found[2]) if found else None
        if not found or not metric:
            return None
        return _OVER_CLIENTS.get(found[3], "{}").format(_KINDS[found[1]] + metric.label)

    @property
    def first(self) -> list[str]:
        """Returns the metrics that are shown first, in order."""
        headline = self.headline or "loss"
        tenth = "p10" if self.ranking.more_is_better else "p90"
        others = [f"test_{name}" for name in self.metrics if name not in (headline, "loss")]
        over_clients = [f"client_{headline}_{which}" for which in ("mean", tenth, "worst")]
        return list(dict.fromkeys([f"test_{headline}", "test_loss", *over_clients, *others]))


CLASSIFICATION = Learned(**vars(MEASURES_OF_CLASSIFICATION))


def learned(manifest: Mapping[str, Any]) -> Learned:
    """Returns the task in a manifest; runs of an older fedlab have none there, and classify."""
    return described((manifest.get("data") or {}).get("task"))


def learned_in(folder: RunFolder) -> Learned:
    """Returns the task of the run in `folder`, which has a manifest."""
    return learned(parsed_json(folder.manifest.read_text()))


def described(task: Mapping[str, Any] | None) -> Learned:
    """Returns a task from the output of `fedlab.tasks.Task.described`; None: classification."""
    if not isinstance(task, Mapping):
        return CLASSIFICATION
    try:
        metrics = {name: Metric(**metric) for name, metric in task["metrics"].items()}
        return Learned(str(task["name"]), task["headline"], metrics)
    except (TypeError, KeyError, AttributeError):
        return CLASSIFICATION
