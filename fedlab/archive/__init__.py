"""The files of a run: names, manifest, metrics, checkpoints, lock; writing and reading. Imports no TensorFlow."""

from fedlab.archive.folder import RunFolder, make_folder, private, replacing
from fedlab.archive.reading import Run, read_run, scan

__all__ = ["Run", "RunFolder", "make_folder", "private", "read_run", "replacing", "scan"]
