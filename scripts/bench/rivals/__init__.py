"""Other frameworks that do the workloads of `bench.py rounds`: their programs, which run in environments of their own."""

from __future__ import annotations

import dataclasses
import pathlib


@dataclasses.dataclass(frozen=True)
class Rival:
    """A program of this folder, which reads an exercise and writes seconds and weights (see `exercise.py`)."""

    title: str
    environment: str  # a folder that environments.sh makes
    program: str  # relative to this folder
    workloads: tuple[str, ...]  # that it can do

    def python(self, environments: pathlib.Path) -> pathlib.Path:
        return environments / self.environment / "bin" / "python"

    def command(self, environments: pathlib.Path) -> list[str]:
        """Without the paths of the exercise and the results, which follow."""
        return [str(self.python(environments)), str(pathlib.Path(__file__).parent / self.program)]


_IMAGES = ("W1", "W2", "W3", "W4")
RIVALS = {
    "torch": Rival("PyTorch loop", "torch", "torch_rounds.py", (*_IMAGES, "S1", "L1", "R1")),
    "pfl": Rival("pfl-research", "torch", "pfl_rounds.py", (*_IMAGES, "S1", "L1", "R1")),
    "fedjax": Rival("FedJAX", "jax", "fedjax_rounds.py", (*_IMAGES, "L1")),
}
