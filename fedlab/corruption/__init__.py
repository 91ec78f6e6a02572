"""Deliberate bugs in some users' data. A corruption is called as `corruption(dataset, partition, seed) -> Dataset`."""

from fedlab.corruption.base import Corruption
from fedlab.corruption.kinds import Blur, Function, Inversion, LabelFlip, NoCorruption, Occlusion

__all__ = ["Blur", "Corruption", "Function", "Inversion", "LabelFlip", "NoCorruption", "Occlusion"]
