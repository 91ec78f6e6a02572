"""The pictures in the folder images/ of a run: first the animated GIFs, then the PNGs, each in the order of their names."""

from __future__ import annotations

import base64
import dataclasses
import pathlib
import re
import struct
from collections.abc import Sequence

from fedlab import registry
from fedlab.archive import Run
from fedlab.registry import resolved
from fedlab.report.section import Section, section

MAX_BYTES = 1_000_000  # total of all pictures, so that a page can be mailed
_PIXELS = 96  # a narrower picture is enlarged without smoothing
_OF_A_SERIES = 6  # the most pictures whose names differ in a number alone, if a GIF shows them all


@dataclasses.dataclass(frozen=True)
class Picture:
    """The values of an `img` element."""

    caption: str
    kind: str  # png, gif
    data: str  # base64
    width: int
    height: int

    @property
    def small(self) -> bool:
        return self.width < _PIXELS


def build(run: Run) -> Section | None:
    """Returns the section; None without pictures. It names the pictures that exceed `MAX_BYTES`."""
    shown = [resolved(section.pictures)(run.folder) for section in registry.sections() if section.pictures]
    elsewhere = {name for names in shown for name in names}
    moving, still = ([p for p in _sorted(run.folder.images, f"*.{kind}") if p.stem not in elsewhere] for kind in ("gif", "png"))
    paths = [*moving, *(_thinned(still) if moving else still)]
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
        pictures.append(_picture(path, run.folder.images, content, size))
    last = _newest(pictures)
    others = [one for one in pictures if one not in last]
    return section("images", "Pictures", "sections/images.html", pictures=others, last=last, left_out=left_out)


def _newest(pictures: Sequence[Picture]) -> list[Picture]:
    """Returns the last PNG of each series of several."""
    series: dict[str, list[Picture]] = {}
    for one in pictures:
        series.setdefault(re.sub(r"\d+", "#", one.caption), []).append(one)
    return [same[-1] for same in series.values() if len(same) > 1 and same[-1].kind == "png"]


def picture(path: pathlib.Path, root: pathlib.Path) -> Picture | None:
    """Reads a picture; None if the file is missing or not a picture."""
    content = path.read_bytes() if path.is_file() else b""
    size = _size(content)
    return _picture(path, root, content, size) if size else None


def _picture(path: pathlib.Path, root: pathlib.Path, content: bytes, size: tuple[int, int]) -> Picture:
    return Picture(caption(path, root), path.suffix[1:].lower(), base64.b64encode(content).decode(), *size)


def caption(path: pathlib.Path, root: pathlib.Path) -> str:
    """Returns the file's name in words: "reconstruction_client_03.png" is "reconstruction client 3"."""
    text = re.sub(r"[_\-]+", " ", " / ".join(path.relative_to(root).with_suffix("").parts)).strip()
    return re.sub(r"\b0+(?=\d+\b)", "", text)


def _sorted(folder: pathlib.Path, pattern: str) -> list[pathlib.Path]:
    return sorted(folder.rglob(pattern), key=lambda p: _natural(str(p.relative_to(folder))))


def _thinned(paths: list[pathlib.Path]) -> list[pathlib.Path]:
    """Keeps at most `_OF_A_SERIES` paths of those that differ in digits alone, including the first and the last."""
    series: dict[str, list[pathlib.Path]] = {}
    for path in paths:
        series.setdefault(re.sub(r"\d+", "#", str(path)), []).append(path)
    kept = set()
    for same in series.values():
        count = min(len(same), _OF_A_SERIES)
        kept |= {same[round(i * (len(same) - 1) / max(count - 1, 1))] for i in range(count)}
    return [path for path in paths if path in kept]


def _natural(name: str) -> list:
    """Returns a sorting key that puts round_9 before round_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _size(content: bytes) -> tuple[int, int] | None:
    """Returns (width, height) from the header of a PNG or GIF; None for other content."""
    if len(content) >= 24 and content.startswith(b"\x89PNG\r\n\x1a\n"):
        return struct.unpack(">II", content[16:24])
    if len(content) >= 10 and content.startswith((b"GIF87a", b"GIF89a")):
        return struct.unpack("<HH", content[6:10])
    return None
