"""The data and its partition among the clients."""

from __future__ import annotations

import base64

from fedlab.archive import Run
from fedlab.archive.clients import read_labels
from fedlab.report.heat import heat_map
from fedlab.report.section import Section, section

_LABELS = 30  # classes that the page names


def build(run: Run) -> Section | None:
    """Returns the section with a heat map of clients and classes, or with the picture of a run without counts."""
    clients = read_labels(run.folder.labels)
    picture = "" if clients or not run.folder.partition.is_file() else _encoded(run)
    data, partition = run.manifest.get("data") or {}, run.manifest.get("partition") or {}
    if not clients and not picture and not data:
        return None
    labels = _labels(data)
    if labels and clients and len(labels) != len(clients[0].counts):
        labels = []  # of a manifest that was changed
    return section(
        "data",
        "Data and partition",
        "sections/partition.html",
        data=data,
        partition=partition,
        labels=", ".join(f"{i} is {label}" for i, label in enumerate(labels[:_LABELS]))
        + (", …" if len(labels) > _LABELS else ""),
        map=heat_map(clients, labels) if clients and clients[0].counts else None,
        picture=picture,
    )


def _labels(data: dict) -> list[str]:
    """Returns the labels of the classes in the data; [] if it has plain numbers."""
    task = data.get("task")
    labels = task.get("labels") if isinstance(task, dict) else None
    return list(map(str, labels)) if isinstance(labels, list) else []


def _encoded(run: Run) -> str:
    return base64.b64encode(run.folder.partition.read_bytes()).decode()
