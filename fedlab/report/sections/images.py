"""Pictures that a run made: the PNGs in its folder images/, in the order of their names."""

from __future__ import annotations

import base64
import dataclasses
import pathlib
import re
import struct
from typing import Optional

from fedlab.archive import Run
from fedlab.report.section import Section, section

MAX_BYTES = 1_000_000  # of all pictures together, so that a page stays one that can be mailed
_PIXELS = 96  # a picture narrower than this is enlarged without smoothing


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG for an `img` element."""

    caption: str
    data: str  # base64
    width: int
    height: int

    @property
    def small(self) -> bool:
        return self.width < _PIXELS


def build(run: Run) -> Optional[Section]:
    """None where there are no pictures. Those for which there is no room are named."""
    paths = sorted(run.folder.images.rglob("*.png"), key=lambda p: _natural(str(p.relative_to(run.folder.images))))
    if not paths:
        return None
    pictures, left_out, room = [], [], MAX_BYTES
    for path in paths:
        content = path.read_bytes()
        size = _size(content)
        if size is None or len(content) > room:
            left_out.append(str(path.relative_to(run.path)))
            continue
        room -= len(content)
        pictures.append(Picture(caption(path, run.folder.images), base64.b64encode(content).decode(), *size))
    return section("images", "Pictures", "sections/images.html", pictures=pictures, left_out=left_out)


def caption(path: pathlib.Path, root: pathlib.Path) -> str:
    """The file's name in words: "reconstruction_client_3.png" is "reconstruction client 3"."""
    return re.sub(r"[_\-]+", " ", " / ".join(path.relative_to(root).with_suffix("").parts)).strip()


def _natural(name: str) -> list:
    """So that round_9 comes before round_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _size(content: bytes) -> Optional[tuple[int, int]]:
    """(width, height) from the header of a PNG; None for what is none."""
    if len(content) < 24 or not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    return struct.unpack(">II", content[16:24])
