"""Lets one process at a time write to a run folder.

The lock is the kernel's (flock), so it ends with the process that has it, in any case; the file only names that process.
"""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import socket
import time
from typing import Any

from fedlab.errors import FedlabError
from fedlab.fingerprint import parsed_json


class RunLock:
    """`with RunLock(folder.lock):` raises `FedlabError`, which names the holder, if another process has the lock."""

    def __init__(self, path: pathlib.Path, patience_seconds: float = 0.0):
        self._path, self._patience = path, patience_seconds
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise FedlabError(f"cannot write in the run folder {self._path.parent} ({error.strerror}).") from error
        deadline = time.monotonic() + self._patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                who = holder(self._path) or {}
                os.close(descriptor)
                raise FedlabError(
                    f"{self._path.parent} is being written by process {who.get('pid', '?')} on {who.get('host', '?')}, "
                    f"started {who.get('started', '?')}: wait for it, or end it."
                ) from None
        os.ftruncate(descriptor, 0)
        who = {"pid": os.getpid(), "host": socket.gethostname(), "started": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.write(descriptor, json.dumps(who).encode())
        self._descriptor = descriptor
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_held(path: pathlib.Path) -> bool:
    """Returns True if a living process has the lock at `path`."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(descriptor)


def holder(path: pathlib.Path) -> dict[str, Any] | None:
    """Returns the last holder's entry: `pid`, `host`, `started`."""
    try:
        return parsed_json(path.read_text())
    except (OSError, ValueError):
        return None
