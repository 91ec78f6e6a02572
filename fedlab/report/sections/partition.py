"""The data and its partition among the clients."""

from __future__ import annotations

import base64

import numpy as np

from fedlab.archive import Run
from fedlab.archive.clients import Labels, read_labels
from fedlab.report.distribution import is_many, whole_histogram
from fedlab.report.heat import heat_map
from fedlab.report.plot import Plot
from fedlab.report.section import Section, section

_LABELS = 30  # classes that the page names


def build(run: Run) -> Section | None:
    """Returns the section with a heat map of clients and classes, or with the picture of a run without counts.

    Of more than 10,000 clients it has the distributions of their examples and classes instead of the heat map.
    """
    clients = read_labels(run.folder.labels)
    picture = "" if len(clients) or not run.folder.partition.is_file() else _encoded(run)
    data, partition = run.manifest.get("data") or {}, run.manifest.get("partition") or {}
    if not len(clients) and not picture and not data:
        return None
    labels = _labels(data)
    if labels and len(clients) and len(labels) != clients.counts.shape[1]:
        labels = []  # of a manifest that was changed
    return section(
        "data",
        "Data and partition",
        "sections/partition.html",
        data=data,
        partition=partition,
        labels=", ".join(f"{i} is {label}" for i, label in enumerate(labels[:_LABELS]))
        + (", …" if len(labels) > _LABELS else ""),
        map=heat_map(clients, labels) if clients.counts.size and not is_many(len(clients)) else None,
        plots=_distributions(clients) if clients.counts.size and is_many(len(clients)) else [],
        picture=picture,
    )


def _distributions(clients: Labels) -> list[Plot]:
    """Returns the histograms of the examples and of the classes of each client."""
    sizes, classes = clients.counts.sum(1, dtype=np.int64), np.count_nonzero(clients.counts, axis=1)
    return [
        whole_histogram(sizes, "Examples per client", "examples on the client"),
        whole_histogram(classes, "Classes per client", "different classes on the client"),
    ]


def _labels(data: dict) -> list[str]:
    """Returns the labels of the classes in the data; [] if it has plain numbers."""
    task = data.get("task")
    labels = task.get("labels") if isinstance(task, dict) else None
    return list(map(str, labels)) if isinstance(labels, list) else []


def _encoded(run: Run) -> str:
    return base64.b64encode(run.folder.partition.read_bytes()).decode()
