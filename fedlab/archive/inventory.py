"""inventory.json: the checksums of a run that has ended, which reveal damage. A run writes this file last.

inventory_version  1
sealed             time of writing, ISO 8601 in UTC
records            number of lines in metrics.jsonl
weights_hash       the weights_hash of the last record; null if there is none
files              {bytes, sha256} of each sealed file, by its path from the run's folder
sha256             of all entries above

All files with results are sealed. Files that may change or be deleted are not sealed: noise.key, checkpoints (which have their
own checksums), report.html, logs, the files of TensorBoard and MLflow, the notes of a sweep. A run that continues removes its
inventory first. The inventory detects accidents; it is no signature: an attacker who changes files can also replace it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fedlab.archive.folder import RunFolder, relative, write_json
from fedlab.archive.manifest import now
from fedlab.archive.metrics import read_records
from fedlab.errors import FedlabError
from fedlab.fingerprint import file_fingerprint, json_fingerprint, parsed_json

VERSION = 1
_SEALED = {".json", ".jsonl", ".yaml", ".csv", ".keras", ".npz", ".png", ".gif"}
_NOT_SEALED = {"inventory.json", "job.json"}
_MOST_NAMED = 3

FileStat = tuple[int, int, int]  # inode, time of the last change in nanoseconds, bytes


class DamagedRun(FedlabError):
    """A run whose files have changed since it ended."""


@dataclasses.dataclass(frozen=True)
class Inventory:
    """The recorded files of a run. `files`: (bytes, SHA-256) by path from the run's folder."""

    records: int
    weights_hash: str | None
    files: Mapping[str, tuple[int, str]]

    def damage(self, folder: pathlib.Path, hashed: Callable[[str], bool]) -> list[str]:
        """Returns a remark per file that is missing or has another size, or, for the paths that are `hashed`, another content."""
        found = ((name, _damage(folder / name, *self.files[name], hashed(name))) for name in sorted(self.files))
        return [f"{name} {what}" for name, what in found if what]


def seal(folder: RunFolder) -> None:
    """Writes the inventory of all sealed files in their present state."""
    _write(folder, {})


def break_seal(folder: RunFolder) -> None:
    """Removes the inventory of a run that continues."""
    folder.inventory.unlink(missing_ok=True)


@contextlib.contextmanager
def amending(folder: RunFolder) -> Iterator[None]:
    """Updates the inventory for the files that the block writes; all others keep their entries.

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
    """Reads the inventory; None if there is none. Raises `DamagedRun` if it is damaged."""
    path = folder.inventory
    try:
        content = parsed_json(path.read_text())
        if content["inventory_version"] != VERSION:
            raise FedlabError(
                f"{relative(path)} is of version {content['inventory_version']}, this fedlab reads version {VERSION}: update it."
            )
        if content.pop("sha256") != json_fingerprint(content):
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
    """Returns the error about the run in `path`, in one line."""
    more = [f"{len(remarks) - _MOST_NAMED} more files"] if len(remarks) > _MOST_NAMED else []
    return DamagedRun(f"{relative(path)} is damaged: {'; '.join([*remarks[:_MOST_NAMED], *more])}. {_REMEDY}")


def _write(folder: RunFolder, kept: Mapping[str, tuple[int, str]]) -> None:
    """Writes the inventory. `kept`: entries that are not computed again; a missing file keeps its entry, so that its loss is
    noticed.
    """
    entries = {name: kept.get(name) or (path.stat().st_size, file_fingerprint(path)) for name, path in _sealed(folder.path)}
    entries = {**kept, **entries}
    records = read_records(folder.metrics)
    content: dict[str, Any] = {
        "inventory_version": VERSION,
        "sealed": now(),
        "records": len(records),
        "weights_hash": records[-1].get("weights_hash") if records else None,
        "files": {name: {"bytes": entries[name][0], "sha256": entries[name][1]} for name in sorted(entries)},
    }
    write_json(folder.inventory, {**content, "sha256": json_fingerprint(content)})


def _sealed(folder: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    """Yields each file to be sealed: its path from `folder`, and its path."""
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
        return "has another content (SHA-256)" if hashed and file_fingerprint(path) != sha256 else None
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _stat(path: pathlib.Path) -> FileStat:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
