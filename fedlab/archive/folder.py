"""The folder of one run: the names of its files, and how they are written.

Nearly every file of a run holds or shows something of clients' data: models, states, what the server received, tables and
pictures per client, exact metrics. So its owner alone may read it: files have mode 0600, folders 0700.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
from typing import Any

from fedlab.errors import FedlabError


class RunFolder:
    """Names what a run leaves behind. A file appears under its name only once it is whole, but for metrics.jsonl, which grows."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.manifest = path / "manifest.json"  # what was run, on what, and how it ended
        self.config = path / "config.yaml"  # the resolved configuration, for people
        self.metrics = path / "metrics.jsonl"  # a line per round
        self.metrics_csv = path / "metrics.csv"  # the same as a table
        self.summary = path / "summary.json"  # final figures
        self.checkpoints = path / "checkpoints"
        self.noise_key = path / "noise.key"  # where ε is claimed: from what noise follows; see `fedlab.archive.noise_key`
        self.observed = path / "observed"  # what the server received in chosen rounds
        self.model = path / "model.keras"
        self.curves = path / "curves.png"
        self.partition = path / "partition.png"
        self.labels = path / "partition.csv"  # how many examples of each class each client holds
        self.corruption = path / "corruption.csv"  # whose data has the bug: the truth, read by what scores and by nothing else
        self.clients = path / "clients.csv"  # how the final model does on each client's own examples
        self.local_models = path / "local_models.csv"  # without federation: how each client's own model does on the test set
        self.images = path / "images"  # pictures that a run makes: PNGs, and GIFs of what moves
        self.samples = path / "samples.npz"  # images that a generator has made
        self.attacks = path / "attacks"  # what came of attacks on it
        self.tensorboard = path / "tensorboard"
        self.report = path / "report.html"
        self.difftest = path / "difftest.csv"  # how two arms differ on each client, round by round
        self.difftest_scores = path / "difftest_scores.csv"  # a sample of their scores in the last round
        self.ledger = path / "privacy.csv"  # example-level privacy: what each client's examples have paid
        self.inventory = path / "inventory.json"  # the seal of a run that has ended, see `fedlab.archive.inventory`
        self.lock = path / ".lock"  # held by the process that writes here

    def arm(self, name: str) -> RunFolder:
        """Where one of a run's arms leaves what is its own, under the names that it has in a run of its own."""
        folder = RunFolder(self.path / "arms" / name)
        make_folder(folder.path)
        return folder

    @classmethod
    def create(cls, path: pathlib.Path) -> RunFolder:
        """Claims `path`, or `path`-2, -3, … where another run of the same second has it. Raises `FedlabError`."""
        for attempt in range(1, 1000):
            candidate = path if attempt == 1 else path.with_name(f"{path.name}-{attempt}")
            try:
                make_folder(candidate)
                open(candidate / "config.yaml", "x", opener=private).close()  # exclusive: only one run gets the name
                if os.listdir(candidate) == ["config.yaml"]:  # nobody else's, but Hydra may have made it
                    candidate.chmod(0o700)
                return cls(candidate)
            except FileExistsError:
                if candidate.exists() and not candidate.is_dir():
                    raise FedlabError(f"the run folder {candidate} is a file: move it, or set hydra.run.dir=FOLDER.") from None
            except OSError as error:
                raise FedlabError(
                    f"cannot write the run folder {candidate} ({error.strerror}): set hydra.run.dir=FOLDER."
                ) from error
        raise FedlabError(f"cannot find a free run folder beside {path}.")

    @classmethod
    def existing(cls, path: pathlib.Path) -> RunFolder:
        """The folder of a run that has begun. Raises `FedlabError` where there is none."""
        if not path.exists():
            raise FedlabError(f"no such run: {path} does not exist. `fedlab runs` lists the runs there are.")
        if not path.is_dir():
            raise FedlabError(f"no such run: {path} is a file; a run is a folder with a manifest.json in it.")
        folder = cls(path)
        if not folder.manifest.is_file() and folder.inventory.is_file():
            raise FedlabError(f"{path} is damaged: manifest.json is missing. Restore it from a copy, or train again.")
        if not folder.manifest.is_file():
            raise FedlabError(f"no such run: {path} holds no manifest.json. `fedlab runs` lists the runs there are.")
        return folder

    def discard(self) -> None:
        """Removes what a run that never began has left."""
        shutil.rmtree(self.path)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Writes summary.json."""
        write_json(self.summary, summary)


def private(path: str, flags: int) -> int:
    """An `opener` for `open`: a file that it creates has mode 0600, whatever the umask."""
    return os.open(path, flags, 0o600)


def make_folder(path: pathlib.Path) -> pathlib.Path:
    """Makes `path`, unless it is there, and the folders above it that are missing; `path` itself with mode 0700."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


class replacing:
    """`with replacing(path) as partial:` write to `partial`, which becomes `path` when the block ends without an error.

    After a power failure there is the old file or the new one, never half of it. Its mode is 0600, also while it is written.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        self.partial = path.with_name(f".partial-{path.name}")

    def __enter__(self) -> pathlib.Path:
        open(self.partial, "w", opener=private).close()
        self.partial.chmod(0o600)  # one that a killed process has left
        return self.partial

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self.partial.chmod(0o600)  # what writes may have made a file of its own
                to_disk(self.partial)
                os.replace(self.partial, self._path)
                to_disk(self._path.parent)
        finally:
            self.partial.unlink(missing_ok=True)


def relative(path: pathlib.Path) -> str:
    """`path` from here, where it lies below."""
    try:
        return str(path.resolve().relative_to(pathlib.Path.cwd()))
    except ValueError:
        return str(path)


def write_json(path: pathlib.Path, value: Any) -> None:
    """Replaces `path` by `value` as indented JSON."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def to_disk(path: pathlib.Path) -> None:
    """Returns once the kernel has handed `path`, a file or a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
