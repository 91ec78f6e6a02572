"""Deliberate bugs and shifts in users' data. A corruption is called as `corruption(dataset, partition, seed) -> Dataset`."""

from fedlab.corruption.base import Corruption, without_held_out
from fedlab.corruption.kinds import Blur, Function, Inversion, LabelFlip, NoCorruption, Occlusion
from fedlab.corruption.shift import FeatureNoise, Rotation, Shift

__all__ = [
    "Blur",
    "Corruption",
    "FeatureNoise",
    "Function",
    "Inversion",
    "LabelFlip",
    "NoCorruption",
    "Occlusion",
    "Rotation",
    "Shift",
    "without_held_out",
]
