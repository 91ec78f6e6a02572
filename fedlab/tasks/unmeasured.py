"""Training whose only metrics are those that the process computes itself."""

from __future__ import annotations

from typing import ClassVar

from fedlab.tasks.base import Task


class Unmeasured(Task):
    """A process trains something that fedlab cannot evaluate, such as centroids, on any data."""

    name: ClassVar[str] = "training without evaluation"
