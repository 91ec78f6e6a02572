"""The folder of one run: the names of its files, and functions to write them.

Nearly every file of a run contains or shows clients' data: models, states, the server's view, tables and pictures per client,
exact metrics. Therefore only the owner may read it: files have mode 0600, folders 0700.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
import re
import shutil
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from fedlab.archive.lock import is_held
from fedlab.errors import FedlabError
from fedlab.fingerprint import parsed_json

_BEGINNING = ".partial-manifest-"  # followed by the writer


class RunFolder:
    """The names of a run's files. A file appears under its name only once it is complete, except metrics.jsonl, which grows."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.manifest = path / "manifest.json"  # the run's configuration, data, environment and end
        self.config = path / "config.yaml"  # the resolved configuration, for people
        self.metrics = path / "metrics.jsonl"  # a line per round
        self.metrics_csv = path / "metrics.csv"  # the same as a table
        self.summary = path / "summary.json"  # final metrics
        self.checkpoints = path / "checkpoints"
        self.noise_key = path / "noise.key"  # where ε is claimed: the source of the noise; see `fedlab.archive.noise_key`
        self.observed = path / "observed"  # the server's view of chosen rounds
        self.model = path / "model.keras"  # after the last round
        self.best_model = path / "model_best.keras"  # of the best evaluated round, with keep.best
        self.curves = path / "curves.png"
        self.partition = path / "partition.png"
        self.labels = path / "partition.csv"  # number of examples of each class per client
        self.corruption = path / "corruption.csv"  # the users whose data has the bug: the ground truth, read only for scoring
        self.clients = path / "clients.csv"  # the final model's metrics on each client's own examples
        self.client_models = path / "client_models"  # a table per measured round: metrics of each client's model
        self.unseen_clients = path / "unseen_clients.csv"  # metrics per client that is never trained
        self.local_models = path / "local_models.csv"  # without federation: test metrics of each client's own model
        self.images = path / "images"  # pictures that a run makes: PNGs, and animated GIFs
        self.samples = path / "samples.npz"  # images from a generator
        self.weights = path / "weights.npz"  # of a process that trains no model
        self.tensorboard = path / "tensorboard"
        self.report = path / "report.html"
        self.ledger = path / "privacy.csv"  # example-level privacy: the ε that each client's examples have spent
        self.inventory = path / "inventory.json"  # the seal of a run that has ended, see `fedlab.archive.inventory`
        self.lock = path / ".lock"  # held by the process that writes here
        self._before: frozenset[str] = frozenset()  # files that were here before the run and do not belong to it

    def arm(self, name: str) -> RunFolder:
        """Returns the folder of one of the run's arms; its files have the names of an ordinary run's."""
        folder = RunFolder(self.path / "arms" / name)
        make_folder(folder.path)
        return folder

    @classmethod
    def create(cls, path: pathlib.Path, manifest: Mapping[str, Any]) -> RunFolder:
        """Claims `path` with a manifest, or `path`-2, -3, … if a run of the same second has claimed it. Raises `FedlabError`."""
        for attempt in range(1, 1000):
            candidate = path if attempt == 1 else path.with_name(f"{path.name}-{attempt}")
            try:
                make_folder(candidate)
                before = frozenset(os.listdir(candidate))
                if "config.yaml" in before:
                    continue
                if not before:  # no other run's, but Hydra may have made it
                    candidate.chmod(0o700)
                folder = cls(candidate)
                folder.claim(manifest)
                folder._before = before
                return folder
            except FileExistsError:
                if candidate.exists() and not candidate.is_dir():
                    raise FedlabError(f"the run folder {candidate} is a file: move it, or set hydra.run.dir=FOLDER.") from None
            except OSError as error:
                raise FedlabError(
                    f"cannot write the run folder {candidate} ({error.strerror}): set hydra.run.dir=FOLDER."
                ) from error
        raise FedlabError(f"cannot find a free run folder beside {path}.")

    def claim(self, manifest: Mapping[str, Any]) -> None:
        """Makes this the folder of a run, atomically. Raises `FileExistsError` if it already belongs to a run."""
        partial = self.path / f"{_BEGINNING}{os.getpid()}-{threading.get_ident()}"
        try:
            with open(partial, "w", opener=private) as file:
                file.write(_as_json(manifest))
            to_disk(partial)
            try:
                os.link(partial, self.manifest)  # exclusive, unlike a rename: only one run gets the name
            except FileExistsError:
                raise
            except OSError:  # a file system without hard links
                with open(self.manifest, "x", opener=private) as file:
                    file.write(_as_json(manifest))
            to_disk(self.path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def existing(cls, path: pathlib.Path) -> RunFolder:
        """Returns the folder of a run that has begun. Raises `FedlabError` if there is none."""
        if not path.exists():
            raise FedlabError(f"no such run: {path} does not exist. `fedlab runs` lists the runs there are.")
        if not path.is_dir():
            raise FedlabError(f"no such run: {path} is a file; a run is a folder with a manifest.json in it.")
        folder = cls(path)
        if not folder.manifest.is_file() and folder.inventory.is_file():
            raise FedlabError(f"{path} is damaged: manifest.json is missing. Restore it from a copy, or train again.")
        if folder.never_began:
            raise FedlabError(f"{folder.why_never_began()}.")
        if not folder.manifest.is_file():
            below = min((*path.glob("*/manifest.json"), *path.glob("*/*/manifest.json")), default=None)
            if below is not None:
                raise FedlabError(f"{path} is a folder of runs, not a run: name one of them, such as {below.parent}.")
            raise FedlabError(f"no such run: {path} holds no manifest.json. `fedlab runs` lists the runs there are.")
        return folder

    def discard(self) -> None:
        """Removes the files of a run that never began, and the folder if nothing else is in it."""
        _remove(path for path in self.path.iterdir() if path.name not in self._before)
        if self.path.resolve() != pathlib.Path.cwd():
            with contextlib.suppress(OSError):
                self.path.rmdir()

    @property
    def never_began(self) -> bool:
        """Returns True if a run, also of an older fedlab, was killed here before it had a manifest or computed anything."""
        if self.manifest.exists() or self.inventory.exists() or is_held(self.lock):
            return False
        try:
            names = os.listdir(self.path)
            if not names:  # created, and nothing written yet
                return re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(-\d+)?", self.path.name) is not None
            return any(name.startswith(_BEGINNING) for name in names) or _first_line(self.config).startswith("# fedlab ")
        except OSError:
            return False

    def why_never_began(self) -> str:
        """Returns the error message: the cause and the remedy."""
        first, again = _first_line(self.config), "train again"
        if first.startswith("# fedlab "):
            again = f"run the command again: {first[2:]}"
        return f"{relative(self.path)}: a run was killed before it began, and computed nothing: remove this folder, and {again}"

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Writes summary.json; a metric that is not finite, such as R² of equal targets, is null."""
        write_json(self.summary, finite(summary))


def private(path: str, flags: int) -> int:
    """Opens for `open` (its `opener`): a file that it creates has mode 0600, whatever the umask."""
    return os.open(path, flags, 0o600)


def make_folder(path: pathlib.Path) -> pathlib.Path:
    """Creates `path` with mode 0700, and the missing folders above it, unless it exists."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


class replacing:
    """`with replacing(path) as partial:` write to `partial`, which becomes `path` if the block ends without an error.

    After a power failure the old file or the new one is there, never a part of it. Its mode is 0600, also while it is written.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        self.partial = path.with_name(f".partial-{path.name}")

    def __enter__(self) -> pathlib.Path:
        open(self.partial, "w", opener=private).close()
        self.partial.chmod(0o600)  # a file that a killed process has left
        return self.partial

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self.partial.chmod(0o600)  # the block may have replaced the file
                to_disk(self.partial)
                os.replace(self.partial, self._path)
                to_disk(self._path.parent)
        finally:
            self.partial.unlink(missing_ok=True)


def relative(path: pathlib.Path) -> str:
    """Returns `path` relative to the current folder if it lies below it."""
    try:
        return str(path.resolve().relative_to(pathlib.Path.cwd()))
    except ValueError:
        return str(path)


def write_json(path: pathlib.Path, value: Any) -> None:
    """Replaces `path` by `value` as indented JSON."""
    with replacing(path) as partial:
        partial.write_text(_as_json(value))


def write_text(path: pathlib.Path, text: str) -> pathlib.Path:
    """Replaces `path`, a file that the user named, by `text`; returns it. Raises `FedlabError` if it cannot be written."""
    try:
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FedlabError(f"cannot write {path} ({error.strerror}): name another file.") from error
    return path


def read_json(path: pathlib.Path, remedy: str = "") -> dict[str, Any]:
    """Reads a JSON object. Raises `FedlabError`, which ends with `remedy`, if the file is missing or damaged."""
    try:
        value = parsed_json(path.read_text())
        if isinstance(value, dict):
            return value
        why = "it holds no JSON object"
    except (OSError, ValueError) as error:
        why = str(error)
    raise FedlabError(f"{path} is damaged: {why}. {remedy}".rstrip())


def finite(value: Any) -> Any:
    """Returns `value` with null for every NaN and infinity in it, which JSON cannot express."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def _remove(paths: Iterable[pathlib.Path]) -> None:
    for path in list(paths):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _first_line(path: pathlib.Path) -> str:
    """Returns the first line of a text file; "" if there is no file."""
    try:
        with open(path, errors="replace") as file:
            return file.readline().rstrip("\n")
    except OSError:
        return ""


def to_disk(path: pathlib.Path) -> None:
    """Returns once the kernel has handed `path`, a file or a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
