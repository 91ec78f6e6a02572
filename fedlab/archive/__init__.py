"""What a run leaves on disk, and how it is read again: names, manifest, metrics, checkpoints, the lock. Imports no TensorFlow."""

from fedlab.archive.folder import RunFolder, make_folder, private, replacing
from fedlab.archive.reading import Run, read_run, scan

__all__ = ["Run", "RunFolder", "make_folder", "private", "read_run", "replacing", "scan"]
