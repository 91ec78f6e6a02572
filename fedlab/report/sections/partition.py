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
    return section(
        "data",
        "Data and partition",
        "sections/partition.html",
        data=data,
        partition=partition,
        labels=_labels(data),
        map=heat_map(clients) if clients and clients[0].counts else None,
        picture=picture,
    )


def _labels(data: dict) -> str:
    """Returns the first classes with their labels in the data, such as "0 is cat, 1 is dog"; "" if the data has plain numbers."""
    task = data.get("task")
    labels = task.get("labels") if isinstance(task, dict) else None
    if not isinstance(labels, list):
        return ""
    return ", ".join(f"{i} is {label}" for i, label in enumerate(labels[:_LABELS])) + (", …" if len(labels) > _LABELS else "")


def _encoded(run: Run) -> str:
    return base64.b64encode(run.folder.partition.read_bytes()).decode()
