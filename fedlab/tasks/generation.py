"""Generation: new images like those of the clients."""

from __future__ import annotations

from typing import ClassVar

from fedlab.tasks.base import Task


class Generation(Task):
    """A generator produces images and a discriminator classifies them as real or generated; targets are not used."""

    name: ClassVar[str] = "generation"
    trains_adversaries: ClassVar[bool] = True
