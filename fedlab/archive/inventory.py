"""inventory.json: the seal of a run that has ended, by which its readers notice damage. It is the last file that a run writes.

inventory_version  1
sealed             when it was written, ISO 8601 in UTC
records            number of lines in metrics.jsonl
weights_hash       the last of them; null where there is none
files              {bytes, sha256} of each sealed file, by its path from the run's folder
sha256             of all of the above

All files that hold results are sealed. Not sealed are files that may change or be deleted: noise.key, checkpoints, which have
checksums of their own, report.html, logs, the files of TensorBoard and MLflow, the notes of a sweep. A run that goes on removes
its inventory first. It detects accidents; it is no signature: whoever changes files on purpose can write another.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fedlab.archive.folder import RunFolder, relative, write_json
from fedlab.archive.manifest import now
from fedlab.archive.metrics import read_records
from fedlab.errors import FedlabError

VERSION = 1
_SEALED = {".json", ".jsonl", ".yaml", ".csv", ".keras", ".npz", ".png", ".gif"}
_NOT_SEALED = {"inventory.json", "job.json"}
_MOST_NAMED = 3
_CHUNK_BYTES = 1 << 20

FileStat = tuple[int, int, int]  # inode, time of the last change in nanoseconds, bytes


class DamagedRun(FedlabError):
    """A run whose files are not as it left them."""


@dataclasses.dataclass(frozen=True)
class Inventory:
    """What a run has left. `files`: (bytes, SHA-256) by path from the run's folder."""

    records: int
    weights_hash: str | None
    files: Mapping[str, tuple[int, str]]

    def damage(self, folder: pathlib.Path, hashed: Callable[[str], bool]) -> list[str]:
        """A remark per file that is missing or has another size; or another content, for the paths that are `hashed`."""
        found = ((name, _damage(folder / name, *self.files[name], hashed(name))) for name in sorted(self.files))
        return [f"{name} {what}" for name, what in found if what]


def seal(folder: RunFolder) -> None:
    """Writes the inventory of all sealed files, as they are."""
    _write(folder, {})


def break_seal(folder: RunFolder) -> None:
    """Removes the inventory of a run that goes on."""
    folder.inventory.unlink(missing_ok=True)


@contextlib.contextmanager
def amending(folder: RunFolder) -> Iterator[None]:
    """Brings the inventory up to date with the files that the block writes; what it does not write keeps its entry.

    Does nothing for a run without an inventory.
    """
    sealed = read(folder)
    before = {name: _stat(path) for name, path in _sealed(folder.path)}
    try:
        yield
    finally:
        if sealed is not None:
            after = {name: _stat(path) for name, path in _sealed(folder.path)}
            _write(folder, {name: entry for name, entry in sealed.files.items() if before.get(name) == after.get(name)})


def read(folder: RunFolder) -> Inventory | None:
    """None where there is no inventory. Raises `DamagedRun` where it is damaged."""
    path = folder.inventory
    try:
        content = json.loads(path.read_text())
        if content["inventory_version"] != VERSION:
            raise FedlabError(
                f"{relative(path)} is of version {content['inventory_version']}, this fedlab reads version {VERSION}: update it."
            )
        if content.pop("sha256") != _sha256_of(content):
            raise DamagedRun(f"{relative(path)} is damaged: its checksum does not match its content. {_REMEDY}")
        files = {name: (entry["bytes"], entry["sha256"]) for name, entry in content["files"].items()}
        return Inventory(content["records"], content["weights_hash"], files)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing from it" if isinstance(error, KeyError) else str(error)
        raise DamagedRun(f"{relative(path)} is damaged: {reason}. {_REMEDY}") from error


_REMEDY = "Restore it from a copy, or train again."


def damaged(path: pathlib.Path, remarks: list[str]) -> DamagedRun:
    """The error about the run in `path`, in one line."""
    more = [f"{len(remarks) - _MOST_NAMED} more files"] if len(remarks) > _MOST_NAMED else []
    return DamagedRun(f"{relative(path)} is damaged: {'; '.join([*remarks[:_MOST_NAMED], *more])}. {_REMEDY}")


def _write(folder: RunFolder, kept: Mapping[str, tuple[int, str]]) -> None:
    """`kept`: entries of files that are not looked at again; of a file that is gone, so that its loss is noticed."""
    entries = {name: kept.get(name) or (path.stat().st_size, _sha256(path)) for name, path in _sealed(folder.path)}
    entries = {**kept, **entries}
    records = read_records(folder.metrics)
    content: dict[str, Any] = {
        "inventory_version": VERSION,
        "sealed": now(),
        "records": len(records),
        "weights_hash": records[-1].get("weights_hash") if records else None,
        "files": {name: {"bytes": entries[name][0], "sha256": entries[name][1]} for name in sorted(entries)},
    }
    write_json(folder.inventory, {**content, "sha256": _sha256_of(content)})


def _sealed(folder: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    """Path from `folder`, and path, of each file to be sealed."""
    for parent, below, files in os.walk(folder):
        below[:] = [name for name in below if not name.startswith(".")]
        for name in files:
            path = pathlib.Path(parent, name)
            if path.suffix in _SEALED and name not in _NOT_SEALED and not name.startswith("."):
                yield path.relative_to(folder).as_posix(), path


def _damage(path: pathlib.Path, size: int, sha256: str, hashed: bool) -> str | None:
    try:
        found = path.stat().st_size
        if found != size:
            return f"has {found:,} bytes, and had {size:,}" if found else f"is empty, and had {size:,} bytes"
        return "has another content (SHA-256)" if hashed and _sha256(path) != sha256 else None
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _stat(path: pathlib.Path) -> FileStat:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _sha256(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _sha256_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
