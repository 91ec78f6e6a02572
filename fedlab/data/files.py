"""Published data files: a file is read only if its checksum is right, and downloads get their final name only then."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.client
import io
import os
import pathlib
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from fedlab.errors import DataError

Progress = Callable[[str, int, int | None], None]  # path of the file, bytes so far, total bytes if known

CHUNK_BYTES = 1 << 18
TIMEOUT_SECONDS = 30


@dataclasses.dataclass(frozen=True)
class DataFile:
    """A file as its authors published it."""

    path: str  # below the data directory
    algorithm: str  # "md5" if its authors published that, else "sha256"
    digest: str  # lower-case hex
    urls: tuple[str, ...]  # mirrors of the same bytes, tried in this order

    def digest_of(self, content: bytes) -> str:
        return hashlib.new(self.algorithm, content, usedforsecurity=False).hexdigest()

    def read(self, folder: pathlib.Path) -> bytes:
        """Returns the content of the file below `folder`. Raises `DataError` if it is missing or not the published file."""
        try:
            content = (folder / self.path).read_bytes()
        except FileNotFoundError:
            raise DataError(f"{self.path} is missing") from None
        except OSError as error:
            raise DataError(f"{self.path} cannot be read ({error.strerror})") from None
        if self.digest_of(content) != self.digest:
            raise DataError(
                f"{self.path} is truncated or not the published file"
                f" ({self.algorithm} {self.digest_of(content)}, published {self.digest})"
            )
        return content

    def is_good(self, folder: pathlib.Path) -> bool:
        """Returns True if the published file is below `folder`."""
        try:
            self.read(folder)
        except DataError:
            return False
        return True

    def download(self, folder: pathlib.Path, progress: Progress) -> None:
        """Downloads the file into `folder` from the first URL that works. Raises `DataError` if none does.

        The file gets its final name once its checksum is right; an interrupted download leaves nothing behind.
        """
        failures = []
        for url in self.urls:
            try:
                return self._download(url, folder / self.path, progress)
            except (OSError, http.client.HTTPException, DataError) as error:
                failures.append(f"{url}: {getattr(error, 'reason', None) or error}")
        raise DataError(f"{self.path} could not be downloaded ({'; '.join(failures)})")

    def unpack(self, folder: pathlib.Path, members: Sequence[DataFile]) -> None:
        """Writes `members` below `folder`, from this tar archive there, which has files of these names, in any folder.

        Raises `DataError` for a member that is missing or differs.
        """
        contents = {}
        try:
            with tarfile.open(fileobj=io.BytesIO(self.read(folder))) as archive:
                for entry in archive:
                    found = archive.extractfile(entry) if entry.isfile() else None
                    if found is not None:
                        contents[pathlib.PurePosixPath(entry.name).name] = found.read()
        except tarfile.TarError as error:
            raise DataError(f"{self.path} is not a readable archive ({error})") from None
        for member in members:
            content = contents.get(pathlib.PurePosixPath(member.path).name)
            if content is None:
                raise DataError(f"{self.path} does not contain {pathlib.PurePosixPath(member.path).name}")
            if member.digest_of(content) != member.digest:
                raise DataError(f"{member.path} from {self.path} is not the published file ({member.algorithm} differs)")
            with _arriving(folder / member.path) as out:
                out.write(content)

    def _download(self, url: str, target: pathlib.Path, progress: Progress) -> None:
        checksum = hashlib.new(self.algorithm, usedforsecurity=False)
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
            length = response.headers.get("Content-Length")
            with _arriving(target) as out:
                for chunk in iter(lambda: response.read(CHUNK_BYTES), b""):
                    out.write(chunk)
                    checksum.update(chunk)
                    progress(self.path, out.tell(), int(length) if length else None)
                if checksum.hexdigest() != self.digest:
                    raise DataError(f"{self.algorithm} {checksum.hexdigest()}, published {self.digest}")


@contextlib.contextmanager
def _arriving(target: pathlib.Path) -> Iterator[BinaryIO]:
    """Yields a file that gets the name `target` at the end, and is deleted if an error occurs."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
        os.chmod(part, 0o644)  # mkstemp lets only the owner read; a data directory may be shared
        os.replace(part, target)
    except BaseException:
        os.unlink(part)
        raise
