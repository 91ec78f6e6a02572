"""A user's own images: a folder or a zip file with a folder per class."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import zipfile
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from pydantic import PositiveInt, model_validator

from fedlab.data import labels
from fedlab.data.pixels import Color, decoded
from fedlab.data.source import Source
from fedlab.errors import DataError, one_line
from fedlab.types import ExampleSet

_SUFFIXES = frozenset(
    [".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"]
)
_TRAIN = frozenset(["train", "training", "val", "valid", "validation"])  # folders that are sets, and no classes or users


@dataclasses.dataclass(frozen=True)
class _Image:
    """An image before it is read. `parts`: its path below the set, such as ("cat", "0001.png")."""

    parts: tuple[str, ...]
    open: Callable[[], bytes]


class Images(Source):
    """Images in a folder per class; the folders' names are the labels.

    `path`: a folder or a zip file; a single folder around everything is skipped. If it contains the folders train and test,
    which contain the folders of the classes, they are the two sets. Otherwise `test_path`, of the same form, is the test set, or
    `test_fraction` draws it.
    `by_user`: the folders of the classes are in a folder per user (USER/CLASS/IMAGE); users of the test set have no effect.
    `size`: scales each image to [height, width] (bilinear). None: all images must have one size.
    `color`: `auto` is `gray` (one channel) if every image is gray, else `rgb` (three). Transparency is dropped.
    x uint8 [N, height, width, channels], in the order of the files' names. Hidden files and files of other kinds are skipped.
    """

    path: str
    test_path: str | None = None
    by_user: bool = False
    size: tuple[PositiveInt, PositiveInt] | None = None
    color: Color = "auto"

    locations: ClassVar[tuple[str, ...]] = (*Source.locations, "path", "test_path")
    name: ClassVar[str] = "images"

    @model_validator(mode="after")
    def _one_test_set(self) -> Images:
        if self.test_path is not None and self.test_fraction is not None:
            raise ValueError("test_fraction draws a test set, and test_path names one: give one of them")
        return self

    @property
    def has_user_ids(self) -> bool:
        return self.by_user

    def files(self) -> list[pathlib.Path]:
        return [pathlib.Path(path).expanduser() for path in (self.path, self.test_path) if path]

    def verify(self) -> None:
        self._read()

    def _read(self) -> tuple[ExampleSet, ExampleSet | None]:
        sets = self._sets()
        labelled = {name: np.array([image.parts[-2] for image in images]) for name, images in sets.items()}
        try:
            classes, task = labels.encoded(labelled)
        except DataError as error:
            raise DataError(f"{self.path}: {error}.") from None
        images = [("/".join(image.parts), image.open) for images in sets.values() for image in images]
        pixels = decoded(images, self.path, self.size, self.color)
        ends = np.cumsum([len(images) for images in sets.values()])[:-1]
        x = np.split(pixels, ends)
        users = np.array([image.parts[-3] for image in sets["train"]]) if self.by_user else None
        train = ExampleSet(x[0], classes[0], user_ids=users, task=task)
        return train, ExampleSet(x[1], classes[1], task=task) if len(x) > 1 else None

    def _sets(self) -> dict[str, list[_Image]]:
        """Returns the images of the training set, and of the test set if there is one."""
        depth = 3 if self.by_user else 2
        found = _listed(self.path, depth)
        folders = {image.parts[0] for image in found}
        if {folder.lower() for folder in folders} == {"train", "test"} and self.test_path is None:
            parted = {name: [_below(image) for image in found if image.parts[0].lower() == name] for name in ("train", "test")}
        elif {folder.lower() for folder in folders} & _TRAIN and folders != {image.parts[-2] for image in found}:
            raise DataError(
                f"{self.path}: it contains {' and '.join(sorted(folders))}, and not train and test only. Give one folder for "
                "each set: data.path=…/train data.test_path=…/test."
            )
        else:
            parted = {"train": found} | ({"test": _listed(self.test_path, depth)} if self.test_path else {})
        for images in parted.values():
            for image in images:
                if len(image.parts) != depth:
                    layout = "USER/CLASS/IMAGE" if self.by_user else "CLASS/IMAGE"
                    other = ", or set data.by_user=true for USER/CLASS/IMAGE" if (len(image.parts), depth) == (3, 2) else ""
                    raise DataError(
                        f"{self.path}: {'/'.join(image.parts)} is not at {layout}: put every image into the folder of its class"
                        f"{' below that of its user' if self.by_user else ''}{other}."
                    )
        self._check_empty_folders(parted)
        return parted

    def _check_empty_folders(self, parted: dict[str, list[_Image]]) -> None:
        """Raises `DataError` for a folder of the training set that looks like a class and contains no image."""
        place = pathlib.Path(self.path).expanduser()
        if not place.is_dir() or self.classes is not None or self.by_user:
            return
        classes = {image.parts[0] for image in parted["train"]}
        folders = _folders(place)
        while len(folders) == 1 and not classes & folders.keys():  # a folder around everything
            folders = _folders(*folders.values())
        for name, folder in folders.items():
            if "test" in parted and self.test_path is None and name.lower() == "train":
                folders = _folders(folder)
                break
        empty = sorted(folders.keys() - classes) if classes <= folders.keys() else []
        if empty:
            raise DataError(
                f"{self.path}: the folder {empty[0]} contains no image in one of {' '.join(sorted(_SUFFIXES))}: remove it, or "
                "name the classes, such as data.classes=[cat,dog]."
            )


def _folders(place: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the folders in a folder that are not hidden, by name."""
    return {child.name: child for child in place.iterdir() if child.is_dir() and not _is_hidden(child.name)}


