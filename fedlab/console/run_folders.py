"""The search for run folders below the word that tab completion completes."""

from __future__ import annotations

import os

_DEPTH, _MOST_FOLDERS = 4, 2_000  # depth and maximum number of folders of the search


def runs_below(word: str) -> list[str]:
    """Returns the folders that begin with `word`: runs, and, with a trailing slash, folders that contain runs."""
    parent = word.rpartition("/")[0] + "/" if "/" in word else ""
    found = []
    for name in _folders(parent or "."):
        if (parent + name).startswith(word):
            is_run = os.path.isfile(os.path.join(parent, name, "manifest.json"))
            if is_run or _leads_to_a_run(parent + name):
                found.append(parent + name + "/" * (not is_run))
    return found


def _leads_to_a_run(folder: str) -> bool:
    level, seen = [folder], 0
    for _ in range(_DEPTH):
        below = [os.path.join(path, name) for path in level for name in _folders(path)]
        if any(os.path.isfile(os.path.join(path, "manifest.json")) for path in below):
            return True
        level, seen = below, seen + len(below)
        if seen > _MOST_FOLDERS:
            return True  # too many to search: the folder may contain a run
    return False


def _folders(path: str) -> list[str]:
    """Returns the sorted names of the folders in `path` that are not hidden."""
    try:
        with os.scandir(path) as entries:
            return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except OSError:
        return []