def _below(image: _Image) -> _Image:
    return dataclasses.replace(image, parts=image.parts[1:])


def _listed(path: str, depth: int) -> list[_Image]:
    """Returns the images of a folder or a zip file, by name. Raises `DataError` if there are none.

    Folders that contain everything are skipped, such as the one that a zip file of a folder has. `depth`: the number of parts of
    CLASS/IMAGE or of USER/CLASS/IMAGE.
    """
    place = pathlib.Path(path).expanduser()
    try:
        found = _in_folder(place) if place.is_dir() else _in_zip(place)
    except (OSError, zipfile.BadZipFile) as error:
        reason = "no such folder or zip file" if isinstance(error, FileNotFoundError) else one_line(error)
        raise DataError(f"{path}: {reason}. Give a folder, or a zip file, with a folder of images per class.") from None
    shown = [image for image in found if not any(map(_is_hidden, image.parts))]
    if not shown:
        raise DataError(
            f"{path}: no image. It must contain a folder of images per class, in one of: {' '.join(sorted(_SUFFIXES))}"
        )
    while len({image.parts[0] for image in shown}) == 1 and min(len(image.parts) for image in shown) > depth:
        shown = [_below(image) for image in shown]
    return sorted(shown, key=lambda image: image.parts)


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def _in_folder(folder: pathlib.Path) -> list[_Image]:
    """Returns the images below a folder; follows links, and includes those to nothing, which cannot be read."""
    found, paths = [], {os.path.realpath(folder)}
    for where, folders, files in os.walk(folder, followlinks=True):
        links = {name: os.path.realpath(os.path.join(where, name)) for name in folders}
        folders[:] = [name for name, real in links.items() if not (os.path.islink(os.path.join(where, name)) and real in paths)]
        paths.update(links.values())
        for file in (pathlib.Path(where, name) for name in files):
            if file.suffix.lower() in _SUFFIXES and (file.is_file() or file.is_symlink()):
                found.append(_Image(file.relative_to(folder).parts, file.read_bytes))
    return found


def _in_zip(file: pathlib.Path) -> list[_Image]:
    archive = zipfile.ZipFile(file)
    paths = {name: pathlib.PurePosixPath(name.replace("\\", "/")) for name in archive.namelist()}  # some programs write \\
    return [
        _Image(path.parts, functools.partial(archive.read, name))
        for name, path in paths.items()
        if path.suffix.lower() in _SUFFIXES
    ]
